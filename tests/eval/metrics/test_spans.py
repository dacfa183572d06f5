"""Moment metrics against forms written out by hand, and simple cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from mova.eval.metrics.spans import (
    MomentPrediction,
    MomentTruth,
    evaluate_highlights,
    evaluate_moments,
    first_iou,
    highlight_average_precision,
    moment_average_precision,
    temporal_iou,
    tied_queries,
)

WINDOWS = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=4)


def spans(pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.array([(start, start + length) for start, length in pairs], dtype=float)


@given(WINDOWS, WINDOWS)
def test_iou_counts_whole_seconds(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    iou = temporal_iou(spans(a), spans(b))
    for i, (s, n) in enumerate(a):
        for j, (t, m) in enumerate(b):
            first, second = set(range(s, s + n)), set(range(t, t + m))
            assert iou[i, j] == pytest.approx(len(first & second) / len(first | second))


def test_windows_without_length_overlap_nothing() -> None:
    assert temporal_iou([[1, 1]], [[1, 1]]).tolist() == [[0.0]]


@given(WINDOWS, WINDOWS, st.randoms(use_true_random=False))
def test_moment_precision_equals_explicit_arithmetic(
    predicted: list[tuple[int, int]], annotated: list[tuple[int, int]], random: object
) -> None:
    windows = np.column_stack([spans(predicted), np.arange(len(predicted))[::-1]])
    truth = spans(annotated)
    matched: set[int] = set()
    right = []
    for window in windows:
        overlaps = {j: temporal_iou([window[:2]], [t])[0, 0] for j, t in enumerate(truth) if j not in matched}
        near = max(overlaps, key=lambda j: overlaps[j], default=None)
        right.append(near is not None and overlaps[near] >= 0.5)
        if right[-1]:
            matched.add(near)
    area = 0.0
    for step in range(1, sum(right) + 1):  # the highest precision at this recall or beyond
        area += max(sum(right[:n]) / n for n in range(1, len(right) + 1) if sum(right[:n]) >= step) / len(truth)
    assert moment_average_precision(windows, truth, [0.5])[0] == pytest.approx(area)


def test_order_of_windows_is_that_of_their_scores() -> None:
    truth = [[0, 10]]
    assert moment_average_precision([[20, 30, 0.1], [0, 10, 0.9]], truth, [0.5])[0] == 1.0
    assert moment_average_precision([[20, 30, 0.9], [0, 10, 0.1]], truth, [0.5])[0] == 0.5
    assert moment_average_precision(np.zeros((0, 3)), truth, [0.5])[0] == 0.0
    assert first_iou([[0, 5, 0.1], [0, 10, 0.9]], [[0, 10], [90, 95]]) == 0.5  # the first in the list


def test_lengths_keep_only_windows_of_theirs() -> None:
    predictions = [MomentPrediction(np.array([[0.0, 8.0, 1.0]])), MomentPrediction(np.array([[0.0, 8.0, 1.0]]))]
    truths = [MomentTruth(np.array([[0.0, 8.0], [10.0, 60.0]])), MomentTruth(np.array([[0.0, 40.0]]))]
    report = evaluate_moments(predictions, truths)
    assert list(report) == ["short", "long", "full"]
    assert report["short"]["R1"][0.5] == 100.0
    assert report["long"]["R1"][0.5] == 0.0
    assert report["full"]["R1"][0.5] == 50.0
    assert report["full"]["mAP"][0.5] == pytest.approx(25.0)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=12))
def test_highlight_precision_is_the_interpolated_curve_of_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    scores, right = (np.array(column) for column in zip(*pairs, strict=True))
    if not right.any() or right.all():
        assert highlight_average_precision(scores, right) == float(right.all())
        return
    precision, recall, _ = precision_recall_curve(right, scores)
    steps = np.flatnonzero(np.diff(recall))
    assert highlight_average_precision(scores, right) == pytest.approx(np.maximum.accumulate(precision)[steps].mean())


def test_hit_at_one_and_saliency_of_another_length() -> None:
    truth = MomentTruth(np.array([[0.0, 4.0]]), np.array([[4, 1, 1], [0, 0, 0]]))
    for saliency, hit in (([0.9, 0.1], 100.0), ([0.1, 0.9], 0.0), ([0.1], 100.0), ([0.1, 0.2, 0.3], 0.0)):
        report = evaluate_highlights([MomentPrediction(None, np.array(saliency))], [truth])
        assert report["VeryGood"]["Hit1"] == hit


def test_ties_are_counted() -> None:
    window = np.array([[0.0, 1.0, 0.5], [1.0, 2.0, 0.5]])
    assert tied_queries([MomentPrediction(window), MomentPrediction(window[:1], np.array([1.0, 0.0]))]) == 1
    assert tied_queries([MomentPrediction(None, np.array([1.0, 1.0]))]) == 1


def test_invalid_inputs_raise() -> None:
    truth = MomentTruth(np.array([[0.0, 4.0]]))
    nothing = MomentPrediction(np.zeros((0, 3)))
    for call, message in (
        (lambda: evaluate_moments([nothing], [truth]), "query 0 has no predicted window"),
        (lambda: evaluate_moments([], []), "0 predictions"),
        (lambda: evaluate_highlights([nothing], [truth]), "no saliency"),
        (lambda: evaluate_highlights([], [truth]), "0 predictions"),
        (lambda: temporal_iou([[3, 1]], [[0, 1]]), "start <= end"),
        (lambda: temporal_iou([[0, np.nan]], [[0, 1]]), "start <= end"),
        (lambda: moment_average_precision([[0, 1, np.nan]], [[0, 1]]), "a predicted window has score NaN"),
        (lambda: moment_average_precision([[0, 1, 1]], np.zeros((0, 2))), "annotated window"),
        (lambda: highlight_average_precision([np.nan], [1]), "without NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
