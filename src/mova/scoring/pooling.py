"""Pad sequences of vectors, and pool them without their padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over real positions.

    Args:
        states: (N, L, d).
        mask: bool, (N, L), true where a position is real.

    Returns:
        (N, d).

    Raises:
        ValueError: a row has no real position.

    Example:
        >>> states = torch.tensor([[[1.0], [3.0], [100.0]]])
        >>> masked_mean(states, torch.tensor([[True, True, False]])).tolist()
        [[2.0]]
    """
    counts = mask.sum(dim=1)
    if bool((counts == 0).any()):
        raise ValueError("masked_mean: a row has only padding")
    kept = states.masked_fill(~mask.unsqueeze(-1), 0.0)
    return kept.sum(dim=1) / counts.unsqueeze(-1).to(states.dtype)


def weighted_mean(states: Tensor, weights: Tensor) -> Tensor:
    """Return M weighted means over the same positions.

    Args:
        states: (..., L, d), finite everywhere.
        weights: (..., M, L), non-negative.

    Returns:
        (..., M, d); zeros for a row of zero weights.

    Example:
        >>> weighted_mean(torch.tensor([[1.0], [5.0]]), torch.tensor([[3.0, 1.0], [0.0, 0.0]])).tolist()
        [[2.0], [0.0]]
    """
    total = weights.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    return (weights / total).to(states.dtype) @ states


def pad_rows(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pad sequences of vectors to one tensor.

    Args:
        rows: N tensors (L, d) of any lengths, on one device.

    Returns:
        (N, L, d), padded with zeros to the longest, and bool (N, L), true where a position is real.

    Example:
        >>> padded, mask = pad_rows([torch.ones(1, 1), torch.ones(2, 1)])
        >>> padded.squeeze(-1).tolist(), mask.tolist()
        ([[1.0, 0.0], [1.0, 1.0]], [[True, False], [True, True]])
    """
    padded = pad_sequence(list(rows), batch_first=True)
    counts = torch.tensor([len(row) for row in rows], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < counts[:, None]


def within_cells(rows: Sequence[Tensor], cells: int) -> Iterator[list[Tensor]]:
    """Group consecutive sequences so that each group, padded, has at most `cells` positions; at least one per group.

    Example:
        >>> groups = within_cells([torch.zeros(2, 1), torch.zeros(3, 1), torch.zeros(5, 1)], cells=6)
        >>> [[len(row) for row in group] for group in groups]
        [[2, 3], [5]]
    """
    group: list[Tensor] = []
    for row in rows:
        longest = max(map(len, [*group, row]))
        if group and longest * (len(group) + 1) > cells:
            yield group
            group = []
        group.append(row)
    if group:
        yield group
