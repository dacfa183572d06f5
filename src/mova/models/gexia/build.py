"""Build a GEXIA for training: around a checkpoint, or from the folder of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mova.errors import UsageError
from mova.models.family import explicit_settings
from mova.models.gexia.config import SHAPES, GexiaConfig, Temperatures
from mova.models.gexia.model import Gexia
from mova.models.two_tower.build import TwoTowerBuild
from mova.models.warm_start import is_saved, open_saved


@dataclass(frozen=True)
class GexiaBuild:
    """Settings of model kind `gexia`. All after `scratch` are those of `GexiaConfig`.

    None: its default, or that of the earlier stage that `source` names.
    """

    source: str
    """The backbone: a name on the Hub, a folder, or the folder of an earlier stage."""
    text_length: int | None = None
    """Maximum number of tokens per text. Only the first stage sets it."""
    freeze: str = "none"
    """Encoders that are not trained: "none", "vision", "text" or "encoders"."""
    scratch: bool = False
    """Whether the encoders start from random weights."""
    bases: int | None = None
    """Base vectors of each modality."""
    width: int | None = None
    """Width of base vectors and of all vectors that the model returns."""
    heads: int | None = None
    """Attention heads; divides the width."""
    rounds: Mapping[str, int] | None = None
    """`#iter` by size."""
    frames: Mapping[str, int] | None = None
    """Maximum number of frames of a video's vector, by size."""
    long_seconds: float | None = None
    """Duration in seconds from which a video counts as long."""
    long_words: int | None = None
    """Number of words from which a text counts as long."""
    video_rounds: int | None = None
    """One `#iter` for all videos; null: by size. It belongs to one stage and is not kept for the next."""
    text_rounds: int | None = None
    """One `#iter` for all texts, like `video_rounds`."""
    frame_rounds: int | None = None
    """`#iter` of single frames."""
    class_token: bool | None = None
    """Whether dense features include the backbone's class token."""
    temperatures: Temperatures | None = None
    """One learnable temperature, or one for each granularity."""

    def build(self) -> Gexia:
        """Build the model, or load it from an earlier stage with the settings that may change."""
        settings = explicit_settings(self, "source", "text_length", "freeze", "scratch")
        if is_saved(self.source):
            model = _next_stage(self.source, self.text_length, settings)
        else:
            model = Gexia.from_backbone(TwoTowerBuild(self.source, self.text_length).build(), **settings)
        if self.scratch:
            model.randomize_encoders()
        return model.freeze(self.freeze)


def _next_stage(source: str, text_length: int | None, settings: dict[str, Any]) -> Gexia:
    """Return a GEXIA to train further, or a new one around the backbone of another saved model.

    Settings that define what weights mean cannot change. A single `#iter` for all belongs to one stage: the next
    stage forgets it.

    Raises:
        UsageError: another text length, an unknown setting, or one that does not fit the weights.
        ModelError: the folder is incomplete or damaged.
    """
    start, backbone = open_saved(source, text_length)
    if not isinstance(start, Gexia):
        return Gexia.from_backbone(backbone, **settings)
    fixed = [name for name in SHAPES if name in settings and settings[name] != getattr(start.config, name)]
    if fixed:
        kept = ", ".join(f"{name} {getattr(start.config, name)!r}" for name in fixed)
        raise UsageError(f"{source}: was trained with {kept}, which cannot be changed now")
    before = {**start.config.to_dict(), "video_rounds": None, "text_rounds": None}
    start.config = GexiaConfig.from_settings({**before, **settings}, named=settings)
    return start
