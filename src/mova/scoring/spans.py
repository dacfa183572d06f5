"""Turn a relevance curve into spans of time: by a threshold, or by its peaks. Estimate a threshold from background.

A sampled frame i represents the cell `[times[i], times[i + 1])`; the last cell ends at `duration`. All spans are unions
of whole cells, so their bounds are times of sampled frames.

If the sampling step is known, a cell is at most `LONGEST_CELL` steps long: where more is missing, the video has no
pictures there. Such a cell ends one step after its frame, and no span goes on beyond it.

Shape legend: T frames, B background sentences.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mova.types import ScoredSpan, Span

LONE_CELL_SECONDS = 1.0
"""Length of the only cell of a video with one frame and no duration (a still image)."""

LONGEST_CELL = 1.5
"""Sampling steps between two frames beyond which frames are missing between them."""

SHORT_CELL = 0.8
"""Sampling steps below which the median cell is not that of frames sampled at a rate."""

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


def cell_ends(times: _Curve, duration: float, step: float | None = None) -> _F64:
    """Return the end of each cell, (T,) seconds; see `cell_edges`.

    Args:
        times: (T,) seconds, non-decreasing.
        duration: seconds.
        step: seconds between sampled frames, where it is known: a cell before missing frames ends after one step.

    Example:
        >>> cell_ends([0.0, 0.5, 3.0], duration=3.5, step=0.5).tolist()
        [0.5, 1.0, 3.5]
    """
    return _ends(cell_edges(times, duration), step)


def _ends(edges: _F64, step: float | None) -> _F64:
    if step is None:
        return edges[1:]
    return np.where(np.diff(edges) > LONGEST_CELL * step, edges[:-1] + step, edges[1:])


def usual_cell(edges: _F64, step: float | None) -> float:
    """Return the seconds that most frames stand for: the step, unless overlapping windows make most cells shorter.

    Args:
        edges: (T + 1,), see `cell_edges`.
        step: see `cell_ends`; None: the median cell.

    Example:
        >>> usual_cell(np.array([0.0, 6.0, 10.0, 14.0, 20.0]), step=8.0)
        5.0
    """
    median = float(np.median(np.diff(edges)))
    if step and not 0 < median < SHORT_CELL * step:
        return step
    return median or LONE_CELL_SECONDS


def unseen(times: _Curve, duration: float, step: float | None) -> tuple[Span, ...]:
    """Return the stretches of a video for which frames are missing, in order; none if the step is not known.

    Example:
        >>> unseen([0.0, 0.5, 3.0], duration=3.5, step=0.5)
        (Span(start=1.0, end=3.0),)
    """
    if step is None:
        return ()
    edges = cell_edges(times, duration)
    ends = _ends(edges, step)
    stretches = [(0.0, edges[0])] if edges[0] > (LONGEST_CELL - 1) * step else []
    stretches += [(end, after) for end, after in zip(ends, edges[1:], strict=True) if end < after]
    return tuple(Span(float(start), float(end)) for start, end in stretches)


def drawn_cells(times: _Curve, duration: float, step: float | None) -> tuple[_F64, _I64]:
    """Return the cells of a video from its first to its last, including those for which frames are missing.

    Returns:
        The bounds (C + 1,) of all cells in seconds, and the index (C,) of the frame of each; -1 where there is none.

    Example:
        >>> bounds, frames = drawn_cells([0.0, 0.5, 3.0], duration=3.5, step=0.5)
        >>> bounds.tolist(), frames.tolist()
        ([0.0, 0.5, 1.0, 3.0, 3.5], [0, 1, -1, 2])
    """
    edges = cell_edges(times, duration)
    gaps = unseen(times, duration, step)
    starts = np.concatenate([edges[:-1], [gap.start for gap in gaps]])
    frames = np.concatenate([np.arange(len(edges) - 1), np.full(len(gaps), -1)])
    order = np.argsort(starts, kind="stable")
    return np.append(starts[order], edges[-1]), frames[order]


def locate(
    relevance: _Curve,
    times: _Curve,
    duration: float,
    threshold: float,
    *,
    merge_gap: float | None = None,
    min_seconds: float = 0.0,
    step: float | None = None,
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
        step: see `cell_ends`. No span bridges missing frames.

    Returns:
        Spans whose score is the highest relevance inside, as in search.

    Raises:
        ValueError: relevance and times do not agree or are not finite, or the threshold is NaN.

    Example:
        >>> spans = locate([0.1, 0.8, 0.9, 0.2], times=[0, 1, 2, 3], duration=4, threshold=0.5)
        >>> [(scored.span.start, scored.span.end, scored.score) for scored in spans]
        [(1.0, 3.0, 0.9)]
    """
    curve, starts, ends = _checked(relevance, times, duration, step)
    if np.isnan(threshold):
        raise ValueError("the threshold is NaN")
    gap = (_median_cell(np.append(starts, ends[-1])) if merge_gap is None else merge_gap) + 1e-9
    breaks = cell_breaks(starts, ends)
    first, last = runs(curve >= threshold, breaks)
    if len(first) == 0:
        return ()
    part = np.searchsorted(breaks, first, side="right")
    apart = (starts[first[1:]] - ends[last[:-1]] > gap) | (part[1:] != part[:-1])
    first = first[np.append(True, apart)]
    last = last[np.append(apart, True)]
    spans = (_span(curve, starts, ends, a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True))
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


