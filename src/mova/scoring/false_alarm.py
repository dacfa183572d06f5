"""How often would a sentence that nothing shows score this high? False-alarm rates from background sentences.

The best score of each background sentence over all frames of an index is a draw of what chance reaches there. The
false-alarm rate of a score is the share of background sentences whose best score is at least as high. Extremes over
more frames are higher, so that the rates belong to one index as it is. Beyond the highest tenth of the background the
rate falls exponentially (peaks over a threshold: Pickands 1975), because no share below 1 / (B + 1) can be counted.

A background sentence that the index happens to show raises the rates of all scores: they are usually too high.

A paragraph's score, the mean over its sentences inside one moment, is compared with single background sentences: its
sentences are about one subject, so their scores rise and fall together. Means of background sentences that were drawn
at random are much lower, and paragraphs about other natural clips would pass too often.

Plain NumPy. Shape legend: B background sentences, T frames of a video.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

Evidence = Literal["strong", "weak", "none"]

STRONG = 0.01
"""Highest false-alarm rate of strong evidence."""
BAR = 0.05
"""Highest false-alarm rate of any evidence, by default."""
LEAST_SENTENCES = 20
"""Background sentences needed: fewer cannot support a rate of 5 %."""
TAIL_SHARE, TAIL_LEAST = 0.1, 5
"""Share, and least number, of the highest background scores that the tail is fitted to."""
TAIL_LEAST_RATE = 0.1
"""Lowest rate that is extrapolated, as a share of the lowest one that can be counted."""
SMALLEST_EXCESS = 1e-4
"""Least mean excess of a tail: stored vectors have half precision."""
DIGITS = 5
STRENGTH = 1 / 3
"""Exponent a of the false-alarm rates of sentences that are shown: half of them are below 1/8. It was set. The rates of
146 described events on 32 real clips with `mova-natural` have a maximum of likelihood at 0.31."""
LEAST_RATE = 1e-6

_F64 = npt.NDArray[np.float64]


def probability_shown(rate: float) -> float:
    """Return the probability that something shows a sentence, by its false-alarm rate p alone.

    Without anything that shows it, p is uniform; otherwise it has the density a p^(a - 1) (a is `STRENGTH`), as in the
    calibration of p-values by Sellke, Bayarri and Berger (The American Statistician 55, 2001). Both are equally likely
    before.

    >>> [round(probability_shown(rate), 2) for rate in (0.001, 0.05, 0.5, 1.0)]
    [0.97, 0.71, 0.35, 0.25]
    """
    likely = STRENGTH * max(rate, LEAST_RATE) ** (STRENGTH - 1)
    return likely / (1 + likely)


@dataclass(frozen=True, eq=False)
class FalseAlarms:
    """Best scores that background sentences reach on the frames of an index or of a video.

    Attributes:
        frames: frames of the index.
        sampled: frames that were measured, in whole videos.
        growth: by how much the best score of a background sentence grows if the number of frames doubles.
        maxima: (B,) best scores of background sentences, descending.
        best: (B,) the same in the order of the sentences; None if that is not known.
    """

    frames: int
    sampled: int
    growth: float
    maxima: _F64
    best: _F64 | None = None

    @property
    def resolution(self) -> float:
        """The lowest rate that can be counted; lower ones, down to a tenth of it, are extrapolated."""
        return 1 / (len(self.maxima) + 1)

    def rate(self, score: float) -> float:
        """Return the false-alarm rate of a score, in (0, 1].

        Args:
            score: cosine of a sentence's best frame, or the mean of those of a paragraph's sentences inside a moment.

        Raises:
            ValueError: the score is not finite.

        Example:
            >>> alarms = FalseAlarms(100, 100, 0.0, np.linspace(0.4, 0.2, 99))
            >>> alarms.rate(0.1), round(alarms.rate(0.3), 2), alarms.rate(0.5) < 0.01
            (1.0, 0.51, True)
        """
        if not math.isfinite(score):
            raise ValueError(f"a score must be finite, not {score}")
        return tail_rate(self.maxima + self.missing, score)

    @property
    def missing(self) -> float:
        """By how much the best scores are higher over all frames than over those that were measured, extrapolated."""
        return self.growth * math.log2(max(self.frames, 1) / max(self.sampled, 1))

    @classmethod
    def union(cls, parts: Sequence[FalseAlarms]) -> FalseAlarms:
        """Return the statistics of indexes that are searched as one: the best score of each sentence in any of them.

        Args:
            parts: of indexes without common frames, with the same background sentences; at least one.

        Raises:
            ValueError: the order of a part's sentences is not known.

        Example:
            >>> parts = [Maxima(2), Maxima(2)]
            >>> for part, curves in zip(parts, ([[0.25, 0.5], [0.125, 0.25]], [[0.75], [0.0]])):
            ...     part.add(curves)
            >>> FalseAlarms.union([part.finish() for part in parts]).maxima
            array([0.75, 0.25])
        """
        if len(parts) == 1:
            return parts[0]
        if any(part.best is None for part in parts):
            raise ValueError("the order of the background sentences is not known")
        best = np.max([part.best + part.missing for part in parts if part.best is not None], axis=0)
        frames, sampled = sum(part.frames for part in parts), sum(part.sampled for part in parts)
        return cls(frames, sampled, 0.0, np.sort(best)[::-1].copy(), best)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; `from_json` reads them."""
        return {
            "frames": self.frames,
            "sampled": self.sampled,
            "growth": round(self.growth, DIGITS),
            "maxima": np.round(self.maxima, DIGITS).tolist(),
            **({} if self.best is None else {"best": np.round(self.best, DIGITS).tolist()}),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            growth = float(document["growth"])
            counts = int(document["frames"]), int(document["sampled"])
            best = _values(document["best"]) if "best" in document else None
            maxima = np.sort(_values(document["maxima"]))[::-1].copy()
            result = cls(*counts, growth, maxima, best)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("not false-alarm statistics") from error
        sound = 0 < result.sampled <= result.frames and math.isfinite(growth)
        if not sound or (best is not None and not np.array_equal(np.sort(best)[::-1], maxima)):
            raise ValueError("incomplete false-alarm statistics")
        return result


def tail_rate(background: npt.ArrayLike, score: float) -> float:
    """Return the share of background scores at or above a score, with an exponential tail beyond the highest tenth.

    The score itself counts as one more background score, so that no rate is 0 (Davison and Hinkley 1997, 4.2).

    Args:
        background: (B,) descending, finite.
        score: finite.

    Example:
        >>> background = np.arange(99.0)[::-1]
        >>> tail_rate(background, 50.0), round(tail_rate(background, 110.0), 4)
        (0.5, 0.002)
    """
    values = np.asarray(background, dtype=np.float64)
    count = len(values)
    counted = (1 + int((values >= score).sum())) / (count + 1)
    top = max(TAIL_LEAST, round(TAIL_SHARE * count))
    if count < LEAST_SENTENCES or score <= values[top]:
        return counted
    excess = float((values[:top] - values[top]).mean())
    if excess < SMALLEST_EXCESS:
        return counted
    beyond = (top + 1) / (count + 1) * math.exp(-(score - float(values[top])) / excess)
    return max(beyond, TAIL_LEAST_RATE / (count + 1))


def evidence(rate: float, bar: float = BAR) -> Evidence:
    """Return the word for a false-alarm rate: strong up to 1 % (or the bar), weak up to the bar, otherwise none.

    Example:
        >>> evidence(0.002), evidence(0.03), evidence(0.2), evidence(0.006, bar=0.005)
        ('strong', 'weak', 'none', 'none')
    """
    if rate > bar:
        return "none"
    return "strong" if rate <= STRONG else "weak"


class Maxima:
    """Gathers the best scores of background sentences over videos, one after another.

    Args:
        sentences: number B of background sentences.

    Example:
        >>> maxima = Maxima(2)
        >>> for curves in ([[0.25, 0.5], [0.125, 0.25]], [[0.75], [0.0]]):
        ...     maxima.add(curves)
        >>> maxima.finish().maxima
        array([0.75, 0.25])
    """

    def __init__(self, sentences: int) -> None:
        self._halves = np.full((2, sentences), -np.inf)
        self._frames = [0, 0]
        self._parts = self._halves
        """Best scores in both halves of the first video, for an index of which no other is measured."""

    def add(self, curves: npt.ArrayLike) -> None:
        """Add the scores (B, T) of a video's frames, in order of time.

        Raises:
            ValueError: a score is not finite.
        """
        scores = np.asarray(curves, dtype=np.float32)
        if not np.all(np.isfinite(scores)):
            raise ValueError("scores must be finite")
        if not scores.shape[1]:
            return
        if not any(self._frames) and scores.shape[1] > 1:
            middle = scores.shape[1] // 2
            self._parts = np.stack([scores[:, :middle].max(axis=1), scores[:, middle:].max(axis=1)]).astype(np.float64)
        half = int(self._frames[1] < self._frames[0])
        self._frames[half] += scores.shape[1]
        self._halves[half] = np.maximum(self._halves[half], scores.max(axis=1))

    def finish(self, frames: int | None = None) -> FalseAlarms:
        """Return the statistics of an index with this many frames; default: those that were added.

        Raises:
            ValueError: no frames were added.
        """
        sampled = sum(self._frames)
        if not sampled:
            raise ValueError("no frames")
        maxima = self._halves.max(axis=0)
        halves = self._halves if all(self._frames) else self._parts
        growth = float(np.mean(maxima - halves.mean(axis=0))) if np.all(np.isfinite(halves)) else 0.0
        return FalseAlarms(max(frames or 0, sampled), sampled, growth, np.sort(maxima)[::-1].copy(), maxima)


def of_video(curves: npt.ArrayLike) -> FalseAlarms:
    """Return the statistics of one video from the scores (B, T) of its frames.

    Example:
        >>> of_video([[0.25, 0.5], [0.125, 0.25]]).maxima
        array([0.5 , 0.25])
    """
    scores = np.asarray(curves, dtype=np.float64)
    maxima = np.sort(scores.max(axis=1))[::-1].copy()
    return FalseAlarms(scores.shape[1], scores.shape[1], 0.0, maxima)


def _values(row: Sequence[float]) -> _F64:
    values = np.array(row, dtype=np.float64)
    if values.ndim != 1 or len(values) < LEAST_SENTENCES or not np.all(np.isfinite(values)):
        raise ValueError("background scores must be finite, and enough of them")
    return values
