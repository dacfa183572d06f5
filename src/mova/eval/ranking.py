"""Retrieval metrics on plain arrays, with ties decided and NaN refused.

Ranks are found by counting: 1 + number of strictly better candidates, and ties stand in random order, so every
figure is the expected value over that order. A constant model scores k/N, as it should.

Shape legend: Q queries, N candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]


def rank_bounds(scores: Array, targets: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Best and worst possible rank (1 is best) of each query's target.

    Args:
        scores: (Q, N), higher is better.
        targets: (Q,), index of the right candidate.

    Raises:
        ValueError: shapes differ, no candidates, or a NaN (with the query's index).
    """
    scores = np.asarray(scores)
    targets = np.asarray(targets)
    if scores.ndim != 2 or targets.shape != (len(scores),) or scores.shape[1] == 0:
        raise ValueError(f"scores (Q, N) and targets (Q,) expected, not {scores.shape} and {targets.shape}")
    bad = np.flatnonzero(np.isnan(scores).any(axis=1))
    if len(bad):
        raise ValueError(f"scores of query {bad[0]} hold NaN ({len(bad)} such queries); nothing can be ranked by them")
    own = scores[np.arange(len(scores)), targets][:, None]
    better = (scores > own).sum(axis=1)
    tied = (scores == own).sum(axis=1)
    return better + 1, better + tied


def retrieval_metrics(
    scores: Array, targets: npt.NDArray[np.integer] | None = None, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """R@K (percent), median and mean rank, expected over random order of ties; `ties` counts queries that have some.

    Args:
        scores: (Q, N).
        targets: (Q,); the diagonal where none is given.
    """
    if targets is None:
        targets = np.arange(len(scores))
    best, worst = rank_bounds(scores, targets)
    width = worst - best + 1
    metrics = {f"R@{k}": 100.0 * float(np.clip((k - best + 1) / width, 0.0, 1.0).mean()) for k in ks}
    expected = (best + worst) / 2
    metrics["MdR"] = float(np.median(expected))
    metrics["MnR"] = float(expected.mean())
    metrics["ties"] = int((width > 1).sum())
    return metrics
