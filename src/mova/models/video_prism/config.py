"""Configuration of a saved VideoPrism model."""

from __future__ import annotations

from typing import Any

from mova.models.two_tower.config import TwoTowerConfig


class VideoPrismConfig(TwoTowerConfig):
    """Configuration of a VideoPrism model.

    Attributes:
        window_stride: sampled frames from the start of one window to the start of the next; None: half a window.
    """

    model_type = "mova-video-prism"

    def __init__(self, window_stride: int | None = None, **kwargs: Any) -> None:
        self.window_stride = window_stride
        super().__init__(**kwargs)
