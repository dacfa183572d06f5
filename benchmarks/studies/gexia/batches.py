"""Batches of one granularity each: the same for every arm that trains on it.

Every batch shows about as many clips: one of long videos holds `videos` of them, one of short videos as many clips as
those are made of on average. So a step costs the same frames whatever its granularity.

Shape legend: V videos, T samples, L words, K sentences, M words of a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks.studies.gexia.footage import LEAST, MOST, SAMPLES, Dense, Footage
from mova.data.batch import PairBatch
from mova.data.manifest import Row
from mova.models.gexia.inputs import GexiaInputs
from mova.models.inputs import InputAdapter
from mova.scoring.pooling import pad_rows

CLIPS = (LEAST + MOST) / 2
"""Of a source, on average."""


class GranularBatches(Dataset[PairBatch]):
    """Item i is a whole batch; granularities take turns, and each goes through its rows in an order of its own.

    The j-th batch of a granularity is the same whatever others there are. Those with as many rows share an order: the
    j-th batches of LVLT and LVST show the same videos.

    Args:
        footage: what rows show.
        rows: granularity -> rows.
        steps: batches.
        videos: long videos a batch.
        seed: of the order.
        adapter: makes tokens of texts, and rounds of granularities where it is a `GexiaInputs`.
        few: as many clips a batch as otherwise long videos.
        dense: features of clips and of their middle frames, which stand for pixels (`Footage.dense`).
    """

    def __init__(
        self,
        footage: Footage,
        rows: dict[str, list[Row]],
        steps: int,
        videos: int,
        seed: int,
        adapter: InputAdapter,
        few: bool,
        dense: Dense | None,
    ) -> None:
        self.footage, self.adapter, self.dense = footage, adapter, dense
        sizes = {name: videos if few or name.startswith("LV") else round(videos * CLIPS) for name in rows}
        streams = {name: _batches(found, sizes[name], seed) for name, found in rows.items()}
        names = list(rows)
        self.batches = [(name, next(streams[name])) for name in (names[i % len(names)] for i in range(steps))]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> PairBatch:
        """See the class."""
        name, rows = self.batches[index]
        shown = [self.footage.clips_of(row) for row in rows]
        flat = [clip for clips in shown for clip in clips]
        counts = torch.tensor([1 if name == "IT" else SAMPLES * len(clips) for clips in shown])
        samples = self._samples(flat, name == "IT")
        frames, mask = pad_rows(samples.split(counts.tolist()))
        ids, tokens, dropped = self.adapter.tokenize([row.captions[0].text for row in rows])
        if isinstance(self.adapter, GexiaInputs):
            more = self.adapter.granularities([name] * len(rows), len(rows))
        else:
            more = self._units([[s.text for s in row.captions[0].sentences] for row in rows])
        return PairBatch(frames, mask, ids, tokens, torch.arange(len(rows)), dropped, **more)

    def _samples(self, clips: list[int], still: bool) -> Tensor:
        """(n, ...) of clips one after the other, or their middle frames."""
        if self.dense is None:
            return torch.from_numpy(self.footage.stills(clips) if still else self.footage.samples(clips))
        return self.dense.stills[clips] if still else self.dense.clips[clips].flatten(0, 1)

    def _units(self, units: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """`unit_ids`, `unit_token_mask` (V, K, M) and `unit_mask` (V, K)."""
        counts = [len(row) for row in units]
        ids, mask, _ = self.adapter.tokenize([unit for row in units for unit in row])
        spread, real = pad_rows(ids.split(counts))
        return {"unit_ids": spread, "unit_token_mask": pad_rows(mask.split(counts))[0], "unit_mask": real}


def _batches(rows: Sequence[Row], size: int, seed: int) -> Iterator[list[Row]]:
    """Full batches without end, pass after pass, every pass in another order."""
    rng = np.random.default_rng([seed, size])
    while True:
        order = rng.permutation(len(rows))
        for first in range(0, len(rows) - size + 1, size):
            yield [rows[i] for i in order[first : first + size]]
