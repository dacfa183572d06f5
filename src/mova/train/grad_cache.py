"""Gradient caching: a contrastive loss on a large batch in the memory of a small one.

GradCache (Gao et al. 2021, arXiv 2101.06983): (1) encode all chunks without a graph; (2) compute the loss on all
vectors and its gradient with respect to them, the cache; (3) encode every chunk again, with a graph, and send its part
of the cache back through it. Weights get the gradient of the whole batch: dL/dw = sum over chunks of (dL/dv) (dv/dw).
The price is a second forward pass. Random numbers (dropout) are the same in both passes.

Shape legend: V pairs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from mova.data.batch import TensorRecord
from mova.distributed import largest_of_all
from mova.errors import UsageError
from mova.train.objectives.base import BatchT, CachedEncoder, Encoder, Objective, Tensors, VectorsT


def cached_backward(
    objective: Objective[BatchT, VectorsT],
    batch: BatchT,
    model: Encoder[BatchT, VectorsT],
    chunk: int,
    scale: float = 1.0,
    together: bool = False,
) -> tuple[Tensor, Tensors]:
    """Add the gradients of a batch to the weights; return loss and parts as `objective.forward` does.

    Args:
        objective: works on vectors; heads of `model.net` that it uses get their gradient in step 2.
        batch: every tensor has one row per pair.
        model: each pair's vectors must depend on that pair alone (see `refuse_batch_statistics`).
        chunk: number of pairs encoded at a time, above 0.
        scale: factor on the gradients (one over the number of accumulated batches).
        together: whether all processes must run the model equally often, because they share its weights (FSDP). One
            with fewer pairs, after unreadable videos, runs its last chunk again, without an effect.

    Returns:
        The detached loss, not scaled, and the objective's parts.
    """
    count = batch_size(batch)
    pieces = [slice(first, min(first + chunk, count)) for first in range(0, count, chunk)]
    passes = largest_of_all(len(pieces), next(model.net.parameters()).device) if together else len(pieces)
    fillers = [pieces[-1]] * (passes - len(pieces))
    if passes == 1:
        loss, parts = objective.forward(batch, model)
        (loss * scale).backward()
        return loss.detach(), parts
    devices = _devices(batch)
    states, chunks = [], []
    with torch.no_grad():
        for piece in pieces:
            states.append(_random_states(devices))
            chunks.append(model(_part(batch, piece)))
        for piece in fillers:
            model(_part(batch, piece))
    leaves = _joined(chunks)
    del chunks
    loss, parts = objective.forward(batch, CachedEncoder(model.net, leaves))
    (loss * scale).backward()
    after = _random_states(devices)
    for piece, state in zip(pieces, states, strict=True):
        _restore(state, devices)
        _send_back(_tensors(model(_part(batch, piece))), _tensors(leaves), piece)
    for piece in fillers:
        _send_back(_tensors(model(_part(batch, piece))), _tensors(leaves), None)
    _restore(after, devices)
    return loss.detach(), parts


def split_backward(
    objective: Objective[BatchT, VectorsT],
    batch: BatchT,
    model: Encoder[BatchT, VectorsT],
    chunk: int,
    scale: float = 1.0,
) -> tuple[Tensor, Tensors]:
    """Do the same for a `separable` objective: every chunk runs once, weighted by its share of the batch.

    Args:
        objective: its loss and parts are means over items.
        batch: every entry can be sliced along its first axis.
        model: as for `cached_backward`; nothing of a chunk is kept while the next one runs.
        chunk: number of items at a time; 0: the whole batch.
        scale: factor on the gradients.

    Returns:
        The detached loss, not scaled, and the parts. For an empty batch, gradients and loss are 0 and there are no
        parts.
    """
    count = batch_size(batch)
    if not count:
        nothing = torch.stack([weight.sum() * 0 for weight in model.net.parameters() if weight.requires_grad]).sum()
        nothing.backward()
        return nothing.detach(), {}
    losses, parts = [], []
    for first in range(0, count, chunk or count):
        piece = _part(batch, slice(first, first + (chunk or count)))
        share = batch_size(piece) / count
        loss, terms = objective.forward(piece, model)
        (loss * (share * scale)).backward()
        losses.append(loss.detach() * share)
        parts.append({key: value.detach() * share for key, value in terms.items()})
    means = {key: torch.stack([terms[key] for terms in parts]).sum() for key in parts[0]}
    return torch.stack(losses).sum(), means


def refuse_batch_statistics(model: nn.Module) -> None:
    """Raise if vectors depend on their neighbors in a batch, which gradient caching cannot handle.

    Raises:
        UsageError: the model has batch normalization, whose statistics would be those of a chunk.
    """
    kinds = (nn.modules.batchnorm._BatchNorm,)
    names = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    if names:
        raise UsageError(
            f"training.cache_chunk: {type(model).__name__} has batch normalization ({names[0]}, {len(names)} in all), "
            "so chunks are not a whole batch; set cache_chunk to 0"
        )


def batch_size(batch: Any) -> int:
    """Return the number of items of a batch."""
    return len(batch) if isinstance(batch, TensorRecord) else len(next(iter(batch.values())))


def _part(batch: Any, piece: slice) -> Any:
    if isinstance(batch, TensorRecord):
        return batch.slice(piece.start, piece.stop)
    return {key: value[piece] for key, value in batch.items()}


def _tensors(values: Any) -> Tensors:
    return values.tensors() if isinstance(values, TensorRecord) else values


def _joined(chunks: list[VectorsT]) -> VectorsT:
    """Join the chunks' vectors into leaves."""
    first = chunks[0]
    leaves = {key: _leaf([_tensors(chunk)[key] for chunk in chunks]) for key in _tensors(first)}
    return replace(first, **leaves) if isinstance(first, TensorRecord) else cast(VectorsT, leaves)


def _leaf(parts: list[Tensor]) -> Tensor:
    """Join one leaf; a scalar is the same in each chunk."""
    joined = parts[0] if parts[0].ndim == 0 else torch.cat(parts)
    return joined.detach().clone().requires_grad_(joined.is_floating_point())


def _send_back(vectors: Tensors, leaves: Tensors, piece: slice | None) -> None:
    """Send the cached gradient of one chunk back through its graph; that of a scalar goes with the first chunk.

    Without a piece, zeros reach the weights that a later chunk would reach.
    """
    tensors, grads = [], []
    for key, value in vectors.items():
        cache = leaves[key].grad
        if cache is None or not value.requires_grad or (value.ndim == 0 and (piece is None or piece.start > 0)):
            continue
        tensors.append(value)
        grads.append(torch.zeros_like(value) if piece is None else cache if value.ndim == 0 else cache[piece])
    torch.autograd.backward(tensors, grads)


def _devices(batch: Any) -> list[torch.device]:
    """Return the GPUs that hold the batch."""
    return sorted({value.device for value in _tensors(batch).values() if value.device.type == "cuda"}, key=str)


def _random_states(devices: list[torch.device]) -> list[Tensor]:
    """Return the states of the random generators of the CPU and the GPUs."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in devices)]


def _restore(states: list[Tensor], devices: list[torch.device]) -> None:
    torch.set_rng_state(states[0])
    for state, device in zip(states[1:], devices, strict=True):
        torch.cuda.set_rng_state(state, device)
