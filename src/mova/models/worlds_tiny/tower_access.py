"""Access to the frame tower of the small model for Worlds."""

from __future__ import annotations

from torch import nn

from mova.models.tower_access import TowerAccess
from mova.models.worlds_tiny.model import WorldsTiny

FINE_STAGE = 2
"""Stage of the stem that is explained, where a patch is 4 pixels wide. Behind it patches mix with their surroundings:
on the shipped model the peak of Grad-CAM is on the described object in 65 % of frames here, in 46 % at the next stage,
in 10 % at the end of the stem (69 events of Worlds that tests do not use)."""


def open_tower(model: WorldsTiny) -> TowerAccess:
    """Return access to the frame tower; the reader is a stage of its stem, see `FINE_STAGE`."""
    halving = [layer for layer in model.frame_tower.stem if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2)]
    stage = min(FINE_STAGE, len(halving) - 1)
    return TowerAccess(model.stack, model.image_features, _center_square, halving[stage], 2**stage, model.context)


def _center_square(height: int, width: int) -> tuple[float, float]:
    """Return the shares of the largest square in the center."""
    short = min(height, width)
    return short / height, short / width