def peaks(
    relevance: _Curve, times: _Curve, duration: float, limit: int, *, step: float | None = None, least: float = -np.inf
) -> tuple[ScoredSpan, ...]:
    """Return the best spans of a curve without a threshold: its peaks, widened on both sides to half prominence.

    Dips of a single frame are filled first (by a grey closing over two frames, which moves no edge and lowers no peak,
    unlike a moving average). Outside the video the curve is assumed to be at its minimum, so that a span may touch
    either end. A peak inside the span of a higher peak is a ripple of that span and is left out.

    Args:
        relevance: (T,) scores, finite.
        times: (T,) seconds of the sampled frames.
        duration: seconds of the video.
        limit: return at most this many spans.
        step: see `cell_ends`. No span bridges missing frames: there, too, the curve is assumed to be at its minimum.
        least: leave out spans with a lower score; finding none takes no time.

    Returns:
        Spans that do not overlap, best first (then earliest first). The score of a span is the highest relevance
        inside; that of the first span is the highest of the whole curve. A constant curve gives one span over the whole
        video (with missing frames: one per part).

    Raises:
        ValueError: relevance and times do not agree or are not finite, or the limit is below 1.

    Example:
        >>> spans = peaks([0.1, 0.8, 0.1, 0.1, 0.6, 0.5], times=np.arange(6.0), duration=6.0, limit=2)
        >>> [(scored.span.start, scored.span.end, scored.score) for scored in spans]
        [(1.0, 2.0, 0.8), (4.0, 6.0, 0.6)]
    """
    curve, starts, ends = _checked(relevance, times, duration, step)
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    breaks = cell_breaks(starts, ends)
    closed = _close(curve, breaks)
    low = closed.min()
    if low == closed.max():
        bounds = zip([0, *breaks.tolist()], [*(breaks - 1).tolist(), len(curve) - 1], strict=True)
        parts = (_span(curve, starts, ends, first, last) for first, last in bounds)
        return tuple(part for part in parts if part is not None and part.score >= least)[:limit]
    closed, index = _opened(closed, breaks, low)
    padded = np.concatenate([[low], closed, [low]])
    tops = _tops(padded) - 1
    covered = np.zeros(len(closed), dtype=bool)
    spans: list[ScoredSpan] = []
    for i in np.lexsort((tops, -closed[tops])).tolist():
        if closed[tops[i]] < least:
            break  # no span that is left has a higher score than its top
        if covered[tops[i]]:
            continue
        free = np.where(covered, -np.inf, closed)
        first, last = _around(free, int(tops[i]), closed[tops[i]] - _prominence(padded, int(tops[i]) + 1) / 2)
        covered[first : last + 1] = True
        span = _span(curve, starts, ends, int(index[first]), int(index[last]))
        if span is not None:
            spans.append(span)
        if len(spans) == limit:
            break
    return tuple(span for span in spans if span.score >= least)


