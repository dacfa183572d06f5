"""Agreement of scores with ratings by people: rank correlations with intervals, and pairwise accuracy with ties.

Shape legend: V videos, `...` draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from mova.eval.metrics.bootstrap import DRAWS, LEVEL, Interval

Array = npt.NDArray[np.float64]
Correlation = Callable[[Array, Array], Array]
"""Two arrays (..., V) -> coefficients in [-1, 1], (...); NaN where one of them is constant."""
FEW = 256
"""Up to this many videos, all pairs of a draw are compared at once."""
PAIRS_AT_ONCE = 1 << 22


class PairwiseAccuracy(NamedTuple):
    """Share of pairs of videos that scores and ratings order alike, ties included, and the threshold of a tie.

    >>> PairwiseAccuracy(0.75, threshold=0.1, pairs=6).pairs
    6
    """

    value: float
    threshold: float
    pairs: int


def spearman(x: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """Return Spearman's rho of arrays (..., V): (...); NaN where one of them is constant.

    >>> float(spearman([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]))
    -1.0
    """
    return pearson(stats.rankdata(x, axis=-1), stats.rankdata(y, axis=-1))


def kendall(x: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """Return Kendall's tau-b of arrays (..., V): (...); NaN where one of them is constant.

    >>> float(kendall([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]))
    0.333...
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    rows, others = (array.reshape(-1, array.shape[-1]) for array in (first, second))
    size = rows.shape[1]
    if size > FEW:
        taus = [stats.kendalltau(a, b).statistic for a, b in zip(rows, others, strict=True)]
    else:
        i, j = np.triu_indices(size, 1)
        step = max(1, PAIRS_AT_ONCE // max(len(i), 1))
        taus = []
        for start in range(0, len(rows), step):
            parts = (array[start : start + step] for array in (rows, others))
            a, b = (np.sign(part[:, i] - part[:, j]).astype(np.int8) for part in parts)
            both = np.sqrt((a != 0).sum(axis=1, dtype=np.float64) * (b != 0).sum(axis=1, dtype=np.float64))
            with np.errstate(invalid="ignore"):
                taus += ((a * b).sum(axis=1, dtype=np.float64) / both).tolist()
    return np.array(taus).reshape(first.shape[:-1])


def pearson(x: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """Return Pearson's r of arrays (..., V): (...); NaN where one of them is constant.

    >>> float(pearson([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]))
    1.0
    """
    arrays = (np.asarray(array, dtype=np.float64) for array in (x, y))
    a, b = (array - array.mean(axis=-1, keepdims=True) for array in arrays)
    with np.errstate(invalid="ignore"):
        return np.clip((a * b).sum(axis=-1) / np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1)), -1.0, 1.0)


def pairwise_accuracy(
    scores: npt.ArrayLike, ratings: npt.ArrayLike, items: Sequence[Any] | None = None
) -> PairwiseAccuracy:
    """Return pairwise accuracy with the best threshold of a tie (Deutsch et al. 2023, "Ties Matter", Eq. 6, section 6).

    A pair counts if scores and ratings have the same order, or if both tie. Ratings tie if they are equal, scores if
    they differ by at most a threshold, one for all pairs: the one with the highest accuracy. Memory grows with the
    number of pairs.

    Args:
        scores, ratings: (V,).
        items: the prompt of each video: only videos of one prompt are compared, and the accuracies of prompts are
            averaged. Default: all pairs.

    Raises:
        ValueError: the lengths differ, or there is no pair.

    >>> pairwise_accuracy([0.9, 0.5, 0.45], [3.0, 1.0, 1.0]).value
    1.0
    >>> pairwise_accuracy([0.9, 0.1, 0.2, 0.3], [2.0, 1.0, 2.0, 1.0], items=["a", "a", "b", "b"]).value
    0.5
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(ratings, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or (items is not None and len(items) != len(x)):
        raise ValueError(f"scores, ratings and items must have the same length, not {x.shape} and {y.shape}")
    names: dict[Any, list[int]] = {}
    for place, item in enumerate([None] * len(x) if items is None else items):
        names.setdefault(item, []).append(place)
    groups = [np.array(places) for places in names.values() if len(places) > 1]
    if not groups:
        raise ValueError("there is no pair of videos to compare")
    distances, changes, base, pairs = [], [], 0.0, 0
    for places in groups:
        first, second = (places[index] for index in np.triu_indices(len(places), 1))
        dx, dy = x[first] - x[second], y[first] - y[second]
        weight = 1 / (len(dx) * len(groups))
        agree = (np.sign(dx) == np.sign(dy)) & (dy != 0)
        base += weight * float(agree.sum())
        distances.append(np.abs(dx))
        changes.append(weight * ((dy == 0).astype(np.float64) - agree))  # of a pair whose scores become a tie
        pairs += len(dx)
    distance, change = np.concatenate(distances), np.concatenate(changes)
    order = np.argsort(distance, kind="stable")
    distance, values = distance[order], base + np.cumsum(change[order])
    last = np.flatnonzero(np.append(distance[1:] > distance[:-1], True))  # a threshold ties all pairs of its distance
    thresholds, accuracies = distance[last], values[last]
    if thresholds[0] > 0:
        thresholds, accuracies = np.append(0.0, thresholds), np.append(base, accuracies)
    best = int(accuracies.argmax())
    return PairwiseAccuracy(float(accuracies[best]), float(thresholds[best]), pairs)


def correlation_interval(
    statistic: Correlation, x: npt.ArrayLike, y: npt.ArrayLike, seed: int = 0, draws: int = DRAWS
) -> Interval:
    """Return a correlation of arrays (V,), its bootstrap interval over videos, and the p value of a permutation test.

    `p` is the two-sided share of random assignments of ratings to videos that correlate as strongly. Draws in which one
    of the arrays is constant are drawn again.

    Raises:
        ValueError: one of the arrays is constant.

    >>> correlation_interval(spearman, np.arange(9.0), np.arange(9.0) ** 2).value
    1.0
    """
    scores, ratings = (np.asarray(array, dtype=np.float64) for array in (x, y))
    if np.ptp(scores) == 0 or np.ptp(ratings) == 0:
        raise ValueError("all scores or all ratings are equal, so they have no order to agree on")
    rng = np.random.default_rng(seed)
    value, drawn = float(statistic(scores, ratings)), np.zeros(0)
    while len(drawn) < draws:
        chosen = rng.integers(0, len(scores), (draws - len(drawn), len(scores)))
        found = statistic(scores[chosen], ratings[chosen])
        drawn = np.append(drawn, found[~np.isnan(found)])
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    shuffled = rng.permuted(np.tile(ratings, (draws, 1)), axis=1)
    others = statistic(np.broadcast_to(scores, shuffled.shape), shuffled)
    p = (1 + int((np.abs(others) >= abs(value) - 1e-12).sum())) / (draws + 1)
    return Interval(value, float(low), float(high), LEVEL, p)
