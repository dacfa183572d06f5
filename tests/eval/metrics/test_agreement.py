"""Agreement with ratings: pairwise accuracy against an exhaustive search, and correlations of constant arrays."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from mova.eval.metrics.agreement import correlation_interval, kendall, pairwise_accuracy, pearson, spearman


def exhaustive(scores: np.ndarray, ratings: np.ndarray, items: list[int] | None) -> float:
    """The definition of Deutsch et al.: the best over all thresholds of (concordant + tied in both) / pairs."""
    groups = [np.flatnonzero(np.array(items) == item) for item in sorted(set(items))] if items else None
    groups = [np.arange(len(scores))] if groups is None else [group for group in groups if len(group) > 1]
    thresholds = {0.0, *(abs(scores[i] - scores[j]) for group in groups for i, j in combinations(group, 2))}
    best = 0.0
    for threshold in thresholds:
        shares = []
        for group in groups:
            right = []
            for i, j in combinations(group, 2):
                by_score, by_rating = scores[i] - scores[j], ratings[i] - ratings[j]
                tied = abs(by_score) <= threshold
                right.append(by_rating == 0 if tied else by_score * by_rating > 0)
            shares.append(np.mean(right))
        best = max(best, float(np.mean(shares)))
    return best


@pytest.mark.parametrize("seed", range(8))
def test_pairwise_accuracy_is_the_best_of_all_thresholds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ratings = rng.integers(1, 4, 14).astype(float)
    scores = np.round(ratings + rng.normal(size=14), 1 if seed % 2 else 6)  # odd seeds have tied scores
    items = rng.integers(0, 5, 14).tolist()
    assert pairwise_accuracy(scores, ratings).value == pytest.approx(exhaustive(scores, ratings, None))
    assert pairwise_accuracy(scores, ratings, items).value == pytest.approx(exhaustive(scores, ratings, items))


def test_edges() -> None:
    same = pairwise_accuracy([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    assert (same.value, same.threshold, same.pairs) == (1.0, 2.0, 3)
    assert pairwise_accuracy([0.0, 0.0], [1.0, 2.0]).value == 0.0
    with pytest.raises(ValueError, match="no pair"):
        pairwise_accuracy([1.0, 2.0], [1.0, 2.0], items=["a", "b"])
    with pytest.raises(ValueError, match="same length"):
        pairwise_accuracy([1.0, 2.0], [1.0])
    constant, rising = np.ones(4), np.arange(4.0)
    assert np.isnan([spearman(constant, rising), kendall(rising, constant), pearson(constant, rising)]).all()
    with pytest.raises(ValueError, match="equal"):
        correlation_interval(spearman, constant, rising)
