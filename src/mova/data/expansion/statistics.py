"""Streaming statistics of a granularity: rows, durations of videos and lengths of texts, in constant memory."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from typing import Any

from mova.data.manifest import Row
from mova.text.summarize import count_words

SECONDS = (0, 1, 2, 5, 10, 20, 30, 60, 120, 180, 300, 600, 1200, 3600)
"""Lower bounds of the bins of durations: a row of 5 s counts in [5, 10); the last bin is open."""
WORDS = (0, 5, 10, 15, 20, 30, 40, 60, 80, 120, 200, 400, 800)
"""Lower bounds of the bins of words per caption."""
MAX_LISTED = 5
"""Largest number of examples per reason in a report or an error message."""


class Distribution:
    """Running count, mean, standard deviation, extremes and histogram of numbers (Welford's update).

    >>> words = Distribution((0, 5, 10))
    >>> for count in (4, 6, 8):
    ...     words.add(count)
    >>> report = words.to_json()
    >>> report["mean"], report["histogram"]
    (6.0, [1, 2, 0])
    """

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self.count = 0
        self._mean = self._squares = 0.0
        self._minimum, self._maximum = math.inf, -math.inf
        self._bins = [0] * len(bounds)

    def add(self, value: float) -> None:
        """Add a non-negative number."""
        self.count += 1
        delta = value - self._mean
        self._mean += delta / self.count
        self._squares += delta * (value - self._mean)
        self._minimum, self._maximum = min(self._minimum, value), max(self._maximum, value)
        self._bins[bisect_right(self.bounds, value) - 1] += 1

    def to_json(self) -> dict[str, Any]:
        """Return all statistics as JSON; mean, deviation and extremes are null if no number was added."""
        values: tuple[float | None, ...] = (None,) * 4
        if self.count:
            deviation = math.sqrt(self._squares / self.count)
            values = tuple(round(value, 3) for value in (self._mean, deviation, self._minimum, self._maximum))
        moments = dict(zip(("mean", "deviation", "least", "most"), values, strict=True))
        return {"count": self.count, **moments, "bounds": list(self.bounds), "histogram": self._bins}


class Statistics:
    """Statistics of the rows of one granularity."""

    def __init__(self) -> None:
        self.rows = 0
        self.splits: Counter[str] = Counter()
        self.seconds, self.words = Distribution(SECONDS), Distribution(WORDS)
        self.parts = Distribution(tuple(range(33)))

    def add(self, row: Row) -> None:
        """Add a row and all its captions."""
        self.rows += 1
        self.splits[row.split] += 1
        self.parts.add(len(row.segments))
        if (length := row.length) is not None:
            self.seconds.add(length)
        for caption in row.captions:
            self.words.add(count_words(caption.text))

    def to_json(self) -> dict[str, Any]:
        """Return rows by split, and the distributions of seconds (rows of known length), words and parts."""
        return {
            "rows": self.rows,
            "splits": dict(sorted(self.splits.items())),
            "seconds": self.seconds.to_json(),
            "words": self.words.to_json(),
            "parts": self.parts.to_json(),
        }


class LeftOut:
    """Input that an operation could not use, or used differently (`kept`): by reason, the count and first examples."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, list[str]] = {}
        self._kept: set[str] = set()

    def add(self, reason: str, which: str, count: int = 1, *, kept: bool = False) -> None:
        """Record input under a reason.

        Args:
            reason: why it was not used as requested.
            which: name of the input.
            count: number of items.
            kept: it is used nevertheless.
        """
        self._counts[reason] += count
        if kept:
            self._kept.add(reason)
        first = self._first.setdefault(reason, [])
        if len(first) < MAX_LISTED:
            first.append(which)

    def to_json(self) -> dict[str, Any]:
        """Return `{reason: {"count", "first", "kept"}}`."""
        return {
            reason: {"count": count, "first": self._first[reason], "kept": reason in self._kept}
            for reason, count in self._counts.items()
        }
