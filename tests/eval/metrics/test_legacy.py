"""Legacy arithmetic: where it agrees, and what it does to ties and NaN."""

from __future__ import annotations

import numpy as np
import pytest

from mova.eval.metrics.legacy import argsort_precision, clip4clip
from mova.eval.metrics.ranking import KS, retrieval_metrics


def test_without_ties_the_old_arithmetic_agrees() -> None:
    scores = np.random.default_rng(0).normal(size=(60, 60))
    old = clip4clip(scores)
    new = retrieval_metrics(scores, ks=KS)
    assert old.metrics == pytest.approx({name: new[name] for name in old.metrics})
    assert old.differences == ()


def test_one_tie_counts_a_query_twice() -> None:
    scores = np.eye(4)
    scores[0, 1] = 1.0
    old = clip4clip(scores)
    assert (old.entries, old.several, old.lost) == (5, 1, 0)
    assert old.metrics["R@1"] == pytest.approx(80.0)
    assert "of 5 entries, not of 4 queries" in old.differences[-1]
    assert retrieval_metrics(scores)["R@1"] == pytest.approx(87.5)


def test_one_nan_makes_a_perfect_score() -> None:
    scores = -np.eye(4)
    scores[1:, 1:] = np.nan
    scores[0, 0] = 1.0
    old = clip4clip(scores)
    assert (old.entries, old.lost) == (1, 3)
    assert old.metrics["R@1"] == 100.0
    with pytest.raises(ValueError, match="NaN"):
        retrieval_metrics(scores)


def test_a_collapsed_model_looks_ordinary_only_by_its_entries() -> None:
    old = clip4clip(np.zeros((10, 10)))
    assert old.entries == 100
    assert old.metrics["R@1"] == pytest.approx(10.0)


def test_argsort_without_ties_is_average_precision() -> None:
    scores = np.array([[4.0, 3.0, 2.0, 1.0]])
    precision = argsort_precision(scores, np.array([[False, True, False, True]]), ks=(1, 2))
    assert precision == pytest.approx({"mAP": 50.0, "R@1": 0.0, "R@2": 100.0})


def test_undefined_legacy_metrics_raise() -> None:
    for call, message in (
        (lambda: clip4clip(np.zeros((2, 3))), "square"),
        (lambda: clip4clip(np.full((2, 2), np.nan)), "finds no rank"),
        (lambda: argsort_precision(np.zeros((1, 2)), np.zeros((1, 2), dtype=bool)), "correct candidate"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
