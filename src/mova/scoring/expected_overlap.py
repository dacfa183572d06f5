"""Spans of the largest expected overlap, from posteriors of frames.

Shape legend: K sentences, T frames.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LEAST_POSTERIOR, MOST_POSTERIOR = 0.1, 0.45
"""Bounds of the posterior from which a frame is worth being covered."""
ROUNDS = 5
FIRST_OVERLAP = 0.5
IGNORED = 0.01
"""Posterior below which frames at both ends of a video begin and end no span."""


def least_posteriors(posterior: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the posterior from which a frame of each sentence is worth being covered, (K,).

    The overlap of a span with the truth is intersection over union. In expectation, a span that holds the posteriors
    p_1 to p_n, of a sentence whose posteriors have the sum s, has about x = sum(p) / (n + s - sum(p)). The span of the
    largest x is that of the largest sum of (1 + x) p - x over its frames (Dinkelbach 1967), so that frames count from
    x / (1 + x): nearly one half for a sentence that is surely found, less for one that is not.

    Args:
        posterior: (K, T), from 0 to 1.

    Example:
        >>> least_posteriors(np.array([[0.0, 1.0, 1.0, 0.0], [0.2, 0.3, 0.3, 0.2]])).round(2)
        array([0.45, 0.2 ])
    """
    overlaps = [_best_span(row)[0] for row in np.asarray(posterior, dtype=np.float64)]
    found = np.array(overlaps, dtype=np.float64)
    return np.clip(found / (1 + found), LEAST_POSTERIOR, MOST_POSTERIOR)


def most_probable_place(posterior: npt.NDArray[np.floating]) -> tuple[int, int]:
    """Return the first frame and the one after the last of the span of the largest expected overlap.

    Args:
        posterior: (T,), of one sentence.

    Example:
        >>> most_probable_place(np.array([0.0, 0.1, 0.3, 0.2, 0.0]))
        (2, 4)
    """
    row = np.asarray(posterior, dtype=np.float64)
    _, first, end = _best_span(row)
    best = int(row.argmax())
    return (first, end) if end > first else (best, best + 1)


def _best_span(row: npt.NDArray[np.float64]) -> tuple[float, int, int]:
    """Return the expected overlap of the best span of one sentence, its first frame and the one after its last."""
    total, overlap, first, last = float(row.sum()), FIRST_OVERLAP, 0, 0
    if total <= 0:
        return 1.0, 0, 0
    likely = np.flatnonzero(row > IGNORED)
    start = int(likely[0]) if len(likely) else 0
    row = row[start : likely[-1] + 1] if len(likely) else row[:0]
    for _ in range(ROUNDS):
        sums = np.append(0.0, np.cumsum((1 + overlap) * row - overlap))
        last = int(np.argmax(sums - np.minimum.accumulate(sums)))
        first = int(np.argmin(sums[: last + 1]))
        inside = float(row[first:last].sum())
        overlap = inside / (last - first + total - inside) if last > first else overlap / 2
    return overlap, start + first, start + last
