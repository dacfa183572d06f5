"""From a relevance curve to stretches of time: thresholding, peaks, and the noise floor of a model.

A sampled frame i stands for the cell `[times[i], times[i + 1])`; the last one lasts until `duration`. All
spans are unions of whole cells, so their bounds are times at which frames were really seen.

Shape legend: T frames, B background sentences.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import find_peaks, peak_prominences

from mova.types import ScoredSpan, Span

LONE_CELL_SECONDS = 1.0
"""Length of the only cell of a video that has one frame and no duration (a still picture)."""

_Curve = npt.ArrayLike
_F64 = npt.NDArray[np.float64]
_I64 = npt.NDArray[np.int64]


def cell_edges(times: _Curve, duration: float) -> _F64:
    """Bounds of the cells that sampled frames stand for.

    Where the container understates its duration (not beyond the last frame), the last cell is as long as the
    median one, so that no frame is lost.

    Args:
        times: (T,) seconds, non-decreasing.
        duration: seconds.

    Returns:
        (T + 1,) seconds, non-decreasing; the last lies after the last frame.
    """
    starts = np.asarray(times, dtype=np.float64)
    if starts.ndim != 1 or len(starts) == 0:
        raise ValueError(f"times must be (T,) with at least one frame, not {starts.shape}")
    if not np.all(np.isfinite(starts)) or np.any(np.diff(starts) < 0):
        raise ValueError("times must be finite and non-decreasing seconds")
    end = float(duration)
    if not end > starts[-1]:
        end = float(starts[-1]) + (_median_cell(starts) or LONE_CELL_SECONDS)
    return np.append(starts, end)


def locate(
    relevance: _Curve,
    times: _Curve,
    duration: float,
    threshold: float,
    *,
    merge_gap: float | None = None,
    min_seconds: float = 0.0,
) -> tuple[ScoredSpan, ...]:
    """Stretches where a curve stands at or above a threshold, in order of time.

    Args:
        relevance: (T,) scores, finite.
        times: (T,) seconds of the sampled frames.
        duration: seconds of the video.
        threshold: score from which on a frame belongs to a stretch.
        merge_gap: stretches at most this many seconds apart become one; left out, one median cell (a single
            missed frame does not split an event).
        min_seconds: shorter stretches are left out (after merging).

    Returns:
        Spans whose score is the highest relevance inside, so that it compares with the score of a search.
    """
    curve, edges = _checked(relevance, times, duration)
    if np.isnan(threshold):
        raise ValueError("the threshold is NaN")
    gap = (_median_cell(edges) if merge_gap is None else merge_gap) + 1e-9
    first, last = _runs(curve >= threshold)
    if len(first) == 0:
        return ()
    apart = edges[first[1:]] - edges[last[:-1] + 1] > gap
    first = first[np.append(True, apart)]
    last = last[np.append(apart, True)]
    spans = (_span(curve, edges, a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True))
    return tuple(s for s in spans if s is not None and s.span.duration >= min_seconds - 1e-9)


def noise_floor(background: _Curve, false_alarm: float = 0.05) -> float:
    """The threshold that sentences which say nothing of a video pass on at most a given share of frames.

    Args:
        background: (B, T) relevance of the background sentences, finite.
        false_alarm: share of background values allowed at or above the threshold, in [0, 1).

    Returns:
        The lowest such threshold (in the values' own precision): `mean(background >= floor) <= false_alarm`.
    """
    values = np.asarray(background)
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    if values.size == 0 or not np.all(np.isfinite(values)):
        raise ValueError("background must hold at least one value, all finite")
    if not 0 <= false_alarm < 1:
        raise ValueError(f"false_alarm must be a share in [0, 1), not {false_alarm}")
    allowed = int(false_alarm * values.size + 1e-9)
    rank = values.size - 1 - allowed
    highest_refused = np.partition(values.ravel(), rank)[rank]
    return float(np.nextafter(highest_refused, np.array(np.inf, dtype=values.dtype)))


def peaks(relevance: _Curve, times: _Curve, duration: float, limit: int) -> tuple[ScoredSpan, ...]:
    """The best moments of a curve without any threshold: its peaks, widened on both sides to half prominence.

    Dips of a single frame are filled first (a grey closing over two frames, which moves no edge and lowers no
    peak, unlike a moving average). The curve is taken to stand at its minimum outside the video, so that a
    moment may touch either end. A peak that lies inside a higher peak's span is that moment's own ripple and
    left out.

    Args:
        relevance: (T,) scores, finite.
        times: (T,) seconds of the sampled frames.
        duration: seconds of the video.
        limit: at most this many spans.

    Returns:
        Spans that do not overlap, best first (then earliest first). A span's score is the highest relevance
        inside; the first one's is the highest of the whole curve. A constant curve is one span over the whole
        video.
    """
    curve, edges = _checked(relevance, times, duration)
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    closed = _close(curve)
    low = closed.min()
    if low == closed.max():
        whole = _span(curve, edges, 0, len(curve) - 1)
        assert whole is not None
        return (whole,)
    padded = np.concatenate([[low], closed, [low]])
    tops, _ = find_peaks(padded)
    prominence = peak_prominences(padded, tops)[0]
    tops -= 1
    taken = np.zeros(len(curve), dtype=bool)
    found: list[ScoredSpan] = []
    for i in np.lexsort((tops, -closed[tops])).tolist():
        if taken[tops[i]]:
            continue
        free = np.where(taken, -np.inf, closed)
        first, last = _around(free, int(tops[i]), closed[tops[i]] - prominence[i] / 2)
        taken[first : last + 1] = True
        span = _span(curve, edges, first, last)
        if span is not None:
            found.append(span)
        if len(found) == limit:
            break
    return tuple(found)


def _checked(relevance: _Curve, times: _Curve, duration: float) -> tuple[_F64, _F64]:
    """The curve as float64 (T,) and its cells' edges (T + 1,)."""
    curve = np.asarray(relevance, dtype=np.float64)
    edges = cell_edges(times, duration)
    if curve.shape != (len(edges) - 1,):
        raise ValueError(f"relevance {curve.shape} and times ({len(edges) - 1},) differ in length")
    if not np.all(np.isfinite(curve)):
        raise ValueError("relevance holds NaN or infinite values")
    return curve, edges


def _median_cell(starts: _F64) -> float:
    """Median step between frames in seconds; 0 where there is a single frame."""
    steps = np.diff(starts)
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else 0.0


def _runs(on: npt.NDArray[np.bool_]) -> tuple[_I64, _I64]:
    """First and last index of each run of true values."""
    change = np.diff(np.concatenate([[0], on.astype(np.int8), [0]]))
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1) - 1


def _close(curve: _F64) -> _F64:
    """Grey closing over two frames: every inner dip of one frame is filled to its lower neighbour."""
    pairs = np.maximum(curve[:-1], curve[1:])
    return np.minimum(np.append(curve[:1], pairs), np.append(pairs, curve[-1:]))


def _around(curve: _F64, top: int, level: float) -> tuple[int, int]:
    """First and last index of the stretch around `top` that stays at or above `level`."""
    below = np.flatnonzero(curve < level)
    right = int(np.searchsorted(below, top))
    first = int(below[right - 1]) + 1 if right > 0 else 0
    last = int(below[right]) - 1 if right < len(below) else len(curve) - 1
    return first, last


def _span(curve: _F64, edges: _F64, first: int, last: int) -> ScoredSpan | None:
    """Cells `first` to `last` as a span; None where they last no time (frames with equal times)."""
    start, end = float(edges[first]), float(edges[last + 1])
    if not end > start:
        return None
    return ScoredSpan(Span(start, end), float(curve[first : last + 1].max()))
