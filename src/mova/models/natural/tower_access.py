"""Access to the network of a model of natural footage."""

from __future__ import annotations

from mova.models.natural.model import Natural
from mova.models.tower_access import TowerAccess

CELL = 32
"""Input pixels per cell of the last map."""


def open_tower(model: Natural) -> TowerAccess:
    """Return access to the network; the reader is its last convolution, and the whole frame is visible."""
    return TowerAccess(
        model.preprocess, model.image_features, lambda height, width: (1.0, 1.0), model.network.head, CELL
    )
