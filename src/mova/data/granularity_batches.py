"""Training pairs of several granularities; every batch has one granularity, with its own number of frames.

Batches of one granularity need no padding of frames, all their samples need the same number of approximation rounds,
and long texts cannot be distinguished from short ones by their length alone (GEXIA, arXiv 2412.07704, trains three
granularities together). The order of batches depends only on (seed, epoch), so a resumed run sees the same batches.

Shape legend: G granularities.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Sampler

from mova.data.columns.selection import RowFilter, Rows, count_granularities, rows_fingerprint
from mova.data.dataset import BrokenVideo, Draw, Pair, PairDataset
from mova.data.granularity import GRANULARITIES, LengthRule
from mova.data.shards.order import TOGETHER, ShardNumbers, shuffled
from mova.errors import DataError, UsageError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GranularitySettings:
    """Settings of one granularity in a recipe.

    Attributes:
        frames: number of frames per video.
        share: share of all batches, relative to the other shares; None (for all granularities): every pair once per
            epoch.
    """

    frames: int
    share: float | None = None

    def __post_init__(self) -> None:
        if self.share is not None and not self.share > 0:
            raise UsageError(f"the share of a granularity must be positive, not {self.share}")


def read_granularities(settings: Mapping[str, Mapping[str, Any]] | None) -> dict[str, GranularitySettings] | None:
    """Read `data.granularities` of a recipe: name -> {frames, share}; None if the recipe does not have it.

    Raises:
        UsageError: no or unknown names, an unknown setting, or shares for only some granularities.

    >>> read_granularities({"SVST": {"frames": 12}, "LVLT": {"frames": 48}})["LVLT"].frames
    48
    """
    if settings is None:
        return None
    unknown = sorted(set(settings) - set(GRANULARITIES))
    if unknown or not settings:
        problem = f"has unknown names {', '.join(unknown)}" if unknown else "is empty"
        raise UsageError(f"data.granularities {problem}; choose from {', '.join(GRANULARITIES)}")
    try:
        granularities = {name: GranularitySettings(**values) for name, values in settings.items()}
    except TypeError as error:
        raise UsageError(f"data.granularities: {error}; each needs 'frames', and 'share' if all have one") from error
    if len({settings.share is None for settings in granularities.values()}) > 1:
        raise UsageError("data.granularities: give a share to all granularities or to none")
    return granularities


class MixedPairDataset(Dataset[Pair | BrokenVideo]):
    """Concatenation of one `PairDataset` per granularity.

    Args:
        parts: granularity -> its pairs, in the order of their indices.
    """

    def __init__(self, parts: Mapping[str, PairDataset]) -> None:
        self.parts = dict(parts)
        self._names = list(parts)
        self._ends = list(accumulate(len(part) for part in parts.values()))

    @staticmethod
    def from_rows(
        build: Callable[[GranularitySettings, RowFilter], PairDataset],
        granularities: Mapping[str, GranularitySettings],
        rows: Rows,
        lengths: LengthRule,
        keep: RowFilter | None = None,
    ) -> MixedPairDataset:
        """Build one part for every granularity that has rows.

        Args:
            build: (settings, predicate of rows: `keep` and the granularity) -> pairs.
            granularities: granularities of the recipe; rows of others are left out, counted and logged.
            rows: all rows of the split, for counting.
            lengths: decides for rows that do not state a granularity.
            keep: predicate of rows that holds for all granularities.

        Raises:
            DataError: a row states an unknown granularity, or no row has one of the recipe's.
        """
        names = tuple(granularities)
        counts = count_granularities(rows, names, lengths)
        unnamed = {name: count for name, count in counts.items() if name not in granularities}
        if unnamed:
            logger.warning("excluded rows of granularities that are not in the recipe: %s", unnamed)
        present = [name for name in names if counts.get(name)]
        if not present:
            raise DataError(f"no row has any of the granularities {', '.join(names)}; rows by granularity: {counts}")
        missing = sorted(set(names) - set(present))
        if missing:
            logger.warning("no row has granularity %s", ", ".join(missing))

        every = replace(keep or RowFilter(), granularities=names, lengths=lengths)
        return MixedPairDataset(
            {name: build(granularities[name], replace(every, granularity=name)) for name in present}
        )

    @property
    def rows(self) -> list[Rows]:
        """The rows of each part."""
        return [part.rows for part in self.parts.values()]

    @property
    def split(self) -> str:
        """Name of the manifest's split."""
        return next(iter(self.parts.values())).split

    def to_json(self) -> dict[str, Any]:
        """Return the data section of a run's report."""
        parts = {name: part.to_json() for name, part in self.parts.items()}
        totals = {
            "split": self.split,
            "rows": sum(map(len, self.rows)),
            "pairs": len(self),
            "fingerprint": rows_fingerprint(self.rows),
        }
        return {**totals, "granularities": parts}

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, key: int | Draw) -> Pair | BrokenVideo:
        """Return the pair with its granularity; an integer is an item of epoch 0."""
        index, epoch = key if isinstance(key, Draw) else (key, 0)
        part = bisect_right(self._ends, index)
        begin = self._ends[part - 1] if part else 0
        name = self._names[part]
        pair = self.parts[name][Draw(index - begin, epoch)]
        if isinstance(pair, BrokenVideo):
            return pair
        return replace(pair, granularity=name, group=pair.group + begin)  # parts share no batch


