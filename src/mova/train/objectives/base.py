"""Interface between trainer, objectives and models: an encoder turns a batch into vectors, an objective into a loss.

Batches of pairs are `PairBatch` and their vectors `PairVectors` (`data/batch.py`); `PairObjective` is the base class of
objectives on them. Other sources of data hand over dictionaries of tensors (`Tensors`), whose keys the objective that
reads them documents.

Shape legend: V videos, N texts (V = N in a batch).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from torch import Tensor, nn

from mova.data.batch import PairBatch, PairVectors
from mova.distributed import gather_with_gradient

Tensors = dict[str, Tensor]
"""A batch or its vectors by name."""
BatchT = TypeVar("BatchT")
VectorsT = TypeVar("VectorsT")
BatchT_contra = TypeVar("BatchT_contra", contravariant=True)
VectorsT_co = TypeVar("VectorsT_co", covariant=True)
OPTIONAL = ("tokens", "token_mask", "units", "unit_mask")
"""Fields of `PairVectors` that only some objectives read."""
LARGEST_SCALE = 100.0
"""CLIP's bound on the learned factor of cosines (Radford et al. 2021, section 2.5)."""


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

    module: Callable[..., Any]
    """The model that is called; it may be wrapped (DistributedDataParallel, autocast)."""
    net: nn.Module
    """See `Encoder`."""
    encode: Callable[[Any, BatchT], VectorsT]
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


class PairObjective(Objective[PairBatch, PairVectors]):
    """Contrast of videos and texts over the batches of all processes; every text of a video is a match.

    If texts name classes, every text that names a class of a video is a match too.

    Class attributes:
        reads: the optional fields of `PairVectors` that the losses read.
        by_matches: whether all matches are read from `positive`, so that texts may name classes.

    Attributes:
        scoring_form: the form of `eval/tasks/scoring_forms.py` that is trained, saved with the model; None: no form is.
    """

    data = "manifest"
    scoring_form: str | None = None
    reads: ClassVar[tuple[str, ...]] = ()
    by_matches: ClassVar[bool] = True

    def forward(self, batch: PairBatch, model: Encoder[PairBatch, PairVectors]) -> tuple[Tensor, Tensors]:
        """See `Objective`. Every process has the same loss, that of all their pairs together."""
        vectors = _gathered(self.select(model(batch)))
        positive = vectors.group[:, None] == vectors.group
        if batch.classes is not None and batch.label is not None:  # another video's text may name a class of this one
            positive |= gather_with_gradient(batch.classes)[:, gather_with_gradient(batch.label)]
        loss, parts = self.losses(vectors, positive, model.net)
        return loss, {**parts, "scale": vectors.scale.detach(), "dropped_tokens": batch.dropped.float().mean()}

    def select(self, vectors: PairVectors) -> PairVectors:
        """Drop the optional fields that the losses do not read."""
        unread: dict[str, Any] = dict.fromkeys(set(OPTIONAL) - set(self.reads))
        return replace(vectors, **unread)

    @abstractmethod
    def losses(self, vectors: PairVectors, positive: Tensor, net: nn.Module) -> tuple[Tensor, Tensors]:
        """Return the loss and its parts.

        Args:
            vectors: of all processes, in float32.
            positive: bool, (V, N), true where video and text match.
            net: the model without wrappers, for objectives that use its heads.
        """

    @abstractmethod
    def scores(self, vectors: PairVectors, net: nn.Module) -> Tensor:
        """Return the scores (V, N) by which this objective ranks, for validation; V and N may differ."""


def _gathered(vectors: PairVectors) -> PairVectors:
    """Gather the rows of all processes in float32, and return the bounded scale."""

    def gather(value: Tensor) -> Tensor:
        return gather_with_gradient(value.float() if value.is_floating_point() else value)

    rows = {name: gather(value) for name, value in vectors.tensors().items() if name != "scale"}
    return replace(vectors, **rows, scale=vectors.scale.float().clamp(max=LARGEST_SCALE))
