"""Build a VideoPrism model from a recipe, and say what the family does not support."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from mova.errors import UsageError
from mova.models.video_prism.model import VideoPrism


@dataclass(frozen=True)
class VideoPrismBuild:
    """Settings of model kind `video-prism`."""

    source: str
    """A checkpoint: a name on the Hub or a folder."""

    def build(self) -> VideoPrism:
        """Read the checkpoint in float32 on the CPU."""
        return VideoPrism.from_checkpoint(self.source, precision="fp32", device="cpu")


def refuse_pairs(model: VideoPrism, stored: bool) -> NoReturn:
    """Raise: recipes read single frames.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        f"{model.name}: encodes windows of {model.window.frames} frames, and training on pairs reads single frames; "
        "train an encoder of pictures"
    )


def refuse_maps(model: VideoPrism) -> NoReturn:
    """Raise: maps explain the vectors of single frames.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        f"{model.name}: a vector sees {model.window.frames} frames, so there are no maps of single frames; "
        "use the method subsets"
    )
