"""A finer relevance curve from windows that overlap, and finer bounds of the moments that were found on them.

The relevance of a window is taken as the mean, over its time, of a finer curve x that cannot be seen: y = A x. The
starts and ends of all windows divide the video into cells on which x is constant. With strides of a half or a quarter
of a window there are about as many windows as cells, but A loses what oscillates within a window, so x is the solution
of

    min over x >= 0 of  sum (A x - (y - min y))^2 + smoothness * sum (D x)^2

with D the differences of neighboring cells: non-negative least squares with Tikhonov's regularization (Hansen 2010,
Discrete Inverse Problems, chapter 8), solved by accelerated projected gradients (Beck and Teboulle 2009, FISTA).

Shape legend: W windows, C cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mova.scoring.spans import peaks
from mova.types import ScoredSpan, Span

SMOOTHNESS = 0.005
"""Chosen on Worlds (`benchmarks/studies/windows.py`)."""
ROUNDS = 200
"""Steps of the solver."""

_F64 = npt.NDArray[np.float64]


class FineCurve(NamedTuple):
    """A relevance curve on cells that are finer than windows.

    Attributes:
        edges: (C + 1,) seconds.
        values: (C,), relevance.
        covered: bool, (C,), whether any window contains the cell; elsewhere the value is the least of the curve.

    >>> fine = FineCurve(np.array([0.0, 1.0, 3.0]), np.array([0.1, 0.8]), np.array([True, True]))
    >>> fine.edges[fine.values.argmax()]
    np.float64(1.0)
    """

    edges: _F64
    values: _F64
    covered: npt.NDArray[np.bool_]


class WindowMeans:
    """The map A from a curve on cells to its means over windows, and its transpose, without a matrix.

    Args:
        windows: (W, 2), start and end in seconds, each with a length above 0.

    >>> means = WindowMeans(np.array([[0.0, 4.0], [2.0, 6.0]]))
    >>> means.edges.tolist(), means.apply(np.array([1.0, 0.0, 3.0])).tolist()
    ([0.0, 2.0, 4.0, 6.0], [0.5, 1.5])
    """

    def __init__(self, windows: _F64) -> None:
        self.edges: _F64 = np.unique(windows)
        self._first, self._last = (np.searchsorted(self.edges, windows[:, side]) for side in (0, 1))
        self._lengths = windows[:, 1] - windows[:, 0]
        self._widths = np.diff(self.edges)
        self.covered = self._spread(np.ones(len(windows))) > 0

    def apply(self, values: _F64) -> _F64:
        """Return the means over windows, (W,), of values (C,) on cells."""
        totals = np.append(0.0, np.cumsum(values * self._widths))
        return (totals[self._last] - totals[self._first]) / self._lengths

    def transposed(self, values: _F64) -> _F64:
        """Return the transpose of `apply` on values (W,) of windows: (C,)."""
        return self._spread(values / self._lengths) * self._widths

    def _spread(self, values: _F64) -> _F64:
        """Return for each cell the sum over the windows that contain it."""
        steps = np.zeros(len(self.edges))
        np.add.at(steps, self._first, values)
        np.add.at(steps, self._last, -values)
        total = np.cumsum(steps)[:-1]
        total[np.abs(total) < 1e-12] = 0.0
        return total


def deconvolve(relevance: npt.ArrayLike, windows: _F64, smoothness: float = SMOOTHNESS) -> FineCurve:
    """Return a curve on finer cells whose means over the windows are near the relevance of the windows.

    Args:
        relevance: (W,), finite.
        windows: (W, 2), start and end in seconds.
        smoothness: weight of the squared differences of neighboring cells, above 0.

    Raises:
        ValueError: shapes do not agree, a value is not finite, or `smoothness` is not above 0.

    >>> windows = np.array([[k, k + 4.0] for k in range(0, 17, 2)])
    >>> seen = WindowMeans(windows).apply(np.array([0.0, 0, 0, 0, 1, 0, 0, 0, 0, 0]))
    >>> fine = deconvolve(seen, windows)
    >>> float(fine.edges[fine.values.argmax()]), bool(fine.values.max() > seen.max())
    (8.0, True)
    """
    curve = np.asarray(relevance, dtype=np.float64)
    if windows.shape != (len(curve), 2) or curve.ndim != 1 or not len(curve):
        raise ValueError(f"relevance {curve.shape} and windows {windows.shape} do not agree")
    if not (np.all(np.isfinite(curve)) and smoothness > 0):
        raise ValueError("relevance must be finite, and smoothness above 0")
    means, low = WindowMeans(windows), float(curve.min())
    target = means.transposed(curve - low)
    joined = means.covered[1:] & means.covered[:-1]

    def gradient(values: _F64) -> _F64:
        """Return half the gradient of the objective at values (C,) of cells."""
        steps = np.where(joined, np.diff(values), 0.0) * smoothness
        rough = np.append(0.0, steps) - np.append(steps, 0.0)
        return means.transposed(means.apply(values)) - target + rough

    # A has rows that sum to 1, so its squared norm is at most its largest column sum; that of D is at most 4.
    rate = 1 / (float(means.transposed(np.ones(len(curve))).max()) + 4 * smoothness)
    values = ahead = np.zeros(len(means.edges) - 1)
    momentum = 1.0
    for _ in range(ROUNDS):
        after = np.maximum(ahead - rate * gradient(ahead), 0.0)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = after + (momentum - 1) / following * (after - values)
        values, momentum = after, following
    return FineCurve(means.edges, values + low, means.covered)


def overlapping(windows: npt.NDArray[np.float64] | None) -> bool:
    """Return whether some windows share time.

    >>> overlapping(np.array([[0.0, 4.0], [4.0, 8.0]])), overlapping(np.array([[0.0, 4.0], [2.0, 6.0]]))
    (False, True)
    """
    return windows is not None and bool(np.any(windows[1:, 0] < windows[:-1, 1]))


def window_seconds(windows: npt.NDArray[np.float64]) -> float:
    """Return the usual length of windows (W, 2), seconds.

    >>> window_seconds(np.array([[0.0, 4.0], [2.0, 6.0], [4.0, 7.5]]))
    4.0
    """
    return float(np.median(windows[:, 1] - windows[:, 0]))


def window_peaks(
    relevance: npt.ArrayLike,
    times: npt.ArrayLike,
    duration: float,
    limit: int,
    *,
    windows: npt.NDArray[np.float64] | None,
    step: float | None = None,
    least: float = -np.inf,
) -> tuple[ScoredSpan, ...]:
    """Return the best spans of a curve, with bounds from its deconvolution if windows overlap; scores do not change.

    Args:
        relevance, times, duration, limit, step, least: see `mova.scoring.spans.peaks`; `times` are starts of cells.
        windows: (W, 2), start and end in seconds of what each entry of `relevance` is of; None: of single frames.

    >>> windows = np.array([[k, k + 4.0] for k in range(0, 17, 2)])
    >>> seen = WindowMeans(windows).apply(np.array([0.0, 0, 0, 0, 1, 0, 0, 0, 0, 0]))
    >>> times = [0.0, *(k + 3.0 for k in range(0, 15, 2))]
    >>> coarse, fine = (window_peaks(seen, times, 20.0, 1, windows=form)[0].span for form in (None, windows))
    >>> coarse, round(fine.start, 1), round(fine.end, 1)  # the event is from 8 to 10 s
    (Span(start=7.0, end=11.0), 7.9, 10.1)
    """
    spans = peaks(relevance, times, duration, limit, step=step, least=least)
    if windows is None or not spans or not overlapping(windows):
        return spans
    return sharpened(spans, deconvolve(relevance, windows), window_seconds(windows))


def sharpened(spans: Sequence[ScoredSpan], fine: FineCurve, length: float) -> tuple[ScoredSpan, ...]:
    """Return spans with the bounds that the highest part of a finer curve inside them has, at half its height.

    The height counts from the lowest value within a window's length. An event that fills a share of a cell raises its
    value by that share, so bounds lie within cells. A bound moves outward by at most half a cell, and never beyond the
    middle between a span and the next one.

    Args:
        spans: found on the relevance of windows; they do not overlap.
        fine: see `deconvolve`.
        length: seconds of a window.

    >>> fine = FineCurve(np.arange(7.0), np.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0]), np.ones(6, dtype=bool))
    >>> sharpened([ScoredSpan(Span(1.0, 5.0), 0.5)], fine, length=4.0)[0].span
    Span(start=2.0, end=4.0)
    """
    ordered = sorted(spans, key=lambda scored: scored.span)
    middles = [(a.span.end + b.span.start) / 2 for a, b in pairwise(ordered)]
    limits = dict(zip(ordered, pairwise([-np.inf, *middles, np.inf]), strict=True))
    return tuple(ScoredSpan(_bounds(s.span, fine, length, limits[s]), s.score, s.posterior) for s in spans)


def _bounds(span: Span, fine: FineCurve, length: float, limits: tuple[float, float]) -> Span:
    """Return the bounds of one span on the finer curve; those it has if no cell is inside."""
    starts, ends = fine.edges[:-1], fine.edges[1:]
    near = fine.covered & (ends > span.start - length) & (starts < span.end + length)
    slack = float(np.median(ends - starts)) / 2 + 1e-6
    low, high = max(span.start - slack, limits[0]), min(span.end + slack, limits[1])
    allowed = fine.covered & (starts >= low) & (ends <= high)
    inside = np.flatnonzero(allowed)
    if not len(inside):
        return span
    top = int(inside[fine.values[inside].argmax()])
    floor = float(fine.values[near].min())
    height = float(fine.values[top]) - floor
    if height <= 0:
        return span
    shares = np.where(fine.covered, np.clip((fine.values - floor) / height, 0.0, 1.0), 0.0)
    outside = np.flatnonzero(~(allowed & (shares >= 0.5)))
    right = int(np.searchsorted(outside, top))
    first = int(outside[right - 1]) + 1 if right > 0 else 0
    last = int(outside[right]) - 1 if right < len(outside) else len(starts) - 1
    widths = (ends - starts) * shares  # what an event that begins or ends within a cell fills of it
    start = ends[first] - widths[first] - (widths[first - 1] if first > 0 else 0.0)
    end = starts[last] + widths[last] + (widths[last + 1] if last + 1 < len(starts) else 0.0)
    return Span(max(float(start), low, 0.0), min(float(end), high))
