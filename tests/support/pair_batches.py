"""Batches of pairs for tests of what reads their vectors alone."""

from __future__ import annotations

import torch

from mova.data.batch import PairBatch


def unread_batch(videos: int, dropped: list[int] | None = None) -> PairBatch:
    """A batch whose frames and texts nobody encodes."""
    mask = torch.ones(videos, 1, dtype=torch.bool)
    return PairBatch(
        frames=torch.zeros(videos, 1, 4),
        frame_mask=mask,
        input_ids=mask.long(),
        token_mask=mask,
        group=torch.arange(videos),
        dropped=torch.tensor(dropped or [0] * videos),
    )
