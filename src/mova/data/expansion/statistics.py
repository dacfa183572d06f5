"""How many rows of a granularity there are, how long their videos and how many words their texts: counted as they pass.

Nothing is kept but counts: histograms over fixed bounds, sums and extremes.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from typing import Any

from mova.data.manifest import Row
from mova.text.summarize import count_words

SECONDS = (0, 1, 2, 5, 10, 20, 30, 60, 120, 180, 300, 600, 1200, 3600)
"""Bounds of durations: a row of 5 s is counted from 5 to 10; the last bin has no end."""
WORDS = (0, 5, 10, 15, 20, 30, 40, 60, 80, 120, 200, 400, 800)
"""Bounds of words a caption."""


class Spread:
    """Count, mean, standard deviation, extremes and a histogram of numbers seen one by one (Welford's update)."""

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self.count = 0
        self._mean = self._squares = 0.0
        self._least, self._most = math.inf, -math.inf
        self._bins = [0] * len(bounds)

    def add(self, value: float) -> None:
        """Count a number, 0 or more."""
        self.count += 1
        off = value - self._mean
        self._mean += off / self.count
        self._squares += off * (value - self._mean)
        self._least, self._most = min(self._least, value), max(self._most, value)
        self._bins[bisect_right(self.bounds, value) - 1] += 1

    def to_json(self) -> dict[str, Any]:
        """All of it; figures are null where nothing was counted."""
        figures: dict[str, Any] = dict.fromkeys(("mean", "deviation", "least", "most"))
        if self.count:
            deviation = math.sqrt(self._squares / self.count)
            values = (self._mean, deviation, self._least, self._most)
            figures = {name: round(value, 3) for name, value in zip(figures, values, strict=True)}
        return {"count": self.count, **figures, "bounds": list(self.bounds), "histogram": self._bins}


class Figures:
    """What is told of one granularity."""

    def __init__(self) -> None:
        self.rows = 0
        self.splits: Counter[str] = Counter()
        self.seconds, self.words, self.parts = Spread(SECONDS), Spread(WORDS), Spread(tuple(range(33)))

    def add(self, row: Row) -> None:
        """Count a row and all its captions."""
        self.rows += 1
        self.splits[row.split] += 1
        self.parts.add(len(row.segments))
        if (length := row.length) is not None:
            self.seconds.add(length)
        for caption in row.captions:
            self.words.add(count_words(caption.text))

    def to_json(self) -> dict[str, Any]:
        """Counts by split, and seconds, words and parts; `seconds` counts rows whose length is known."""
        return {
            "rows": self.rows,
            "splits": dict(sorted(self.splits.items())),
            "seconds": self.seconds.to_json(),
            "words": self.words.to_json(),
            "parts": self.parts.to_json(),
        }


class LeftOut:
    """What an operation could not use, or used otherwise than asked (`kept`), by reason: how many, and the first."""

    SHOWN = 5

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, list[str]] = {}
        self._kept: set[str] = set()

    def add(self, reason: str, which: str, count: int = 1, *, kept: bool = False) -> None:
        """Count `which` under a reason; `kept` where it is used nevertheless."""
        self._counts[reason] += count
        if kept:
            self._kept.add(reason)
        shown = self._first.setdefault(reason, [])
        if len(shown) < self.SHOWN:
            shown.append(which)

    def to_json(self) -> dict[str, Any]:
        """`{reason: {"count", "first", "kept"}}`."""
        return {
            reason: {"count": count, "first": self._first[reason], "kept": reason in self._kept}
            for reason, count in self._counts.items()
        }
