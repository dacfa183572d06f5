"""Build a MoVA for training: masks around a checkpoint, or the next stage after an earlier run.

A backbone is carried over whole. A mask network is carried over if the old and the new model have it with the same
settings: the network trained by SmartCLIP's warm-up becomes the Temporal Mask Network of `repaired` as it is (of
`paper` if the warm-up was given its form: `--model.form joint --model.last_residual true`). It is *not* carried into
`subsets`, which selects among units and masks no dimension: there the warm-up provides the backbone alone, and the log
says so.
"""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from torch import nn

from mova.errors import UsageError
from mova.models.families import foreign_family
from mova.models.family import explicit_settings
from mova.models.hub import find_checkpoint
from mova.models.mova.config import Masks, Units
from mova.models.mova.masks import ConceptInputs, Form
from mova.models.mova.model import Mova
from mova.models.mova.unit_masks import ConceptMasks
from mova.models.two_tower.build import TwoTowerBuild
from mova.models.warm_start import is_saved, open_saved

logger = logging.getLogger(__name__)

NETWORKS: dict[str, tuple[str, ...]] = {
    "temporal": ("form", "depth", "heads", "last_residual"),
    "concept": ("heads", "concept_inputs"),
    "selector": ("heads", "unit_concepts"),
    "sequence": ("heads", "temporal_blocks", "positions"),
}
"""Networks of a MoVA -> the settings that define what their weights mean."""


@dataclass(frozen=True)
class MovaBuild:
    """Settings of model kind `mova`; see `MovaConfig`. All after `text_length` override the preset unless None."""

    source: str
    """The backbone: a name on the Hub, a folder, or the folder of an earlier stage."""
    preset: str = "subsets"
    """One of `PRESETS`."""
    text_length: int | None = None
    """Maximum number of tokens per text. Only the first stage sets it."""
    masks: Masks | None = None
    """Target of the masks; see `MovaConfig`."""
    form: Form | None = None
    """Form of the Temporal Mask Network."""
    depth: int | None = None
    """Blocks of the Temporal Mask Network."""
    heads: int | None = None
    """Attention heads of all mask networks."""
    hard: bool | None = None
    """Masks of 0 and 1 with straight-through gradients."""
    last_residual: bool | None = None
    """Whether a residual path goes around the last attention of the Temporal Mask Network."""
    concept_inputs: ConceptInputs | None = None
    """Inputs of the Concept Mask Network."""
    unit_concepts: ConceptMasks | None = None
    """Concept masks of units."""
    frame_weights: bool | None = None
    """Whether objectives weight frames by their relevance to the text."""
    pair_negatives: int | None = None
    """Mismatched texts per video for which objectives compute masks."""
    detached: bool | None = None
    """Whether mask losses send no gradients to the backbone."""
    units: Units | None = None
    """Rule that splits captions into units."""
    temporal_blocks: int | None = None
    """Blocks of a temporal transformer before the mean over frames."""
    positions: int | None = None
    """Most frames that it reads."""

    def build(self) -> Mova:
        """Put masks around the backbone. Those of an earlier stage that fit are carried over."""
        settings = explicit_settings(self, "source", "preset", "text_length")
        if not is_saved(self.source):
            return Mova.from_backbone(_foreign_backbone(self.source, self.text_length), self.preset, **settings)
        start, backbone = open_saved(self.source, self.text_length)
        model = Mova.from_backbone(backbone, self.preset, **settings)
        if isinstance(start, Mova):
            carry_masks(start, model)
        return model


def _foreign_backbone(source: str, text_length: int | None) -> Any:
    """Read a checkpoint that mova did not save: of pictures, or of any other family that masks go around.

    Raises:
        ModelError: see `CheckpointEncoder.from_checkpoint` and `TwoTowerBuild.build`.
        UsageError: a text length that the family does not have.
    """
    family = foreign_family(find_checkpoint(source))
    if not family.is_backbone or (family.foreign_type is None and family.foreign_file is None):
        return TwoTowerBuild(source, text_length).build()
    assert family.load_foreign is not None
    load = resolve_name(family.load_foreign)
    options = {} if text_length is None else {"text_length": text_length}
    if options and "text_length" not in inspect.signature(load).parameters:
        raise UsageError(f"{source}: is a {family.title}, which has no text length to set; omit model.text_length")
    backbone = load(source, precision="fp32", device="cpu", **options)
    backbone.freeze_bias()
    return backbone


def carry_masks(start: Mova, model: Mova) -> list[str]:
    """Copy the mask networks that both models have with the same settings; log why any other starts from scratch.

    Returns:
        Names of the networks that were copied.
    """
    carried = []
    for name, settings in NETWORKS.items():
        old, new = getattr(start, name), getattr(model, name)
        if not isinstance(old, nn.Module):
            continue
        if not isinstance(new, nn.Module):
            logger.warning("the %s network of %s is dropped: the new model has none", name, start.name)
            continue
        differing = [s for s in settings if getattr(start.config, s) != getattr(model.config, s)]
        if differing:
            changes = ", ".join(
                f"{s} {getattr(start.config, s)!r}, now {getattr(model.config, s)!r}" for s in differing
            )
            logger.warning("the %s network of %s does not fit and is re-initialized (%s)", name, start.name, changes)
            continue
        new.load_state_dict(old.state_dict())
        carried.append(name)
    return carried
