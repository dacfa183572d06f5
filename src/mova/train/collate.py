"""Collation of pairs into batches of tensors, by the model's input adapter (`models/inputs.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mova.data.batch import BrokenVideo, Pair, PairBatch
from mova.data.dataset import collate
from mova.models.inputs import InputAdapter, spread_rows


@dataclass(frozen=True)
class Collator:
    """Pairs -> tensors of a batch."""

    adapter: InputAdapter
    units: bool

    def __call__(self, items: Sequence[Pair | BrokenVideo]) -> PairBatch:
        """Pad, tokenize, and list the videos that could not be read."""
        batch = collate(items)
        ids, mask, dropped = self.adapter.tokenize(batch.texts)
        return PairBatch(
            frames=torch.from_numpy(batch.frames),
            frame_mask=torch.from_numpy(batch.frame_mask),
            input_ids=ids,
            token_mask=mask,
            group=torch.from_numpy(batch.groups),
            dropped=dropped,
            broken=batch.broken,
            **self.adapter.granularities(batch.granularities, len(batch)),
            **(self._units(batch.units) if self.units else {}),
        )

    def _units(self, texts: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """`unit_ids`, `unit_token_mask` and `unit_mask` of the units of each text."""
        real = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.bool)
        for row, units in zip(real, texts, strict=True):
            row[: len(units)] = True
        ids, mask, _ = self.adapter.tokenize([unit for units in texts for unit in units])
        return {"unit_ids": spread_rows(ids, real), "unit_token_mask": spread_rows(mask, real), "unit_mask": real}
