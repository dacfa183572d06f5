"""Batches of pairs as tensors: collate pairs, and encode a batch to the vectors that training compares.

The input adapter of a model's family does both. Frames are resized and cropped by the model's own rule in the workers
that decode them: a batch then has one size, and uint8 of the model's size travels to the trainer, not full pictures or
floats. Normalization, which makes it four times larger, waits until the batch is on the model's device. Padded frames
and units are never encoded. Stored frame vectors (`data/feature_store.py`) travel in the place of frames, and the video
tower is not run.

Shape legend: V pairs, T frames, n real frames of a batch, H W source pixels, h w model pixels, N texts, L tokens per
text, K units per text, M tokens per unit, Y classes, d width of vectors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from mova.data.dataset import BrokenVideo, Pair, collate
from mova.data.granularity import LengthRule
from mova.errors import UsageError
from mova.types import Pixels


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
    label: Tensor | None = None
    """int64 (V,), class that each text names; None if texts do not name classes."""
    classes: Tensor | None = None
    """bool (V, Y), true for the classes of each video; with `label` only."""
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
    """bool (V, L): of the batch, or of the model if its states are not of these tokens."""
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


class InputAdapter(ABC):
    """The input side of a family of models. It holds no weights, so that it can go to worker processes.

    Attributes:
        image_argument: name of the model's keyword argument for frames.
        cuts_padding: whether fewer columns of padding give the same vectors (not if padding takes part in attention).
    """

    image_argument: str
    cuts_padding: bool = True

    @abstractmethod
    def resize(self, pixels: Pixels) -> Pixels:
        """Resize and crop frames: uint8 (T, H, W, 3) -> uint8 (T, h, w, 3), the model's size."""

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Return ids int64 (N, L) and mask bool (N, L), padded to the longest text, and dropped tokens, int64 (N,)."""

    @abstractmethod
    def image_arguments(self, frames: Tensor, mask: Tensor) -> dict[str, Any]:
        """Return the model's keyword arguments for all n real frames, row by row.

        Args:
            frames: uint8, (V, T, h, w, 3).
            mask: bool, (V, T).
        """

    def granularities(self, names: Sequence[str], count: int) -> dict[str, Tensor]:
        """Return fields of `PairBatch` that depend on the granularity of each pair; most families have none."""
        return {}

    @property
    def lengths(self) -> LengthRule:
        """Lengths from which on videos and texts are long, if rows do not state their granularity."""
        return LengthRule()

    def adapt_to_granularities(self, model: nn.Module, frames: Mapping[str, int]) -> bool:
        """Set a model's settings for inference to those of training by granularity; most families have none.

        Args:
            model: the model to train.
            frames: number of frames of a video, by the granularities that are trained.

        Returns:
            Whether some batches leave trained weights without a gradient.
        """
        return False

    def encode(self, model: nn.Module, batch: PairBatch) -> PairVectors:
        """Run the model on a batch of pairs."""
        arguments = self.image_arguments(batch.frames, batch.frame_mask)
        arguments |= {"input_ids": batch.input_ids, "attention_mask": batch.token_mask}
        if batch.unit_mask is not None:
            unit_ids, unit_token_mask, real = batch.units()
            ids, mask = unit_ids[real], unit_token_mask[real]
            longest = slice(int(mask.sum(dim=1).max()) if self.cuts_padding else None)
            arguments |= {"unit_ids": ids[:, longest], "unit_mask": mask[:, longest]}
        outputs = model(**arguments)
        units, unit_mask = None, batch.unit_mask
        if "unit_mask" in outputs:
            units, unit_mask = outputs["units"], outputs["unit_mask"]
        elif unit_mask is not None:
            units = spread_rows(outputs["units"], unit_mask)
        return PairVectors(
            frames=spread_rows(outputs["frames"], batch.frame_mask),
            frame_mask=batch.frame_mask,
            texts=outputs["texts"],
            group=batch.group,
            scale=outputs["scale"].reshape(()),
            tokens=outputs["tokens"],
            token_mask=outputs.get("token_mask", batch.token_mask),
            units=units,
            unit_mask=unit_mask,
        )


class StoredInputs(InputAdapter):
    """For stored vectors of frames or windows: no pixels. A subclass tokenizes texts."""

    image_argument = "pixels"

    def resize(self, pixels: Pixels) -> Pixels:
        """Raise: stored vectors have no pixels to resize.

        Raises:
            UsageError: always.
        """
        raise UsageError("stored frame vectors are read, not pixels")

    def image_arguments(self, frames: Tensor, mask: Tensor) -> dict[str, Any]:
        """Return `frames`, float32 (n, d), of vectors (V, T, d), and None for pixels."""
        return {self.image_argument: None, "frames": frames[mask].float()}


class StoredVectorInputs(StoredInputs):
    """For stored frame vectors: texts as another adapter reads them."""

    def __init__(self, inner: InputAdapter) -> None:
        self.inner, self.image_argument, self.cuts_padding = inner, inner.image_argument, inner.cuts_padding

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokenize as the other adapter does."""
        return self.inner.tokenize(texts)


@dataclass(frozen=True)
class Collator:
    """Pairs -> tensors of a batch."""

    adapter: InputAdapter
    units: bool

    def __call__(self, items: Sequence[Pair | BrokenVideo]) -> PairBatch:
        """Pad, tokenize, and list the videos that could not be read."""
        batch = collate(items)
        ids, mask, dropped = self.adapter.tokenize(batch.texts)
        return PairBatch(
            frames=torch.from_numpy(batch.frames),
            frame_mask=torch.from_numpy(batch.frame_mask),
            input_ids=ids,
            token_mask=mask,
            group=torch.from_numpy(batch.groups),
            dropped=dropped,
            label=None if batch.labels is None else torch.from_numpy(batch.labels),
            classes=None if batch.classes is None else torch.from_numpy(batch.classes),
            broken=batch.broken,
            **self.adapter.granularities(batch.granularities, len(batch)),
            **(self._units(batch.units) if self.units else {}),
        )

    def _units(self, texts: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """`unit_ids`, `unit_token_mask` and `unit_mask` of the units of each text."""
        real = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.bool)
        for row, units in zip(real, texts, strict=True):
            row[: len(units)] = True
        ids, mask, _ = self.adapter.tokenize([unit for units in texts for unit in units])
        return {"unit_ids": spread_rows(ids, real), "unit_token_mask": spread_rows(mask, real), "unit_mask": real}


def spread_rows(rows: Tensor, mask: Tensor) -> Tensor:
    """Place rows (n, ...) at the n true entries of `mask`, bool (V, T), in a tensor (V, T, ...) of zeros.

    >>> import torch
    >>> spread_rows(torch.tensor([1.0, 2.0]), torch.tensor([[True, False], [False, True]]))
    tensor([[1., 0.],
            [0., 2.]])
    """
    spread = rows.new_zeros((*mask.shape, *rows.shape[1:]))
    return spread.index_put((mask,), rows)
