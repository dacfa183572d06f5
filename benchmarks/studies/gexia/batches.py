"""Batches of one granularity each, the same for every arm that trains on it.

All batches show about the same number of clips: a batch of long videos has `videos` of them, a batch of short videos
has as many clips as those consist of on average. A step therefore costs the same number of frames for any granularity.

Shape legend: V videos, K sentences, M words per sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks.studies.gexia.footage import LEAST, MOST, SAMPLES, Dense, Footage
from mova.data.batch import InputAdapter, PairBatch
from mova.data.manifest import Row
from mova.models.gexia.inputs import GexiaInputs
from mova.scoring.pooling import pad_rows

CLIPS = (LEAST + MOST) / 2
"""Average number of clips per source."""


class GranularBatches(Dataset[PairBatch]):
    """A data set whose item i is a whole batch; granularities alternate, each in its own order of rows.

    The j-th batch of a granularity does not depend on the other granularities. Granularities with equally many rows
    share an order: the j-th batches of LVLT and LVST show the same videos.

    Args:
        footage: pixels of the rows.
        rows: rows by granularity.
        steps: number of batches.
        videos: long videos per batch.
        seed: seed of the order.
        adapter: makes tokens of texts, and rounds of granularities where it is a `GexiaInputs`.
        few: a batch has as many clips as otherwise long videos.
        dense: features of clips and of their middle frames to use instead of pixels (`Footage.dense`).
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
        streams = {name: _batches(group, sizes[name], seed) for name, group in rows.items()}
        names = list(rows)
        self.batches = [(name, next(streams[name])) for name in (names[i % len(names)] for i in range(steps))]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> PairBatch:
        """Return batch `index`."""
        name, rows = self.batches[index]
        clips_of = [self.footage.clips_of(row) for row in rows]
        flat = [clip for clips in clips_of for clip in clips]
        counts = torch.tensor([1 if name == "IT" else SAMPLES * len(clips) for clips in clips_of])
        samples = self._samples(flat, name == "IT")
        frames, mask = pad_rows(samples.split(counts.tolist()))
        ids, tokens, dropped = self.adapter.tokenize([row.captions[0].text for row in rows])
        if isinstance(self.adapter, GexiaInputs):
            more = self.adapter.granularities([name] * len(rows), len(rows))
        else:
            more = self._units([[s.text for s in row.captions[0].sentences] for row in rows])
        return PairBatch(frames, mask, ids, tokens, torch.arange(len(rows)), dropped, **more)

    def _samples(self, clips: list[int], still: bool) -> Tensor:
        """Return the samples of clips one after the other, or their middle frames, (n, ...)."""
        if self.dense is None:
            return torch.from_numpy(self.footage.stills(clips) if still else self.footage.samples(clips))
        return self.dense.stills[clips] if still else self.dense.clips[clips].flatten(0, 1)

    def _units(self, units: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """Tokenize units: `unit_ids`, `unit_token_mask` (V, K, M) and `unit_mask` (V, K)."""
        counts = [len(row) for row in units]
        ids, mask, _ = self.adapter.tokenize([unit for row in units for unit in row])
        spread, real = pad_rows(ids.split(counts))
        return {"unit_ids": spread, "unit_token_mask": pad_rows(mask.split(counts))[0], "unit_mask": real}


def _batches(rows: Sequence[Row], size: int, seed: int) -> Iterator[list[Row]]:
    """Yield full batches endlessly, every pass in a new order."""
    rng = np.random.default_rng([seed, size])
    while True:
        order = rng.permutation(len(rows))
        for first in range(0, len(rows) - size + 1, size):
            yield [rows[i] for i in order[first : first + size]]
