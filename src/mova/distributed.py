"""Where this process stands among others, and gathering that keeps gradients.

Every function works without `torch.distributed`: then there is one process and nothing to exchange.

Shape legend: W processes, n rows of this process, N rows of all processes together (N = n where W = 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F


def world_size() -> int:
    """How many processes work together; 1 where nothing was initialised."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """Rows of all processes, in the order of their ranks.

    The backward pass sums what all processes ask of a row and hands the sum to the process that it came from. If
    every process then computes the same loss on the gathered rows and gradients of weights are averaged over
    processes (as DistributedDataParallel does), they are those of one process with all rows.

    Args:
        tensor: (n, ...); n may differ between processes. Other dimensions may differ too: they are padded at their
            ends with zeros (false) to the longest. Types and numbers of dimensions must agree.

    Returns:
        (N, ...), the same values on every process.

    Raises:
        ValueError: a scalar.
    """
    if tensor.ndim == 0:
        raise ValueError("gather_with_gradient needs rows; a scalar has none")
    if world_size() == 1:
        return tensor
    if tensor.dtype == torch.bool:
        return _gather(tensor.to(torch.uint8)).bool()
    return _gather(tensor)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over processes, in place; what has no gradient is left alone.

    The same parameters must have gradients on every process.
    """
    size = world_size()
    if size == 1:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad.div_(size)


def _gather(tensor: Tensor) -> Tensor:
    """`gather_with_gradient` for numbers, with W > 1."""
    own = torch.tensor(tensor.shape, device=tensor.device)
    shapes = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(shapes, own)
    return _Gather.apply(tensor, [tuple(shape.tolist()) for shape in shapes])


class _Gather(torch.autograd.Function):
    """All rows forward; the sum of their gradients back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, shapes: list[tuple[int, ...]]) -> Tensor:
        """(n, ...) and the shapes of all processes -> (N, ...)."""
        ctx.shapes = shapes
        largest = [max(sizes) for sizes in zip(*shapes, strict=True)]
        missing = [most - size for most, size in zip(largest, tensor.shape, strict=True)]
        padding = [amount for size in reversed(missing) for amount in (0, size)]
        padded = F.pad(tensor.detach(), padding).contiguous()
        everyone = [torch.empty_like(padded) for _ in shapes]
        dist.all_gather(everyone, padded)
        return torch.cat([part[: shape[0]] for part, shape in zip(everyone, shapes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """(N, ...) -> (n, ...)."""
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        own = ctx.shapes[rank()]
        first = sum(shape[0] for shape in ctx.shapes[: rank()])
        return total[(slice(first, first + own[0]), *(slice(size) for size in own[1:]))], None
