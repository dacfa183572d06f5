"""Turn a relevance curve into spans of time: by a threshold, or by its peaks. Estimate a threshold from background.

A sampled frame i represents the cell `[times[i], times[i + 1])`; the last cell ends at `duration`. All spans are unions
of whole cells, so their bounds are times of sampled frames.

Shape legend: T frames, B background sentences.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import find_peaks, peak_prominences

from mova.types import ScoredSpan, Span

LONE_CELL_SECONDS = 1.0
"""Length of the only cell of a video with one frame and no duration (a still image)."""

_Curve = npt.ArrayLike
_F64 = npt.NDArray[np.float64]
_I64 = npt.NDArray[np.int64]


def cell_edges(times: _Curve, duration: float) -> _F64:
    """Return the bounds of the cells that sampled frames represent.

    If the container understates its duration (it ends before the last frame), the last cell is as long as the median
    one, so that no frame is lost.

    Args:
        times: (T,) seconds, non-decreasing.
        duration: seconds.

    Returns:
        (T + 1,) seconds, non-decreasing; the last bound is after the last frame.

    Raises:
        ValueError: no frames, or times are not finite and non-decreasing.

    Example:
        >>> cell_edges([0.0, 0.5, 1.0], duration=1.8).tolist()
        [0.0, 0.5, 1.0, 1.8]
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
    """Return the spans where a curve is at or above a threshold, in order of time.

    Args:
        relevance: (T,) scores, finite.
        times: (T,) seconds of the sampled frames.
        duration: seconds of the video.
        threshold: score from which a frame belongs to a span.
        merge_gap: spans at most this many seconds apart are merged (default: one median cell, so that a single missed
            frame does not split an event).
        min_seconds: shorter spans are left out, after merging.

    Returns:
        Spans whose score is the highest relevance inside, as in search.

    Raises:
        ValueError: relevance and times do not agree or are not finite, or the threshold is NaN.

    Example:
        >>> spans = locate([0.1, 0.8, 0.9, 0.2], times=[0, 1, 2, 3], duration=4, threshold=0.5)
        >>> [(scored.span.start, scored.span.end, scored.score) for scored in spans]
        [(1.0, 3.0, 0.9)]
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
    """Return the threshold that background sentences reach on at most a given share of frames.

    Args:
        background: (B, T) relevance of the background sentences, finite.
        false_alarm: share of background values allowed at or above the threshold, in [0, 1).

    Returns:
        The lowest threshold, in the precision of the values, with `mean(background >= threshold) <= false_alarm`.

    Raises:
        ValueError: no values, a value is not finite, or `false_alarm` is not in [0, 1).

    Example:
        >>> background = np.linspace(0.0, 0.99, 100)
        >>> floor = noise_floor(background, false_alarm=0.05)
        >>> int((background >= floor).sum())
        5
    """
    values = np.asarray(background)
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    if values.size == 0 or not np.all(np.isfinite(values)):
        raise ValueError("background must contain at least one value, all finite")
    if not 0 <= false_alarm < 1:
        raise ValueError(f"false_alarm must be a share in [0, 1), not {false_alarm}")
    allowed = int(false_alarm * values.size + 1e-9)
    rank = values.size - 1 - allowed
    highest_rejected = np.partition(values.ravel(), rank)[rank]
    return float(np.nextafter(highest_rejected, np.array(np.inf, dtype=values.dtype)))


def peaks(relevance: _Curve, times: _Curve, duration: float, limit: int) -> tuple[ScoredSpan, ...]:
    """Return the best spans of a curve without a threshold: its peaks, widened on both sides to half prominence.

    Dips of a single frame are filled first (by a grey closing over two frames, which moves no edge and lowers no peak,
    unlike a moving average). Outside the video the curve is assumed to be at its minimum, so that a span may touch
    either end. A peak inside the span of a higher peak is a ripple of that span and is left out.

    Args:
        relevance: (T,) scores, finite.
        times: (T,) seconds of the sampled frames.
        duration: seconds of the video.
        limit: return at most this many spans.

    Returns:
        Spans that do not overlap, best first (then earliest first). The score of a span is the highest relevance
        inside; that of the first span is the highest of the whole curve. A constant curve gives one span over the whole
        video.

    Raises:
        ValueError: relevance and times do not agree or are not finite, or the limit is below 1.

    Example:
        >>> spans = peaks([0.1, 0.8, 0.1, 0.1, 0.6, 0.5], times=np.arange(6.0), duration=6.0, limit=2)
        >>> [(scored.span.start, scored.span.end, scored.score) for scored in spans]
        [(1.0, 2.0, 0.8), (4.0, 6.0, 0.6)]
    """
    curve, edges = _checked(relevance, times, duration)
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    closed = _close(curve)
    low = closed.min()
    if low == closed.max():
        full_span = _span(curve, edges, 0, len(curve) - 1)
        assert full_span is not None
        return (full_span,)
    padded = np.concatenate([[low], closed, [low]])
    tops, _ = find_peaks(padded)
    prominence = peak_prominences(padded, tops)[0]
    tops -= 1
    covered = np.zeros(len(curve), dtype=bool)
    spans: list[ScoredSpan] = []
    for i in np.lexsort((tops, -closed[tops])).tolist():
        if covered[tops[i]]:
            continue
        free = np.where(covered, -np.inf, closed)
        first, last = _around(free, int(tops[i]), closed[tops[i]] - prominence[i] / 2)
        covered[first : last + 1] = True
        span = _span(curve, edges, first, last)
        if span is not None:
            spans.append(span)
        if len(spans) == limit:
            break
    return tuple(spans)


def _checked(relevance: _Curve, times: _Curve, duration: float) -> tuple[_F64, _F64]:
    """Return the curve as float64 (T,) and the edges of its cells (T + 1,)."""
    curve = np.asarray(relevance, dtype=np.float64)
    edges = cell_edges(times, duration)
    if curve.shape != (len(edges) - 1,):
        raise ValueError(f"relevance {curve.shape} and times ({len(edges) - 1},) differ in length")
    if not np.all(np.isfinite(curve)):
        raise ValueError("relevance contains NaN or infinite values")
    return curve, edges


def _median_cell(starts: _F64) -> float:
    """Return the median step between frames in seconds; 0 for a single frame."""
    steps = np.diff(starts)
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else 0.0


def _runs(on: npt.NDArray[np.bool_]) -> tuple[_I64, _I64]:
    """Return the first and last index of each run of true values."""
    change = np.diff(np.concatenate([[0], on.astype(np.int8), [0]]))
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1) - 1


def _close(curve: _F64) -> _F64:
    """Apply a grey closing over two frames: fill every inner dip of one frame to its lower neighbor."""
    pairs = np.maximum(curve[:-1], curve[1:])
    return np.minimum(np.append(curve[:1], pairs), np.append(pairs, curve[-1:]))


def _around(curve: _F64, top: int, level: float) -> tuple[int, int]:
    """Return the first and last index of the run around `top` that stays at or above `level`."""
    below = np.flatnonzero(curve < level)
    right = int(np.searchsorted(below, top))
    first = int(below[right - 1]) + 1 if right > 0 else 0
    last = int(below[right]) - 1 if right < len(below) else len(curve) - 1
    return first, last


def _span(curve: _F64, edges: _F64, first: int, last: int) -> ScoredSpan | None:
    """Return cells `first` to `last` as a span, or None if they have no length (frames with equal times)."""
    start, end = float(edges[first]), float(edges[last + 1])
    if not end > start:
        return None
    return ScoredSpan(Span(start, end), float(curve[first : last + 1].max()))
