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
    return np.array([_least(row) for row in np.asarray(posterior, dtype=np.float64)])


def _least(row: npt.NDArray[np.float64]) -> float:
    """Return the bound of one sentence, from posteriors (T,)."""
    total, overlap = float(row.sum()), FIRST_OVERLAP
    if total <= 0:
        return MOST_POSTERIOR
    likely = np.flatnonzero(row > IGNORED)
    row = row[likely[0] : likely[-1] + 1] if len(likely) else row[:0]
    for _ in range(ROUNDS):
        sums = np.append(0.0, np.cumsum((1 + overlap) * row - overlap))
        last = int(np.argmax(sums - np.minimum.accumulate(sums)))
        first = int(np.argmin(sums[: last + 1]))
        inside = float(row[first:last].sum())
        overlap = inside / (last - first + total - inside) if last > first else overlap / 2
    return float(np.clip(overlap / (1 + overlap), LEAST_POSTERIOR, MOST_POSTERIOR))
