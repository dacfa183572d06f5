"""Dynamic time warping of sentences and frames: baselines of an alignment, without probabilities.

Shape legend: K sentences, T frames.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DROP_QUANTILE = 0.3
"""The published drop cost of Drop-DTW is this quantile of all costs; it suits videos that are mostly described."""


def drop_dtw(costs: npt.ArrayLike, drop: float) -> npt.NDArray[np.bool_]:
    """Match sentences to frames in order, and drop frames: Drop-DTW (Dvornik et al. 2021, algorithm 1).

    This follows the published recurrence for one-sided drops: `D+[k, t] = C[k, t] + min(D[k-1, t-1], D[k, t-1])`,
    `D-[k, t] = d + D[k, t-1]`, `D = min(D+, D-)`, where a frame matches at most one sentence and every sentence at
    least one frame.

    Args:
        costs: (K, T), T >= K > 0, of matching a sentence and a frame; finite.
        drop: cost of a frame without a sentence; infinite: no frame is dropped.

    Returns:
        bool, (K, T), the matched pairs.

    Raises:
        ValueError: fewer frames than sentences, or a cost is not finite.

    Example:
        >>> drop_dtw([[0.1, 0.9, 0.9], [0.9, 0.9, 0.1]], drop=0.5).astype(int).tolist()
        [[1, 0, 0], [0, 0, 1]]
    """
    table = np.asarray(costs, dtype=np.float64)
    if table.ndim != 2 or not 0 < table.shape[0] <= table.shape[1] or not np.all(np.isfinite(table)):
        raise ValueError(f"costs must be finite (K, T) with T >= K > 0, not {table.shape}")
    sentences, frames = table.shape
    best = np.full(sentences + 1, np.inf)
    best[0] = 0.0
    origin = np.zeros((frames, sentences + 1), dtype=np.int8)  # 0 dropped, 1 same sentence, 2 next sentence
    for t in range(frames):
        enter, stay = best[:-1], best[1:]
        matched = np.append(np.inf, table[:, t] + np.minimum(enter, stay))
        origin[t] = np.where(matched < best + drop, np.append(0, np.where(enter < stay, 2, 1)), 0)
        best = np.minimum(matched, best + drop)
    mask, k = np.zeros(table.shape, dtype=bool), sentences
    for t in range(frames - 1, -1, -1):
        if origin[t, k]:
            mask[k - 1, t] = True
            k -= origin[t, k] == 2
    return mask


def dtw(costs: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Give every frame to one sentence, in order, each sentence at least one frame, at the least total cost.

    Arguments, result and errors: see `drop_dtw`.

    Example:
        >>> dtw([[0.1, 0.2, 0.9], [0.9, 0.9, 0.1]]).astype(int).tolist()
        [[1, 1, 0], [0, 0, 1]]
    """
    return drop_dtw(costs, np.inf)
