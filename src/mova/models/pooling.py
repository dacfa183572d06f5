"""Pooling that knows padding."""

from __future__ import annotations

from torch import Tensor


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
