"""Pairs of a video and a text, padded batches of them, and the tensors that training makes of a batch.

Shape legend: V pairs, T frames, H height, W width (pixels), h w pixels of the model, L tokens per text, K units per
text, M tokens per unit, d width of vectors. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mova.types import Frames, FrameVectors


@dataclass(frozen=True, eq=False)
class Pair:
    """A video, or a clip of one, and a text about it.

    Attributes:
        id: of the manifest's row.
        group: pairs of one group show the same video, so their texts are no negatives of each other.
        frames: sampled, at least one; or the vectors that stand for them.
        text: the whole text.
        units: the parts of it that are scored separately (such as sentences), at least one.
        granularity: name of the length class of video and text (`data/granularity.py`); empty if batches are not by
            granularity.
    """

    id: str
    group: int
    frames: Frames | FrameVectors
    text: str
    units: tuple[str, ...]
    granularity: str = ""

    def __post_init__(self) -> None:
        if not len(self.frames) or not self.text.strip() or not self.units:
            raise ValueError(f"pair {self.id!r} needs frames, a text and its units")


@dataclass(frozen=True)
class BrokenVideo:
    """A video that could not be read. It is delivered instead of its pair, and no other pair replaces it."""

    path: str
    cause: str


@dataclass(frozen=True, eq=False)
class Batch:
    """Pairs side by side, padded at the end of time.

    Attributes:
        frames: uint8, (V, T, H, W, 3), or vectors in floating point, (V, T, d); zeros where padded.
        frame_mask: bool, (V, T), true where a frame is real.
        texts, units: V texts and their units.
        groups: int64, (V,), see `Pair`.
        broken: videos of the batch that could not be read.
        granularities: V names, see `Pair`; empty if batches are not by granularity.
    """

    frames: npt.NDArray[Any]
    frame_mask: npt.NDArray[np.bool_]
    texts: tuple[str, ...]
    units: tuple[tuple[str, ...], ...]
    groups: npt.NDArray[np.int64]
    broken: tuple[BrokenVideo, ...] = ()
    granularities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.texts)
        if self.frames.ndim not in (3, 5) or self.frame_mask.shape != self.frames.shape[:2]:
            raise ValueError(f"frames {self.frames.shape} and frame_mask {self.frame_mask.shape} do not agree")
        if not len(self.frames) == len(self.units) == len(self.groups) == count:
            raise ValueError(f"{len(self.frames)} videos, {count} texts, {len(self.units)} lists of units")
        if not self.frame_mask.any(axis=1).all():
            raise ValueError("a video of a batch needs at least one real frame")

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class TensorRecord:
    """Base class of frozen dataclasses whose fields are tensors with one row per item.

    A field may also be None, a scalar tensor, or anything else that belongs to the batch as a whole. `to` and
    `pin_memory` have the signatures that data loaders look for, so a record travels as a tensor does.
    """

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are present, by field name."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if isinstance(value, Tensor)}

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply a function to every tensor that is present."""
        return replace(self, **{name: function(value) for name, value in self.tensors().items()})

    def slice(self, start: int, stop: int) -> Self:
        """Return the items from `start` up to `stop`; a scalar is the same for all of them."""
        return self.map(lambda value: value[start:stop] if value.ndim else value)

    def to(self, device: torch.device | str | int, non_blocking: bool = False) -> Self:
        """Move every tensor to a device."""
        return self.map(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Copy every tensor to page-locked memory."""
        return self.map(Tensor.pin_memory)

    def __len__(self) -> int:
        return next(len(value) for value in self.tensors().values() if value.ndim)


@dataclass(frozen=True, eq=False)
class PairBatch(TensorRecord):
    """Tensors of a batch of pairs, as a data loader delivers them and a model reads them."""

    frames: Tensor
    """uint8 (V, T, h, w, 3), or stored vectors in floating point, (V, T, d); zeros where padded."""
    frame_mask: Tensor
    """bool (V, T), true where a frame is real."""
    input_ids: Tensor
    """int64 (V, L), tokens of the whole texts."""
    token_mask: Tensor
    """bool (V, L)."""
    group: Tensor
    """int64 (V,), equal where two pairs show the same video."""
    dropped: Tensor
    """int64 (V,), tokens of each text beyond what the model reads."""
    unit_ids: Tensor | None = None
    """int64 (V, K, M); None if the objective reads no units."""
    unit_token_mask: Tensor | None = None
    """bool (V, K, M)."""
    unit_mask: Tensor | None = None
    """bool (V, K)."""
    video_rounds: Tensor | None = None
    """int64 (V,), `#iter` of each video; only for GEXIA."""
    text_rounds: Tensor | None = None
    """int64 (V,), `#iter` of each text; only for GEXIA."""
    granularity: Tensor | None = None
    """int64 (V,), index into `data/granularity.py: GRANULARITIES`; only for GEXIA."""
    broken: tuple[BrokenVideo, ...] = ()
    """Videos that could not be read; their pairs are not in the batch."""

    def units(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return `unit_ids`, `unit_token_mask` and `unit_mask` of a batch with units."""
        assert self.unit_ids is not None
        assert self.unit_token_mask is not None
        assert self.unit_mask is not None
        return self.unit_ids, self.unit_token_mask, self.unit_mask

    def rounds(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return `video_rounds`, `text_rounds` and `granularity` of a batch for GEXIA."""
        assert self.video_rounds is not None
        assert self.text_rounds is not None
        assert self.granularity is not None
        return self.video_rounds, self.text_rounds, self.granularity


@dataclass(frozen=True, eq=False)
class PairVectors(TensorRecord):
    """Everything that an objective on pairs reads of a batch: vectors, through which gradients flow, and masks."""

    frames: Tensor
    """Floating point (V, T, d), zeros where padded; T is 1 for a model with one vector per video."""
    frame_mask: Tensor
    """bool (V, T)."""
    texts: Tensor
    """(V, d), whole texts."""
    group: Tensor
    """int64 (V,), see `PairBatch`."""
    scale: Tensor
    """Scalar, the factor on cosines."""
    tokens: Tensor | None = None
    """(V, L, d); None if the model returns none."""
    token_mask: Tensor | None = None
    """bool (V, L)."""
    units: Tensor | None = None
    """(V, K, d), zeros where padded; None if the objective reads no units."""
    unit_mask: Tensor | None = None
    """bool (V, K): of the batch, or of the model if it splits texts itself."""

    def with_tokens(self) -> tuple[Tensor, Tensor]:
        """Return `tokens` and `token_mask`, which must be present."""
        assert self.tokens is not None
        assert self.token_mask is not None
        return self.tokens, self.token_mask

    def with_units(self) -> tuple[Tensor, Tensor]:
        """Return `units` and `unit_mask`, which must be present."""
        assert self.units is not None
        assert self.unit_mask is not None
        return self.units, self.unit_mask
