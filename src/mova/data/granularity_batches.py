"""Pairs by granularity: every batch holds one, with its own number of frames and its share of all batches.

Batches of one granularity need no padding of frames, all their samples need as many rounds of approximation, and long
texts are not told from short ones by their length alone (GEXIA, arXiv 2412.07704, trains three granularities together).
What batch comes when depends on (seed, epoch) alone, so that a run that goes on from a checkpoint sees the same ones.

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

from mova.data.batch import BrokenVideo, Pair
from mova.data.dataset import Draw, PairDataset
from mova.data.granularity import GRANULARITIES, LengthRule, require_granularity
from mova.data.manifest import Row, fingerprint
from mova.errors import DataError, UsageError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Granule:
    """One granularity of a recipe.

    Attributes:
        frames: of a video.
        share: of all batches, in proportion to the others' shares; None for all: every pair once an epoch.
    """

    frames: int
    share: float | None = None

    def __post_init__(self) -> None:
        if self.share is not None and not self.share > 0:
            raise UsageError(f"a granularity's share must be above 0, not {self.share}")


def read_granules(settings: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Granule] | None:
    """A recipe's `data.granularities`: name -> {frames, share}; None where it names none.

    Raises:
        UsageError: none, an unknown name or setting, or shares for some only.
    """
    if settings is None:
        return None
    unknown = sorted(set(settings) - set(GRANULARITIES))
    if unknown or not settings:
        named = ", ".join(unknown) or "nothing"
        raise UsageError(f"data.granularities names {named}; there are {', '.join(GRANULARITIES)}")
    try:
        granules = {name: Granule(**own) for name, own in settings.items()}
    except TypeError as error:
        raise UsageError(f"data.granularities: {error}; each has frames, and a share if all have one") from error
    if len({granule.share is None for granule in granules.values()}) > 1:
        raise UsageError("data.granularities: either all have a share or none")
    return granules


def row_granularity(row: Row, names: Sequence[str], lengths: LengthRule) -> str:
    """What a row says of itself; else the only name there is (the paper sets it by data set); else by its length.

    Raises:
        DataError: the row's own is not known.
    """
    own = row.meta.get("granularity")
    if own is not None:
        return require_granularity(own, f"row {row.id!r}")
    return names[0] if len(names) == 1 else lengths.row(row)


class GranularPairs(Dataset[Pair | BrokenVideo]):
    """Pairs of several granularities one after the other, each from a `PairDataset` of its own.

    Args:
        parts: name -> pairs, in the order of their indices.
    """

    def __init__(self, parts: Mapping[str, PairDataset]) -> None:
        self.parts = dict(parts)
        self._names = list(parts)
        self._ends = list(accumulate(len(part) for part in parts.values()))

    @staticmethod
    def make(
        build: Callable[[Granule, Callable[[Row], bool]], PairDataset],
        granules: Mapping[str, Granule],
        rows: Sequence[Row],
        lengths: LengthRule,
    ) -> GranularPairs:
        """One part for every granularity that has rows.

        Args:
            build: (granule, which rows) -> its pairs.
            granules: what is wanted; rows of others are left out, counted and said.
            rows: all rows of the split, for counting.
            lengths: decides for rows that say nothing of themselves.

        Raises:
            DataError: a row of an unknown granularity, or no row of any that is wanted.
        """
        names = list(granules)
        found = [row_granularity(row, names, lengths) for row in rows]
        counts = {name: found.count(name) for name in sorted(set(found))}
        others = {name: count for name, count in counts.items() if name not in granules}
        if others:
            logger.warning("left out: rows of granularities that the recipe does not name: %s", others)
        there = [name for name in names if counts.get(name)]
        if not there:
            raise DataError(f"no row is of the granularities {', '.join(names)}; rows by granularity: {counts}")
        missing = sorted(set(names) - set(there))
        if missing:
            logger.warning("no row is of granularity %s", ", ".join(missing))

        def wanted(name: str) -> Callable[[Row], bool]:
            return lambda row: row_granularity(row, names, lengths) == name

        return GranularPairs({name: build(granules[name], wanted(name)) for name in there})

    @property
    def rows(self) -> list[Row]:
        """Rows of all parts."""
        return [row for part in self.parts.values() for row in part.rows]

    @property
    def split(self) -> str:
        """Name of the part of the manifest."""
        return next(iter(self.parts.values())).split

    def to_json(self) -> dict[str, Any]:
        """What a run's report says of its data."""
        parts = {name: part.to_json() for name, part in self.parts.items()}
        told = {"split": self.split, "rows": len(self.rows), "pairs": len(self), "fingerprint": fingerprint(self.rows)}
        return {**told, "granularities": parts}

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, key: int | Draw) -> Pair | BrokenVideo:
        """The pair with its granularity; a plain number is an item of epoch 0."""
        index, epoch = key if isinstance(key, Draw) else (key, 0)
        place = bisect_right(self._ends, index)
        begin = self._ends[place - 1] if place else 0
        name = self._names[place]
        found = self.parts[name][Draw(index - begin, epoch)]
        if isinstance(found, BrokenVideo):
            return found
        return replace(found, granularity=name, group=found.group + begin)  # groups of a part are below its length


class GranularSampler(Sampler[Draw]):
    """Batches of one granularity each, in an order that depends on seed and epoch alone.

    Within a pass over a granularity no pair comes twice; what does not fill a batch is left for another epoch, whose
    order is another. Where shares ask for more batches than there are, a further pass in another order gives them.

    Args:
        sizes: pairs of each granularity, in the order of their indices.
        batch: pairs of all processes together that must be of one granularity.
        seed: of the order.
        shares: of all batches, in proportion; None: every pair once.

    Raises:
        UsageError: a granularity has fewer pairs than a batch.
    """

    def __init__(
        self, sizes: Mapping[str, int], batch: int, seed: int, shares: Mapping[str, float] | None = None
    ) -> None:
        small = {name: size for name, size in sizes.items() if size < batch}
        if small:
            raise UsageError(
                f"granularities with fewer pairs than a batch of {batch}: {small}; "
                "set --training.per_device_train_batch_size or leave them out of data.granularities"
            )
        self.sizes, self.batch, self.seed, self.epoch = list(sizes.values()), batch, seed, 0
        full = [size // batch for size in self.sizes]
        self.batches = full if shares is None else _divide(sum(full), [shares[name] for name in sizes])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(self.batches) * self.batch

    def __iter__(self) -> Iterator[Draw]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(
            np.repeat(np.arange(len(self.sizes)), self.batches)
        )
        begins = [0, *accumulate(self.sizes)]
        streams = [self._batches_of(place) for place in range(len(self.sizes))]
        return (Draw(begins[k] + int(item), self.epoch) for k in order for item in next(streams[k]))

    def _batches_of(self, place: int) -> Iterator[np.ndarray]:
        """Batches of one granularity without end, pass after pass."""
        size, passes = self.sizes[place], 0
        while True:
            order = np.random.default_rng([self.seed, self.epoch, place, passes]).permutation(size)
            yield from order[: size - size % self.batch].reshape(-1, self.batch)
            passes += 1


def _divide(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to shares that sum up to `total`, by largest remainders; each is 1 at least."""
    exact = np.asarray(shares) / sum(shares) * total
    counts = np.floor(exact).astype(int)
    for place in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[place] += 1
    return np.maximum(counts, 1).tolist()
