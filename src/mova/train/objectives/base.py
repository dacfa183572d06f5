"""What trainer, objectives and models agree on: a batch of tensors, vectors, and a loss with named parts.

A batch of pairs (kind `manifest`) holds, all with V first, so that a slice of every entry is a smaller batch:

    frames     uint8 (V, T, h, w, 3)   frame_mask bool (V, T)      or stored vectors, (V, T, d) in floating point
    input_ids  int64 (V, L)            token_mask bool (V, L)
    unit_ids   int64 (V, K, M)         unit_token_mask bool (V, K, M), unit_mask bool (V, K)   where units are asked for
    group      int64 (V,)              equal where two pairs show the same video
    dropped    int64 (V,)              tokens of the text beyond what the model reads

and its vectors are `frames` (V, T, d), `texts` (V, d), `tokens` (V, L, d), `units` (V, K, d), zeros where padded, and
the scalar `scale`. A model that cuts texts itself gives its own `unit_mask` (V, K) among the vectors, which stands for
the batch's (see `masks_of`).

Shape legend: V pairs, T frames, h w pixels, L tokens a text, K units a text, M tokens a unit, d shared width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor, nn

Inputs = dict[str, Tensor]
"""A batch as tensors on the model's device."""
Vectors = dict[str, Tensor]
"""What a model makes of a batch; gradients flow."""


def masks_of(vectors: Vectors, batch: Inputs, names: Iterable[str]) -> Inputs:
    """What losses read beside the vectors: entries of the batch, unless the model has given its own."""
    return {name: vectors[name] if name in vectors else batch[name] for name in names}


class Encoder(Protocol):
    """The model as an objective sees it: call it on a batch for its vectors.

    `net` is the bare model, for heads that work on vectors (mask networks, say): those are called outside of `forward`.
    """

    @property
    def net(self) -> nn.Module:
        """The model without wrappers."""
        ...

    def __call__(self, batch: Inputs) -> Vectors:
        """The vectors of a batch."""
        ...


@dataclass(frozen=True)
class ModelEncoder:
    """An `Encoder` that runs the model.

    Attributes:
        module: what is called; it may be wrapped (DistributedDataParallel, autocast).
        net: see `Encoder`.
        encode: (module, batch) -> vectors.
    """

    module: nn.Module
    net: nn.Module
    encode: Callable[[nn.Module, Inputs], Vectors]

    def __call__(self, batch: Inputs) -> Vectors:
        """The vectors of a batch."""
        return self.encode(self.module, batch)


@dataclass(frozen=True)
class CachedEncoder:
    """An `Encoder` that gives vectors made before, whatever the batch."""

    net: nn.Module
    vectors: Vectors

    def __call__(self, batch: Inputs) -> Vectors:
        """The vectors."""
        return self.vectors


class Objective(ABC):
    """A loss on a batch and a model.

    Class attributes:
        data: the kind of data that it reads (`data.kind` of a recipe).
        units: whether batches must hold units.
        separable: whether the loss of a batch is the mean of what each item has alone, so that the gradients of parts
            of a batch add up to those of the whole. Gradient caching needs no second pass then.
    """

    data: ClassVar[str]
    units: ClassVar[bool] = False
    separable: ClassVar[bool] = False

    @abstractmethod
    def forward(self, batch: Inputs, model: Encoder) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and what goes into the log: its named parts and diagnostics, as scalars.

        Called once a step, or once a chunk where `separable`. The model must be called once, on the whole batch:
        gradient caching hands in vectors that were made chunk by chunk.
        """
