"""Padding, and pooling that knows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over real positions.

    Args:
        states: (N, L, d).
        mask: bool, (N, L), true where a position is real.

    Returns:
        (N, d).

    Raises:
        ValueError: a row has no real position (there is no mean of nothing).
    """
    counts = mask.sum(dim=1)
    if bool((counts == 0).any()):
        raise ValueError("masked_mean: a row has no real position")
    kept = states.masked_fill(~mask.unsqueeze(-1), 0.0)
    return kept.sum(dim=1) / counts.unsqueeze(-1).to(states.dtype)


def weighted_mean(states: Tensor, weights: Tensor) -> Tensor:
    """Several weighted means of the same positions.

    Args:
        states: (..., L, d), finite everywhere.
        weights: (..., M, L), not negative.

    Returns:
        (..., M, d); zeros where a row of weights is zeros.
    """
    total = weights.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    return (weights / total).to(states.dtype) @ states


def pad_rows(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sequences of vectors as one rectangle.

    Args:
        rows: N tensors (L, d) of any lengths, on one device.

    Returns:
        (N, L, d), padded with zeros to the longest, and bool (N, L), true where a position is real.
    """
    padded = pad_sequence(list(rows), batch_first=True)
    counts = torch.tensor([len(row) for row in rows], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < counts[:, None]


def within_cells(rows: Sequence[Tensor], cells: int) -> Iterator[list[Tensor]]:
    """Consecutive sequences whose padded rectangle holds at most `cells` positions, and at least one sequence."""
    group: list[Tensor] = []
    for row in rows:
        longest = max(map(len, [*group, row]))
        if group and longest * (len(group) + 1) > cells:
            yield group
            group = []
        group.append(row)
    if group:
        yield group
