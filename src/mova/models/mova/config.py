"""Configuration of a MoVA, and presets: named sets of settings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

from transformers import PreTrainedConfig

from mova.errors import UsageError
from mova.models.mova.masks import ConceptInputs, Form
from mova.models.mova.unit_masks import ConceptMasks

Masks = Literal["none", "caption", "concept", "dimensions", "units"]
Units = Literal["rule", "learned"]

PRESETS: dict[str, dict[str, Any]] = {
    "control": {"masks": "none", "frame_weights": False},
    "smartclip": {"masks": "caption", "form": "cross", "last_residual": False, "frame_weights": False},
    "paper": {
        "masks": "dimensions",
        "form": "joint",
        "last_residual": True,
        "concept_inputs": "text_and_frame",
        "frame_weights": False,
    },
    "repaired": {
        "masks": "dimensions",
        "form": "cross",
        "last_residual": False,
        "concept_inputs": "text",
        "frame_weights": True,
    },
    "subsets": {"masks": "units", "frame_weights": False},
}
"""Settings by name. `control`: no masks; `smartclip`: the warm-up's mask of a caption alone; `paper`: the published
form as we understand it; `repaired`: the same with a smaller leak and frames weighted by relevance; `subsets`:
selection among caption units."""


class MovaConfig(PreTrainedConfig):
    """Configuration of a backbone and of the masks around it.

    Attributes:
        backbone: configuration of the backbone as a dictionary, including its `model_type`.
        preset: name of the preset these settings started from ("" for none); single settings may differ.
        masks: target of the masks: "dimensions" (TMN and CMN), "concept" (the CMN alone, on whole captions instead of
            masked ones), "units" (the subset form), "none", or "caption" (the TMN alone, queried by captions instead
            of frames, as in the warm-up: `train/objectives/smartclip.py`).
        form: of the TMN, "cross" or "joint".
        depth: blocks of the TMN, 1 to 8.
        heads: attention heads of all mask networks.
        hard: masks of 0 and 1 with straight-through gradients; false: the probabilities themselves.
        last_residual: false: no residual path of the frame around the TMN's last attention.
        concept_inputs: what the CMN sees, "text", "frame" or "text_and_frame". With masks "concept", "text" is a mask
            of the caption alone, and "frame" one of the frame alone.
        unit_concepts: concept masks of units, "none", "soft" or "hard".
        frame_weights: objectives weight every frame by its relevance to the text.
        pair_negatives: mismatched texts per video, and videos per text, whose masks objectives compute anew; 0: none.
        detached: mask losses train the masks alone, not the backbone.
        temporal_blocks: blocks of a temporal transformer, whose frames are pooled to the vector of the whole video
            (CLIP4Clip's sequential type has 4); 0: none. Frame vectors and masks stay as they are.
        positions: most frames that this transformer reads; of longer videos, as many in equal distances.
        units: how captions are split, by the backbone's "rule" or "learned" (`segmenter.py`); only objectives that
            score units train the latter.

    Raises:
        UsageError: a setting that does not exist.
    """

    model_type = "mova"

    def __init__(
        self,
        backbone: dict[str, Any] | None = None,
        preset: str = "",
        masks: Masks = "dimensions",
        form: Form = "cross",
        depth: int = 2,
        heads: int = 8,
        hard: bool = True,
        last_residual: bool = False,
        concept_inputs: ConceptInputs = "text",
        unit_concepts: ConceptMasks = "none",
        frame_weights: bool = True,
        pair_negatives: int = 0,
        detached: bool = False,
        units: Units = "rule",
        temporal_blocks: int = 0,
        positions: int = 128,
        **kwargs: Any,
    ) -> None:
        if masks not in get_args(Masks):
            raise UsageError(f"masks {masks!r} are unknown; choose from {', '.join(get_args(Masks))}")
        if units not in get_args(Units):
            raise UsageError(f"units {units!r} are unknown; choose from {', '.join(get_args(Units))}")
        if pair_negatives < 0:
            raise UsageError(f"pair_negatives {pair_negatives}: must be 0 or more")
        if temporal_blocks < 0 or positions < 1:
            raise UsageError(
                f"temporal_blocks {temporal_blocks} must be 0 or more, and positions {positions} 1 or more"
            )
        self.backbone = backbone or {}
        self.preset = preset
        self.masks = masks
        self.form = form
        self.depth = depth
        self.heads = heads
        self.hard = hard
        self.last_residual = last_residual
        self.concept_inputs = concept_inputs
        self.unit_concepts = unit_concepts
        self.frame_weights = frame_weights
        self.pair_negatives = pair_negatives
        self.detached = detached
        self.units = units
        self.temporal_blocks = temporal_blocks
        self.positions = positions
        super().__init__(**kwargs)

    @classmethod
    def from_preset(cls, name: str, backbone: dict[str, Any], **settings: Any) -> Self:
        """Return a preset around a backbone's configuration, with single settings changed.

        Raises:
            UsageError: an unknown preset or setting.
        """
        if name not in PRESETS:
            raise UsageError(f"preset {name!r} is unknown; choose from {', '.join(PRESETS)}")
        known = mask_settings()
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise UsageError(f"MoVA has no setting {', '.join(unknown)}; choose from {', '.join(known)}")
        return cls(backbone=backbone, preset=name, **{**PRESETS[name], **settings})


def mask_settings() -> Mapping[str, Any]:
    """Return the settings other than backbone and preset, with their defaults.

    >>> mask_settings()["heads"]
    8
    """
    parameters = inspect.signature(MovaConfig.__init__).parameters
    excluded = {"self", "backbone", "preset", "kwargs"}
    return {name: parameter.default for name, parameter in parameters.items() if name not in excluded}
