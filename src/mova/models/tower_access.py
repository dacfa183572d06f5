"""Access to a model's image tower for saliency: input pixels, visible region, grid of patches.

Saliency needs more of a model than the contract of `models/encoder.py`. Each family provides it here in one form, so
that `explain/` knows no family.

Shape legend: T frames, F chosen frames, K copies of a video, H W source pixels, C h w model input pixels (C is 9 for
stacked frames), P dense vectors per frame, D their width, d shared width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NoReturn

from torch import Tensor, nn

from mova.errors import UsageError
from mova.models.embeddings import DenseVideo
from mova.models.encoder import DualEncoder
from mova.models.families import family_of
from mova.types import Frames


@dataclass(frozen=True, eq=False)
class FrameFusion:
    """Access to a model that makes one vector of all frames of a video.

    Attributes:
        read: a file -> the dense features that its vector is made of.
        features: (F, C, h, w) -> dense features (F, P, D) of single frames.
        fuse: dense features (K, F, P, D) of K videos and their `#iter` -> vectors (K, d), float32.
    """

    read: Callable[[str | Path], DenseVideo]
    features: Callable[[Tensor], Tensor]
    fuse: Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, eq=False)
class TowerAccess:
    """An image tower with its internals.

    Attributes:
        prepare: consecutive sampled frames -> the tower's input, (T, C, h, w).
        encode: (T, C, h, w) -> frame vectors (T, d); gradients flow.
        visible: (H, W) -> the shares of height and width that the tower sees, centered; above 1 if it pads.
        reader: the module whose first argument is the grid of patches, as (T, width, rows, columns), or as
            (T, P, width) row by row after any other positions; None if none is known.
        cell: side of a patch in input pixels.
        context: as in `DualEncoder`.
        fusion: how the model makes one vector of a whole video; None if it compares frames one by one.
    """

    prepare: Callable[[Frames], Tensor]
    encode: Callable[[Tensor], Tensor]
    visible: Callable[[int, int], tuple[float, float]]
    reader: nn.Module | None = None
    cell: int = 1
    context: int = 0
    fusion: FrameFusion | None = None


def open_tower(model: Any) -> TowerAccess:
    """Return access to a model's image tower, or to that of its backbone.

    Raises:
        UsageError: the model's family provides none.
    """
    family = family_of(model)
    if family is not None and family.open_tower is not None:
        return resolve_name(family.open_tower)(model)
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, nn.Module):
        return open_tower(backbone)
    raise UsageError(
        f"{model.name}: the image tower of a {type(model).__name__} is not accessible; use the method subsets"
    )


def require_stored(model: DualEncoder, stored: bool) -> None:
    """Raise if pixels are read to train around a model whose weights all stay as they are.

    Raises:
        UsageError: they are.
    """
    if not stored:
        raise UsageError(
            f"{model.name}: mova does not train its weights; store its vectors with `mova data features`, and train "
            "MoVA's heads around it with --model.kind mova and --data.features"
        )


def refuse_windows(model: DualEncoder) -> NoReturn:
    """Raise: maps explain the vectors of single frames.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        f"{model.name}: a vector sees {model.window.frames} frames, so there are no maps of single frames; "
        "use the method subsets"
    )
