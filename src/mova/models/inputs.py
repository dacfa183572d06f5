"""Input adapters for training: preprocess frames and tokenize text in the workers, encode batches on the device.

Frames are resized and cropped by the model's own rule in the workers that decode them: a batch then has one size, and
uint8 of the model's size travels to the trainer, not full pictures or floats. Normalization, which makes it four times
larger, waits until the batch is on the model's device. Padded frames and units are never encoded. Stored frame vectors
(`data/feature_store.py`) travel in the place of frames, and the video tower is not run.

Shape legend: V pairs, T frames, n real frames of a batch, H W source pixels, h w model pixels, N texts, L tokens, d
width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from typing import Any

from torch import Tensor, nn

from mova.data.batch import PairBatch, PairVectors
from mova.data.granularity import LengthRule
from mova.errors import UsageError
from mova.models.families import family_of
from mova.types import Pixels


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
            token_mask=batch.token_mask,
            units=units,
            unit_mask=unit_mask,
        )


class StoredVectorInputs(InputAdapter):
    """For stored frame vectors: texts as another adapter reads them, and no pixels."""

    def __init__(self, inner: InputAdapter) -> None:
        self.inner, self.image_argument, self.cuts_padding = inner, inner.image_argument, inner.cuts_padding

    def resize(self, pixels: Pixels) -> Pixels:
        """Raise: stored vectors have no pixels to resize.

        Raises:
            UsageError: always.
        """
        raise UsageError("stored frame vectors are read, not pixels")

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokenize as the other adapter does."""
        return self.inner.tokenize(texts)

    def image_arguments(self, frames: Tensor, mask: Tensor) -> dict[str, Any]:
        """Return `frames`, float32 (n, d), of vectors (V, T, d), and None for pixels."""
        return {self.image_argument: None, "frames": frames[mask].float()}


def input_adapter(model: nn.Module, stored: bool = False) -> InputAdapter:
    """Return the input adapter of a model, or of the backbone inside it.

    Args:
        model: a model, or a module with a `backbone`.
        stored: whether frame vectors are read instead of pixels.

    Raises:
        UsageError: the model cannot be trained on pairs.
    """
    family = family_of(model)
    if family is not None and family.input_adapter is not None:
        return resolve_name(family.input_adapter)(model, stored)
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, nn.Module):
        return input_adapter(backbone, stored)
    raise UsageError(f"{type(model).__name__} cannot be trained on pairs of video and text")


def spread_rows(rows: Tensor, mask: Tensor) -> Tensor:
    """Place rows (n, ...) at the n true entries of `mask`, bool (V, T), in a tensor (V, T, ...) of zeros.

    >>> import torch
    >>> spread_rows(torch.tensor([1.0, 2.0]), torch.tensor([[True, False], [False, True]]))
    tensor([[1., 0.],
            [0., 2.]])
    """
    spread = rows.new_zeros((*mask.shape, *rows.shape[1:]))
    return spread.index_put((mask,), rows)
