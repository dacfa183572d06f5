"""Interface between trainer, objectives and models: an encoder turns a batch into vectors, an objective into a loss.

Batches of pairs are `PairBatch` and their vectors `PairVectors` (`data/batch.py`). Other sources of data hand over
dictionaries of tensors (`Tensors`), whose keys the objective that reads them documents.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

from torch import Tensor, nn

Tensors = dict[str, Tensor]
"""A batch or its vectors by name."""
BatchT = TypeVar("BatchT")
VectorsT = TypeVar("VectorsT")
BatchT_contra = TypeVar("BatchT_contra", contravariant=True)
VectorsT_co = TypeVar("VectorsT_co", covariant=True)


class Encoder(Protocol[BatchT_contra, VectorsT_co]):
    """The model as an objective sees it: call it on a batch for its vectors."""

    @property
    def net(self) -> nn.Module:
        """The model without wrappers, for heads that work on vectors (such as mask networks)."""
        ...

    def __call__(self, batch: BatchT_contra) -> VectorsT_co:
        """Encode a batch."""
        ...


@dataclass(frozen=True)
class ModelEncoder(Generic[BatchT, VectorsT]):
    """An `Encoder` that runs the model."""

    module: nn.Module
    """The model that is called; it may be wrapped (DistributedDataParallel, autocast)."""
    net: nn.Module
    """See `Encoder`."""
    encode: Callable[[nn.Module, BatchT], VectorsT]
    """(module, batch) -> vectors."""

    def __call__(self, batch: BatchT) -> VectorsT:
        """Encode a batch."""
        return self.encode(self.module, batch)


@dataclass(frozen=True)
class CachedEncoder(Generic[VectorsT]):
    """An `Encoder` that returns vectors computed before, for any batch."""

    net: nn.Module
    vectors: VectorsT

    def __call__(self, batch: object) -> VectorsT:
        """Return the vectors."""
        return self.vectors


class Objective(ABC, Generic[BatchT, VectorsT]):
    """A loss on a batch and a model.

    Class attributes:
        data: the kind of data that it reads (`data.kind` of a recipe).
        units: whether batches must hold units.
        separable: whether the loss of a batch is the mean of the losses of its items, so that the gradients of parts
            of a batch add up to those of the whole. Gradient caching needs no second pass then.
    """

    data: ClassVar[str]
    units: ClassVar[bool] = False
    separable: ClassVar[bool] = False

    @abstractmethod
    def forward(self, batch: BatchT, model: Encoder[BatchT, VectorsT]) -> tuple[Tensor, Tensors]:
        """Return the loss and the scalars to log: its named parts and diagnostics.

        Called once per step, or once per chunk if `separable`. The model must be called once, on the whole batch:
        gradient caching hands in vectors that were computed chunk by chunk.
        """
