"""Build an X-CLIP model from a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from mova.models.tower_access import refuse_windows as refuse_windows
from mova.models.two_tower.inputs import input_adapter as input_adapter
from mova.models.x_clip.model import XClip


@dataclass(frozen=True)
class XClipBuild:
    """Settings of model kind `x-clip`."""

    source: str
    """A checkpoint: a name on the Hub or a folder."""

    def build(self) -> XClip:
        """Read the checkpoint in float32 on the CPU."""
        return XClip.from_checkpoint(self.source, precision="fp32", device="cpu")
