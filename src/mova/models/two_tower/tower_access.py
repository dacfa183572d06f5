"""Access to the image tower of a two-tower model."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from mova.models.tower_access import TowerAccess
from mova.models.two_tower.model import TwoTower
from mova.types import Frames


def open_tower(model: TwoTower) -> TowerAccess:
    """Return access to the image tower.

    The reader is the last block of a vision transformer: CLIP reads a frame's vector off one position, so the patches
    have no gradient behind that block, but they have one before it.
    """
    reader, cell = _last_block(model)
    return TowerAccess(
        partial(_prepare, model), model.image_features, partial(_visible, model), reader, cell, model.context
    )


def _prepare(model: TwoTower, frames: Frames) -> Tensor:
    return model.image_rule.apply(frames.pixels, model.device, model.compute_dtype)


def _visible(model: TwoTower, height: int, width: int) -> tuple[float, float]:
    """Return the shares of the resized frame that the crop keeps."""
    tall, wide = model.image_rule.target(height, width)
    rows, columns = model.image_rule.crop or (tall, wide)
    return rows / tall, columns / wide


def _last_block(model: TwoTower) -> tuple[nn.Module | None, int]:
    """Return the last block of a vision transformer of transformers and its patch size, or (None, 1)."""
    vision = getattr(model.backbone, "vision_model", None)
    layers = getattr(getattr(vision, "encoder", None), "layers", None)
    patch = getattr(model.backbone.config.vision_config, "patch_size", None)
    return (layers[-1], int(patch)) if layers and isinstance(patch, int) else (None, 1)
