"""Build an X-CLIP model from a recipe, and say what the family does not support."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from mova.errors import UsageError
from mova.models.x_clip.model import XClip


@dataclass(frozen=True)
class XClipBuild:
    """Settings of model kind `x-clip`."""

    source: str
    """A checkpoint: a name on the Hub or a folder."""

    def build(self) -> XClip:
        """Read the checkpoint in float32 on the CPU."""
        return XClip.from_checkpoint(self.source, precision="fp32", device="cpu")


def refuse_pairs(model: XClip, stored: bool) -> NoReturn:
    """Raise: recipes read single frames.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        f"{model.name}: encodes windows of {model.window.frames} frames, and training on pairs reads single frames; "
        "train an encoder of pictures"
    )


def refuse_maps(model: XClip) -> NoReturn:
    """Raise: maps explain the vectors of single frames.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        f"{model.name}: a vector sees {model.window.frames} frames, so there are no maps of single frames; "
        "use the method subsets"
    )
