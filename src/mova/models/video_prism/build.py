"""Build a VideoPrism model from a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from mova.models.tower_access import refuse_windows as refuse_windows
from mova.models.two_tower.inputs import input_adapter as input_adapter
from mova.models.video_prism.model import VideoPrism


@dataclass(frozen=True)
class VideoPrismBuild:
    """Settings of model kind `video-prism`."""

    source: str
    """A checkpoint: a name on the Hub or a folder."""

    def build(self) -> VideoPrism:
        """Read the checkpoint in float32 on the CPU."""
        return VideoPrism.from_checkpoint(self.source, precision="fp32", device="cpu")
