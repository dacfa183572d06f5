"""Process rank and world size, and an all-gather that preserves gradients.

All functions also work without `torch.distributed`: there is then one process, and nothing is exchanged.

Shape legend: W processes, n rows of this process, N rows of all processes together (N = n if W = 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F


def world_size() -> int:
    """Return the number of processes; 1 if `torch.distributed` is not initialized."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """Gather the rows of all processes, in the order of their ranks.

    The backward pass sums the gradients of a row over all processes and returns the sum to the process that owns the
    row. If every process computes the same loss on the gathered rows, and gradients of weights are averaged over
    processes (as DistributedDataParallel does), they equal those of one process with all rows.

    Args:
        tensor: (n, ...); n may differ between processes. Other dimensions may differ too: they are padded at the end
            with zeros (false) to the longest. The type and the number of dimensions must agree.

    Returns:
        (N, ...), the same values on every process.

    Raises:
        ValueError: the tensor is a scalar.

    Example:
        >>> gather_with_gradient(torch.tensor([[1.0, 2.0]]))  # one process: unchanged
        tensor([[1., 2.]])
    """
    if tensor.ndim == 0:
        raise ValueError("gather_with_gradient needs rows; a scalar has none")
    if world_size() == 1:
        return tensor
    if tensor.dtype == torch.bool:
        return _gather(tensor.to(torch.uint8)).bool()
    return _gather(tensor)


def largest_of_all(number: int, device: torch.device | str = "cpu") -> int:
    """Return the largest of the numbers of all processes; `device` is where the backend exchanges tensors.

    Example:
        >>> largest_of_all(3)
        3
    """
    if world_size() == 1:
        return number
    value = torch.tensor(number, device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return int(value)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over processes, in place. Parameters without a gradient are skipped.

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
    """Gather a numeric tensor over more than one process."""
    shape = torch.tensor(tensor.shape, device=tensor.device)
    shapes = [torch.empty_like(shape) for _ in range(world_size())]
    dist.all_gather(shapes, shape)
    return _Gather.apply(tensor, [tuple(sizes.tolist()) for sizes in shapes])


class _Gather(torch.autograd.Function):
    """Concatenates the rows of all processes; the gradient of a row is summed over processes."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, shapes: list[tuple[int, ...]]) -> Tensor:
        """Map (n, ...) and the shapes on all processes to (N, ...)."""
        ctx.shapes = shapes
        largest = [max(sizes) for sizes in zip(*shapes, strict=True)]
        missing = [most - size for most, size in zip(largest, tensor.shape, strict=True)]
        padding = [amount for size in reversed(missing) for amount in (0, size)]
        padded = F.pad(tensor.detach(), padding).contiguous()
        gathered = [torch.empty_like(padded) for _ in shapes]
        dist.all_gather(gathered, padded)
        return torch.cat([part[: shape[0]] for part, shape in zip(gathered, shapes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Map the gradient of (N, ...) to that of (n, ...)."""
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        rows, *others = ctx.shapes[rank()]
        first = sum(shape[0] for shape in ctx.shapes[: rank()])
        return total[(slice(first, first + rows), *(slice(size) for size in others))], None
