"""Average precision against brute force over orders of ties and scikit-learn; ROC-AUC and accuracy against both."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from mova.eval.metrics.classification import average_precision, choice_hits, mean_average_precision, roc_auc


def precisions(row: list[int], right: list[bool]) -> list[float]:
    """Average precision in every order that sorting by score allows."""
    values = []
    for order in itertools.permutations(range(len(row))):
        if all(row[a] >= row[b] for a, b in itertools.pairwise(order)):
            ranks = [rank for rank, i in enumerate(order, start=1) if right[i]]
            values.append(np.mean([hits / rank for hits, rank in enumerate(ranks, start=1)]))
    return values


@given(st.lists(st.integers(0, 2), min_size=6, max_size=6), st.lists(st.booleans(), min_size=6, max_size=6).filter(any))
def test_expected_best_and_worst_precision_equal_enumeration(row: list[int], right: list[bool]) -> None:
    precision, orders = average_precision(row, right), precisions(row, right)
    assert precision.expected == pytest.approx(np.mean(orders))
    assert precision.best == pytest.approx(max(orders))
    assert precision.worst == pytest.approx(min(orders))
    assert precision.grouped == pytest.approx(average_precision_score(right, row))


def test_without_ties_precision_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores, right = rng.permuted(np.tile(np.arange(50.0), (20, 1)), axis=1), rng.random((20, 50)) < 0.2
    right[:, 0] = True
    oracle = np.mean([average_precision_score(r, s) for r, s in zip(right, scores, strict=True)])
    mean_precision = mean_average_precision(scores, right)
    assert (mean_precision.expected, mean_precision.best, mean_precision.worst) == pytest.approx(
        (oracle, oracle, oracle)
    )


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_auc_is_that_of_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    scores, right = zip(*pairs, strict=True)
    if len(set(right)) == 2:
        assert roc_auc(scores, right) == pytest.approx(roc_auc_score(right, scores))


def test_ties_among_choices_count_their_chance_and_padding_none() -> None:
    inf = np.inf
    scores = np.array([[1.0, 1.0, 0.0, -inf], [2.0, 1.0, 0.0, 0.0], [0.0, 1.0, -inf, -inf], [3.0, 3.0, 3.0, 3.0]])
    assert choice_hits(scores, [0, 0, 0, 2]).tolist() == [0.5, 1.0, 0.0, 0.25]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: average_precision([1, np.nan], [1, 0]), "score 1 is NaN"),
        (lambda: average_precision([1, 2], [0, 0]), "without correct candidates"),
        (lambda: average_precision([1, 2], [0, 2]), "0/1 labels"),
        (lambda: mean_average_precision(np.zeros((2, 2)), np.array([[True, False], [False, False]])), "query 1"),
        (lambda: mean_average_precision(np.zeros((0, 2)), np.zeros((0, 2), dtype=bool)), r"must be \(Q, N\)"),
        (lambda: roc_auc([1, 2], [1, 1]), "correct and incorrect"),
        (lambda: choice_hits(np.array([[np.nan, 1]]), [0]), "question 0"),
        (lambda: choice_hits(np.array([[1.0, -np.inf]]), [1]), "padding"),
        (lambda: choice_hits(np.zeros((1, 2)), [2]), "answers must be in"),
    ],
)
def test_invalid_inputs_raise(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
