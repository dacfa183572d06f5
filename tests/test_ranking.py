"""Ranks against brute force over all orders of ties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mova.eval.ranking import rank_bounds, retrieval_metrics


def ranks_over_orders(row: list[int], target: int) -> list[int]:
    """Rank of the target in every stable order that sorting by score allows."""
    found = []
    for order in itertools.permutations(range(len(row))):
        if all(row[a] >= row[b] for a, b in itertools.pairwise(order)):
            found.append(order.index(target) + 1)
    return found


@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=4), st.integers(0, 3))
def test_expected_recall_equals_enumeration_of_ties(rows: list[list[int]], target: int) -> None:
    targets = np.full(len(rows), target)
    metrics = retrieval_metrics(np.array(rows, dtype=float), targets, ks=(1, 2))
    for k in (1, 2):
        expected = np.mean([np.mean([r <= k for r in ranks_over_orders(row, target)]) for row in rows])
        assert metrics[f"R@{k}"] == pytest.approx(100 * expected)
    best, worst = rank_bounds(np.array(rows, dtype=float), targets)
    assert [min(ranks_over_orders(r, target)) for r in rows] == best.tolist()
    assert [max(ranks_over_orders(r, target)) for r in rows] == worst.tolist()


def test_a_collapsed_model_scores_k_over_n() -> None:
    metrics = retrieval_metrics(np.zeros((8, 8)), ks=(1, 5))
    assert metrics["R@1"] == pytest.approx(100 / 8)
    assert metrics["R@5"] == pytest.approx(500 / 8)
    assert metrics["ties"] == 8


def test_nan_is_refused_with_the_query() -> None:
    scores = np.eye(3)
    scores[1, 2] = np.nan
    with pytest.raises(ValueError, match="query 1"):
        retrieval_metrics(scores)


def test_order_of_candidates_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20, 30))
    targets = rng.integers(0, 30, 20)
    order = rng.permutation(30)
    assert retrieval_metrics(scores, targets) == retrieval_metrics(scores[:, order], np.argsort(order)[targets])


def test_an_empty_gallery_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected"):
        retrieval_metrics(np.zeros((2, 0)), np.zeros(2, dtype=int))
