"""Outlier scores against brute force and scikit-learn, and what happens without neighbors."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import LocalOutlierFactor

from mova.scoring import outliers
from mova.scoring.outliers import SMOOTHING, outlier_scores


def frames(seed: int = 0, lengths: tuple[int, ...] = (30, 1, 12, 25)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(sum(lengths), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    videos = np.repeat(np.arange(len(lengths)), lengths)
    times = np.concatenate([np.sort(rng.uniform(0, length / 2, length)) for length in lengths])
    return vectors, videos, times


@pytest.mark.parametrize("block", [7, 1024])
@pytest.mark.parametrize("apart", [0.0, 3.0])
def test_distance_is_that_of_brute_force(apart: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outliers, "BLOCK_ROWS", block)
    vectors, videos, times = frames()
    scores = outlier_scores(vectors, videos, times, neighbors=5, apart=apart)
    for row in range(len(vectors)):
        others = [
            float(np.linalg.norm(vectors[row].astype(float) - vectors[other]))
            for other in range(len(vectors))
            if other != row and (videos[other] != videos[row] or abs(times[other] - times[row]) > apart)
        ]
        assert scores[row] == pytest.approx(np.mean(sorted(others)[:5]), abs=1e-5)


def test_factor_is_that_of_scikit_learn_on_the_smoothed_distances() -> None:
    vectors, _, _ = frames()
    single = np.arange(len(vectors))
    scores = outlier_scores(vectors, single, np.zeros(len(vectors)), method="lof", neighbors=6)
    squares = np.maximum(2 - 2 * vectors.astype(float) @ vectors.T.astype(float), 0)
    smoothed = np.sqrt(squares + SMOOTHING**2)
    np.fill_diagonal(smoothed, 0)
    expected = -LocalOutlierFactor(6, metric="precomputed").fit(smoothed).negative_outlier_factor_
    assert scores == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("method", ["distance", "lof"])
def test_a_planted_frame_is_the_least_typical_though_it_lasts(method: str) -> None:
    rng = np.random.default_rng(3)
    usual = np.eye(16, dtype=np.float32)[rng.integers(0, 3, 120)]
    usual[50:54] = np.eye(16, dtype=np.float32)[9]
    vectors = usual + 0.02 * rng.normal(size=usual.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = outlier_scores(vectors, np.zeros(120, int), np.arange(120.0), method=method)  # type: ignore[arg-type]
    assert sorted(np.argsort(scores)[-4:].tolist()) == [50, 51, 52, 53]


@pytest.mark.parametrize("method", ["distance", "lof"])
def test_frames_without_neighbors_have_no_score(method: str) -> None:
    one = np.ones((4, 1), np.float32)
    scores = outlier_scores(one, np.zeros(4, int), np.arange(4.0), method=method)  # type: ignore[arg-type]
    assert np.isnan(scores).all()
    ends = outlier_scores(np.ones((9, 1), np.float32), np.zeros(9, int), np.arange(9.0), method=method)  # type: ignore[arg-type]
    assert np.isfinite(ends).tolist() == [True] * 3 + [False] * 3 + [True] * 3
    assert len(outlier_scores(np.empty((0, 3), np.float32), np.empty(0, int), np.empty(0))) == 0


def test_equal_frames_have_distance_zero_and_factor_one() -> None:
    vectors = np.ones((12, 1), np.float32)
    apart = np.arange(12), np.zeros(12)
    assert outlier_scores(vectors, *apart).tolist() == [0.0] * 12
    assert outlier_scores(vectors, *apart, method="lof") == pytest.approx(np.ones(12))


def test_wrong_order_is_an_error() -> None:
    vectors = np.ones((3, 1), np.float32)
    with pytest.raises(ValueError, match="follow each other"):
        outlier_scores(vectors, np.array([0, 1, 0]), np.zeros(3))
    with pytest.raises(ValueError, match="order of time"):
        outlier_scores(vectors, np.zeros(3, int), np.array([0.0, 2.0, 1.0]))
    with pytest.raises(ValueError, match="differ in number"):
        outlier_scores(vectors, np.zeros(3, int), np.zeros(2))
