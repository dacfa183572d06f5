"""How a model's frame tower is looked into: its input pixels, the part of a frame they show, its grid of patches.

Saliency needs more of a model than the contract of `models/encoder.py` gives. What it needs is said here once for every
kind of tower, so that the maps themselves (`saliency.py`) know no model.

Shape legend: T frames, H W source pixels, C h w model input pixels (C is 9 where frames are stacked), d width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from mova.errors import UsageError
from mova.models.encoder import DualEncoder
from mova.models.mova.model import Mova
from mova.models.two_tower.model import TwoTower
from mova.models.worlds_tiny.model import WorldsTiny
from mova.types import Frames

FINE_STAGE = 2
"""Stage of a `WorldsTiny`'s stem that is explained. Behind it patches mix with their surroundings: on the shipped model
Grad-CAM's highest place lies on the object told of in 65 % of frames here, in 46 % at the next stage, in 10 % at the
end of the stem (69 events of Worlds that tests do not use)."""


@dataclass(frozen=True, eq=False)
class Sight:
    """A frame tower, opened.

    Attributes:
        prepare: consecutive sampled frames -> what the tower is fed, (T, C, h, w).
        encode: (T, C, h, w) -> frame vectors (T, d); gradients flow.
        seen: (H, W) -> the shares of height and width that the tower sees, around the middle; above 1 where it pads.
        reader: the module whose first argument is the grid of patches, as (T, width, rows, columns), or as
            (T, P, width) row by row with other positions before them; None where none is known.
        cell: input pixels a side of a patch.
        context: as in `DualEncoder`.
    """

    prepare: Callable[[Frames], Tensor]
    encode: Callable[[Tensor], Tensor]
    seen: Callable[[int, int], tuple[float, float]]
    reader: nn.Module | None = None
    cell: int = 1
    context: int = 0


def look_into(model: DualEncoder) -> Sight:
    """How a model is looked into. A MoVA's frame vectors are its backbone's.

    The reader of a vision transformer is its last block: CLIP reads a frame's vector off one position, so what leaves
    that block at the patches has no gradient, and what enters it has. The reader of a `WorldsTiny` is the third
    stage of its stem, where a patch is 4 pixels wide (see `FINE_STAGE`).

    Raises:
        UsageError: a model of another kind.
    """
    if isinstance(model, Mova):
        return look_into(model.backbone)
    if isinstance(model, WorldsTiny):
        halving = [layer for layer in model.frame_tower.stem if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2)]
        stage = min(FINE_STAGE, len(halving) - 1)
        return Sight(model.stack, model.image_features, _centre_square, halving[stage], 2**stage, model.context)
    if isinstance(model, TwoTower):
        prepare = partial(_prepare, model)
        return Sight(prepare, model.image_features, partial(_seen, model), *_last_block(model), model.context)
    raise UsageError(f"{model.name}: a {type(model).__name__} cannot be looked into; use the method subsets")


def _centre_square(height: int, width: int) -> tuple[float, float]:
    """Shares of the largest square in the middle."""
    short = min(height, width)
    return short / height, short / width


def _prepare(model: TwoTower, frames: Frames) -> Tensor:
    return model.image_rule.apply(frames.pixels, model.device, model.compute_dtype)


def _seen(model: TwoTower, height: int, width: int) -> tuple[float, float]:
    """Shares that the crop leaves of the resized frame."""
    tall, wide = model.image_rule.target(height, width)
    rows, columns = model.image_rule.crop or (tall, wide)
    return rows / tall, columns / wide


def _last_block(model: TwoTower) -> tuple[nn.Module | None, int]:
    """The last block of a vision transformer of transformers and its patch size, or (None, 1)."""
    vision = getattr(model.backbone, "vision_model", None)
    layers = getattr(getattr(vision, "encoder", None), "layers", None)
    patch = getattr(model.backbone.config.vision_config, "patch_size", None)
    return (layers[-1], int(patch)) if layers and isinstance(patch, int) else (None, 1)