class GranularityBatchSampler(Sampler[Draw]):
    """Batches of one granularity each, in an order that depends only on seed and epoch.

    Within one pass over a granularity no pair is repeated. The remainder of an incomplete batch is dropped; it differs
    from epoch to epoch. If shares require more batches than a pass has, another pass follows in a new order.

    Args:
        sizes: granularity -> number of pairs, in the order of their indices.
        batch: number of pairs, over all processes, that must have one granularity.
        seed: seed of the order.
        shares: granularity -> relative share of batches; None: every pair once.
        shards, together: shard of each pair of each granularity, and how many are shuffled together, see `shuffled`.

    Raises:
        UsageError: a granularity has fewer pairs than a batch.

    >>> sampler = GranularityBatchSampler({"SVST": 4, "LVLT": 2}, batch=2, seed=0)
    >>> len(sampler), sampler.batches
    (6, [2, 1])
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        batch: int,
        seed: int,
        shares: Mapping[str, float] | None = None,
        shards: Sequence[ShardNumbers | None] | None = None,
        together: int = TOGETHER,
    ) -> None:
        small = {name: size for name, size in sizes.items() if size < batch}
        if small:
            raise UsageError(
                f"granularities with fewer pairs than a batch of {batch}: {small}; "
                "set --training.per_device_train_batch_size or leave them out of data.granularities"
            )
        self.sizes, self.batch, self.seed, self.epoch = list(sizes.values()), batch, seed, 0
        self.shards, self.together = shards or [None] * len(self.sizes), together
        full = [size // batch for size in self.sizes]
        self.batches = full if shares is None else _apportion(sum(full), [shares[name] for name in sizes])

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(self.batches) * self.batch

    def __iter__(self) -> Iterator[Draw]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(
            np.repeat(np.arange(len(self.sizes)), self.batches)
        )
        begins = [0, *accumulate(self.sizes)]
        streams = [self._batches_of(index) for index in range(len(self.sizes))]
        return (Draw(begins[k] + int(item), self.epoch) for k in order for item in next(streams[k]))

    def _batches_of(self, index: int) -> Iterator[np.ndarray]:
        """Yield batches of one granularity endlessly, pass after pass."""
        size, passes = self.sizes[index], 0
        while True:
            rng = np.random.default_rng([self.seed, self.epoch, index, passes])
            order = shuffled(rng, size, self.shards[index], self.together)
            yield from order[: size - size % self.batch].reshape(-1, self.batch)
            passes += 1


def _apportion(total: int, shares: Sequence[float]) -> list[int]:
    """Apportion `total` by shares with the largest-remainder method; each gets at least 1.

    >>> _apportion(10, [1, 1, 2])
    [3, 2, 5]
    """
    exact = np.asarray(shares) / sum(shares) * total
    counts = np.floor(exact).astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[index] += 1
    return np.maximum(counts, 1).tolist()
