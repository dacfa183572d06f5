"""The next stage of training: a new MoVA from the folder of an earlier run, with the mask networks that fit.

A backbone is carried whole. A mask network is carried where old and new model have it with the same settings: the
network that SmartCLIP's warm-up trained becomes the Temporal Mask Network of `repaired` as it is (of `paper` where the
warm-up was given its form: `--model.form joint --model.last_residual true`). It is *not* carried into `subsets`, which
selects among units and masks no dimension: there the warm-up gives the backbone alone, and the log says so.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import nn

from mova.errors import UsageError
from mova.models.backbone_wrapper import AroundBackbone
from mova.models.encoder import DualEncoder
from mova.models.gexia.config import SHAPES, GexiaConfig
from mova.models.gexia.model import Gexia
from mova.models.hub import read_json
from mova.models.mova.model import Mova
from mova.models.registry import SAVED, load
from mova.models.two_tower.model import TwoTower
from mova.train.param_groups import freeze_bias

logger = logging.getLogger(__name__)

SHIPPED = "mova-worlds-tiny"
"""Name of the model that comes with the package."""

NETWORKS: dict[str, tuple[str, ...]] = {
    "temporal": ("form", "depth", "heads", "last_residual"),
    "concept": ("heads", "concept_inputs"),
    "selector": ("heads", "unit_concepts"),
}
"""Mask networks of a MoVA -> the settings that say what their weights mean."""


def is_saved(source: str) -> bool:
    """Whether a source is a folder that mova wrote, or comes with it: what `around_saved` goes on from."""
    config = Path(source).expanduser() / "config.json"
    if config.is_file():
        return read_json(config).get("model_type") in SAVED
    return source == SHIPPED


def around_saved(source: str, preset: str, text_length: int | None, settings: dict[str, Any]) -> Mova:
    """A new MoVA around the backbone of a saved model, with the masks that fit.

    Args:
        source: what `is_saved` accepts.
        preset, settings: of the new model, see `Mova.around`.
        text_length: None, or that of the saved model: texts are stretched when training begins, not between stages.

    Raises:
        UsageError: another text length, or an unknown preset or setting.
        ModelError: the folder is incomplete or damaged.
    """
    start, backbone = _open(source, text_length)
    model = Mova.around(backbone, preset, **settings)
    if isinstance(start, Mova):
        carry_masks(start, model)
    return model


def gexia_from_saved(source: str, text_length: int | None, settings: dict[str, Any]) -> Gexia:
    """A GEXIA to train further, or a new one around the backbone of another saved model.

    Args:
        source: what `is_saved` accepts.
        text_length: as for `around_saved`.
        settings: of `GexiaConfig`; those of a GEXIA that is trained further may not change what its weights mean, and
            one `#iter` for all is of a stage: what it was in the last one is forgotten.

    Raises:
        UsageError: another text length, an unknown setting, or one that the weights do not fit.
        ModelError: the folder is incomplete or damaged.
    """
    start, backbone = _open(source, text_length)
    if not isinstance(start, Gexia):
        return Gexia.around(backbone, **settings)
    fixed = [name for name in SHAPES if name in settings and settings[name] != getattr(start.config, name)]
    if fixed:
        kept = ", ".join(f"{name} {getattr(start.config, name)!r}" for name in fixed)
        raise UsageError(f"{source}: was trained with {kept}, which cannot be changed now")
    before = {**start.config.to_dict(), "video_rounds": None, "text_rounds": None}
    start.config = GexiaConfig.from_settings({**before, **settings}, named=settings)
    return start


def _open(source: str, text_length: int | None) -> tuple[DualEncoder, Any]:
    """A saved model and its backbone (itself, where there is nothing around it); see `around_saved`."""
    start = load(source, precision="fp32", device="cpu")
    backbone = start.backbone if isinstance(start, AroundBackbone) else start
    own = None
    if isinstance(backbone, TwoTower):
        own = backbone.text_rule.length
        freeze_bias(backbone)
    if text_length not in (None, own):
        reads = "has no text length to set" if own is None else f"was trained on texts of up to {own} tokens"
        raise UsageError(f"{source}: {reads}, so model.text_length cannot be {text_length}; say it in the first stage")
    return start, backbone


def carry_masks(start: Mova, model: Mova) -> list[str]:
    """Copy the mask networks that both models have with the same settings; others stay new, and the log says why.

    Returns:
        Names of the networks that were carried.
    """
    carried = []
    for name, settings in NETWORKS.items():
        old, new = getattr(start, name), getattr(model, name)
        if not isinstance(old, nn.Module):
            continue
        if not isinstance(new, nn.Module):
            logger.warning("the %s network of %s is left behind: the new model has none", name, start.name)
            continue
        differing = [s for s in settings if getattr(start.config, s) != getattr(model.config, s)]
        if differing:
            shown = ", ".join(f"{s} {getattr(start.config, s)!r}, now {getattr(model.config, s)!r}" for s in differing)
            logger.warning("the %s network of %s does not fit and starts anew (%s)", name, start.name, shown)
            continue
        new.load_state_dict(old.state_dict())
        carried.append(name)
    return carried
