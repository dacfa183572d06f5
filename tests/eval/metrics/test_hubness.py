"""Dual softmax and QB-Norm against forms written out, and what they must not change."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mova.eval.metrics.hubness import dual_softmax, qb_norm
from mova.eval.metrics.ranking import retrieval_metrics


def test_dual_softmax_equals_explicit_arithmetic() -> None:
    scores = np.random.default_rng(0).normal(size=(4, 3))
    corrected = dual_softmax(scores, scale=2.0)
    for i in range(4):
        for j in range(3):
            prior = math.exp(2 * scores[i, j]) / sum(math.exp(2 * scores[q, j]) for q in range(4))
            assert corrected[i, j] == pytest.approx(scores[i, j] * prior)


def test_dual_softmax_depends_on_the_other_queries() -> None:
    scores = np.abs(np.random.default_rng(0).normal(size=(30, 30)))
    assert not np.allclose(dual_softmax(scores)[:5], dual_softmax(scores[:5]))


def test_qb_norm_equals_explicit_arithmetic_if_a_hub_ranks_first() -> None:
    rng = np.random.default_rng(1)
    scores, bank = rng.normal(size=(6, 5)), rng.normal(size=(3, 5))
    corrected = qb_norm(scores, bank, scale=2.0)
    active = set(bank.argmax(axis=1).tolist())
    assert 0 < len(active) < 5
    for i in range(6):
        if int(scores[i].argmax()) not in active:
            assert corrected[i].tolist() == scores[i].tolist()
            continue
        for j in range(5):
            ratio = math.exp(2 * scores[i, j]) / sum(math.exp(2 * bank[m, j]) for m in range(3))
            assert corrected[i, j] == pytest.approx(math.log(ratio))


def test_qb_norm_lowers_the_score_of_a_hub() -> None:
    scores = np.eye(20)
    scores[:, 0] += 1.5  # video 0 answers everything
    bank = np.zeros((50, 20))
    bank[:, 0] = 1.5
    assert retrieval_metrics(scores, ks=(1,))["R@1"] == pytest.approx(5.0)
    assert retrieval_metrics(qb_norm(scores, bank), ks=(1,))["R@1"] == pytest.approx(100.0)


def test_large_scores_do_not_overflow() -> None:
    scores = 1e4 * np.eye(3)
    assert np.isfinite(dual_softmax(scores)).all()
    assert np.isfinite(qb_norm(scores, scores)).all()


def test_scores_that_cannot_be_normalized_are_refused() -> None:
    square, nan = np.eye(3), np.full((3, 3), np.nan)
    for call, message in (
        (lambda: dual_softmax(nan), "not finite"),
        (lambda: dual_softmax(np.zeros((0, 3))), "non-empty matrix"),
        (lambda: dual_softmax(square, scale=0), "scale must be positive"),
        (lambda: qb_norm(square, np.eye(4)), "same candidates"),
        (lambda: qb_norm(square, nan), "bank's scores of query 0"),
        (lambda: qb_norm(square, square, nearest=4), "nearest"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
