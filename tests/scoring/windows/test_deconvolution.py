"""Deconvolution against dense non-negative least squares, and spans against events that are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import nnls

from mova.scoring.spans import peaks
from mova.scoring.windows.deconvolution import (
    SMOOTHNESS,
    WindowMeans,
    deconvolve,
    overlapping,
    sharpened,
    window_peaks,
)
from mova.scoring.windows.rule import cell_starts
from mova.types import ScoredSpan, Span


def regular(length: float, stride: float, duration: float) -> np.ndarray:
    starts = np.arange(0.0, duration - length + 1e-9, stride)
    return np.stack([starts, starts + length], axis=1)


def share(windows: np.ndarray, start: float, end: float) -> np.ndarray:
    """Share of each window that an event fills."""
    shared = np.minimum(windows[:, 1], end) - np.maximum(windows[:, 0], start)
    return np.maximum(shared, 0.0) / (windows[:, 1] - windows[:, 0])


def dense(windows: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The matrix of the map, one cell after another."""
    return np.stack([share(windows, a, b) for a, b in pairwise(edges.tolist())], axis=1)


UNEVEN = np.array([[0.0, 4.0], [1.0, 5.5], [4.0, 8.0], [20.0, 24.0], [21.5, 25.5], [22.0, 26.0]])


@pytest.mark.parametrize("windows", [regular(8, 4, 60), regular(8, 2, 60), regular(6, 4, 50), UNEVEN], ids=str)
def test_the_map_is_the_matrix_of_shared_time(windows: np.ndarray) -> None:
    means, rng = WindowMeans(windows), np.random.default_rng(0)
    matrix = dense(windows, means.edges)
    cells, rows = rng.normal(size=matrix.shape[1]), rng.normal(size=len(windows))
    np.testing.assert_allclose(means.apply(cells), matrix @ cells, atol=1e-12)
    np.testing.assert_allclose(means.transposed(rows), matrix.T @ rows, atol=1e-12)
    assert np.array_equal(means.covered, matrix.sum(axis=0) > 0)


@pytest.mark.parametrize("windows", [regular(8, 4, 60), regular(8, 2, 60), regular(6, 4, 50), UNEVEN], ids=str)
@pytest.mark.parametrize("smoothness", [SMOOTHNESS, 0.2])
def test_the_curve_is_that_of_dense_non_negative_least_squares(windows: np.ndarray, smoothness: float) -> None:
    rng = np.random.default_rng(1)
    curve = share(windows, 10.0, 23.0) + 0.05 * rng.normal(size=len(windows))
    fine = deconvolve(curve, windows, smoothness)
    matrix = dense(windows, fine.edges)
    steps = np.diff(np.eye(matrix.shape[1]), axis=0)[fine.covered[1:] & fine.covered[:-1]]
    low = curve.min()
    expected, _ = nnls(
        np.concatenate([matrix, np.sqrt(smoothness) * steps]), np.append(curve - low, np.zeros(len(steps)))
    )
    np.testing.assert_allclose((fine.values - low)[fine.covered], expected[fine.covered], atol=2e-3)
    assert np.all(fine.values[~fine.covered] == low)


@pytest.mark.parametrize(("stride", "bound"), [(4.0, 1.0), (2.0, 0.5)])
def test_events_that_begin_anywhere_get_finer_bounds(stride: float, bound: float) -> None:
    windows = regular(8.0, stride, 96.0)
    times, rng = cell_starts(windows), np.random.default_rng(2)
    errors = {"cells": [], "fine": []}  # type: ignore[var-annotated]
    for _ in range(100):
        start, length = rng.uniform(12, 60), rng.uniform(2, 20)
        curve = share(windows, start, start + length)
        for name, form in (("cells", None), ("fine", windows)):
            (found,) = window_peaks(curve, times, 96.0, 1, windows=form)
            errors[name].append(abs(found.span.start - start) + abs(found.span.end - start - length))
            assert found.score == curve.max()
    cells, fine = (float(np.mean(errors[name])) / 2 for name in ("cells", "fine"))
    assert fine < 0.8 * cells
    assert fine < bound


def test_spans_stay_apart_and_keep_their_scores_and_order() -> None:
    windows = regular(8.0, 2.0, 96.0)
    rng, times = np.random.default_rng(3), cell_starts(windows)
    for _ in range(50):
        curve = rng.normal(size=len(windows))
        coarse = peaks(curve, times, 96.0, 8)
        fine = window_peaks(curve, times, 96.0, 8, windows=windows)
        assert [s.score for s in fine] == [s.score for s in coarse]
        ordered = sorted(s.span for s in fine)
        assert all(a.end <= b.start for a, b in pairwise(ordered))
        for before, after in zip(coarse, fine, strict=True):
            assert before.span.start - 1.01 <= after.span.start
            assert after.span.end <= before.span.end + 1.01


def test_windows_that_do_not_overlap_and_frames_are_left_alone() -> None:
    windows = regular(4.0, 4.0, 40.0)
    curve = share(windows, 10.0, 21.0)
    assert not overlapping(windows)
    assert not overlapping(None)
    for form in (windows, None):
        assert window_peaks(curve, cell_starts(windows), 40.0, 3, windows=form) == peaks(
            curve, cell_starts(windows), 40.0, 3
        )


def test_a_span_without_any_cell_and_a_flat_curve_keep_their_bounds() -> None:
    fine = deconvolve(np.ones(3), regular(4.0, 2.0, 8.0))
    outside = ScoredSpan(Span(50.0, 51.0), 0.5)
    assert sharpened([outside], fine, 4.0) == (outside,)
    whole = ScoredSpan(Span(0.0, 8.0), 0.5)
    assert sharpened([whole], fine, 4.0) == (whole,)


@pytest.mark.parametrize(
    ("curve", "windows", "smoothness"),
    [
        ([0.0, 1.0], regular(4.0, 2.0, 8.0), 0.1),
        ([0.0, np.nan, 1.0], regular(4.0, 2.0, 8.0), 0.1),
        ([0.0, 0.5, 1.0], regular(4.0, 2.0, 8.0), 0.0),
        ([], np.empty((0, 2)), 0.1),
    ],
    ids=str,
)
def test_what_has_no_answer_is_refused(curve: list[float], windows: np.ndarray, smoothness: float) -> None:
    with pytest.raises(ValueError, match="relevance"):
        deconvolve(curve, windows, smoothness)