def _checked(relevance: _Curve, times: _Curve, duration: float, step: float | None) -> tuple[_F64, _F64, _F64]:
    """Return the curve as float64 (T,), and the starts and the ends (T,) of its cells."""
    curve = np.asarray(relevance, dtype=np.float64)
    edges = cell_edges(times, duration)
    starts, ends = edges[:-1], _ends(edges, step)
    if curve.shape != starts.shape:
        raise ValueError(f"relevance {curve.shape} and times ({len(starts)},) differ in length")
    if not np.all(np.isfinite(curve)):
        raise ValueError("relevance contains NaN or infinite values")
    return curve, starts, ends


def cell_breaks(starts: _F64, ends: _F64) -> _I64:
    """Return the indices of frames before which frames are missing.

    Example:
        >>> cell_breaks(starts=np.array([0.0, 1.0, 5.0]), ends=np.array([1.0, 2.0, 6.0]))
        array([2])
    """
    return np.flatnonzero(ends[:-1] < starts[1:]) + 1


def _median_cell(starts: _F64) -> float:
    """Return the median step between frames in seconds; 0 for a single frame."""
    steps = np.diff(starts)
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else 0.0


def runs(on: npt.NDArray[np.bool_], breaks: _I64) -> tuple[_I64, _I64]:
    """Return the first and last index of each run of true values; a run ends before each of `breaks`.

    Example:
        >>> runs(np.array([True, True, False, True]), breaks=np.array([1]))
        (array([0, 1, 3]), array([0, 1, 3]))
    """
    padded = np.concatenate([[False], on, [False]])
    begins, finishes = padded[1:] & ~padded[:-1], padded[:-1] & ~padded[1:]
    crossed = breaks[on[breaks] & on[breaks - 1]]
    begins[crossed] = finishes[crossed] = True
    return np.flatnonzero(begins), np.flatnonzero(finishes) - 1


def _close(curve: _F64, breaks: _I64) -> _F64:
    """Apply a grey closing over two frames: fill every inner dip of one frame to its lower neighbor, up to breaks."""
    if len(breaks):
        return np.concatenate([_close(part, breaks[:0]) for part in np.split(curve, breaks)])
    pairs = np.maximum(curve[:-1], curve[1:])
    return np.minimum(np.append(curve[:1], pairs), np.append(pairs, curve[-1:]))


def _opened(curve: _F64, breaks: _I64, low: float) -> tuple[_F64, _I64]:
    """Return a curve with a lowest value at each break, and the index of the frame at each value, -1 at breaks."""
    index = np.arange(len(curve))
    return (np.insert(curve, breaks, low), np.insert(index, breaks, -1)) if len(breaks) else (curve, index)


def _tops(curve: _F64) -> _I64:
    """Return the indices of all local maxima inside a curve; of a flat one, its middle (the left of two)."""
    steps = np.flatnonzero(np.diff(curve))  # the last index of each stretch of equal values, but the last stretch
    first, last = np.append(0, steps + 1), np.append(steps, len(curve) - 1)
    heights = curve[first]
    inner = np.flatnonzero((heights[1:-1] > heights[:-2]) & (heights[1:-1] > heights[2:])) + 1
    return (first[inner] + last[inner]) // 2


def _prominence(curve: _F64, top: int) -> float:
    """Return the height of a maximum above the higher of the lowest values on its two sides, up to a higher value."""
    higher = np.flatnonzero(curve > curve[top])
    after = int(np.searchsorted(higher, top))
    start = int(higher[after - 1]) + 1 if after > 0 else 0
    stop = int(higher[after]) if after < len(higher) else len(curve)
    return float(curve[top] - max(curve[start : top + 1].min(), curve[top:stop].min()))


def _around(curve: _F64, top: int, level: float) -> tuple[int, int]:
    """Return the first and last index of the run around `top` that stays at or above `level`."""
    below = np.flatnonzero(curve < level)
    right = int(np.searchsorted(below, top))
    first = int(below[right - 1]) + 1 if right > 0 else 0
    last = int(below[right]) - 1 if right < len(below) else len(curve) - 1
    return first, last


def _span(curve: _F64, starts: _F64, ends: _F64, first: int, last: int) -> ScoredSpan | None:
    """Return cells `first` to `last` as a span, or None if they have no length (frames with equal times)."""
    start, end = float(starts[first]), float(ends[last])
    if not end > start:
        return None
    return ScoredSpan(Span(start, end), float(curve[first : last + 1].max()))
