"""Access to the image tower of an encoder with a fitted map."""

from __future__ import annotations

from dataclasses import replace

from mova.models.fitted.model import Fitted
from mova.models.tower_access import TowerAccess
from mova.models.tower_access import open_tower as open_backbone


def open_tower(model: Fitted) -> TowerAccess:
    """Return access to the backbone's tower, with the map behind it."""
    tower = open_backbone(model.backbone)
    return replace(tower, encode=lambda pixels: model.place(tower.encode(pixels)))
