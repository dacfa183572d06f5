"""Spans from relevance curves: hand-made curves with known answers, and properties on drawn ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mova.scoring.spans import cell_edges, locate, noise_floor, peaks, unseen
from mova.types import ScoredSpan, Span

values = st.floats(-1, 1, width=32) | st.sampled_from([0.0, 0.5, 1.0])
curves = st.lists(values, min_size=1, max_size=60).map(lambda v: np.array(v, dtype=np.float32))


def bounds(spans: tuple[ScoredSpan, ...]) -> list[tuple[float, float]]:
    return [(s.span.start, s.span.end) for s in spans]


def seconds(count: int, rate: float = 1.0) -> np.ndarray:
    return np.arange(count) / rate


# --- cells ---


def test_cells_reach_from_a_frame_to_the_next_and_to_the_end() -> None:
    assert cell_edges([0, 0.5, 2], 3.25).tolist() == [0, 0.5, 2, 3.25]


def test_a_container_that_understates_its_duration_loses_no_frame() -> None:
    assert cell_edges([0, 2, 4], 3.0).tolist() == [0, 2, 4, 6]
    assert cell_edges([0.0], 0.0).tolist() == [0, 1]


@pytest.mark.parametrize("times", [[], [[0.0]], [0, np.nan], [1, 0]])
def test_bad_times_are_refused(times: list) -> None:
    with pytest.raises(ValueError, match="times"):
        cell_edges(times, 5)


# --- locate ---


def test_spans_at_or_above_the_threshold() -> None:
    curve = [0, 0.5, 0.9, 0, 0, 0, 0.6]
    spans = locate(curve, seconds(7), 6.5, 0.5)
    assert bounds(spans) == [(1, 3), (6, 6.5)]
    assert [s.score for s in spans] == [0.9, 0.6]


def test_a_single_missed_frame_does_not_split_a_span_by_default() -> None:
    curve = [1, 1, 0, 1, 0, 0, 1]
    assert bounds(locate(curve, seconds(7), 7, 0.5)) == [(0, 4), (6, 7)]
    assert bounds(locate(curve, seconds(7), 7, 0.5, merge_gap=0)) == [(0, 2), (3, 4), (6, 7)]
    assert bounds(locate(curve, seconds(7), 7, 0.5, merge_gap=2)) == [(0, 7)]


def test_short_spans_can_be_left_out_after_merging() -> None:
    curve = [1, 0, 1, 0, 0, 0, 1]
    assert bounds(locate(curve, seconds(7), 7, 0.5, min_seconds=2)) == [(0, 3)]


def test_variable_frame_rate_keeps_real_times() -> None:
    times = np.array([0, 0.1, 4.0, 4.1, 9.0])
    assert bounds(locate([0, 1, 0, 0, 1], times, 9.5, 0.5)) == [(0.1, 4.0), (9.0, 9.5)]


def test_all_none_and_one_frame() -> None:
    assert bounds(locate([1, 1], seconds(2), 2, 0.5)) == [(0, 2)]
    assert locate([0, 0], seconds(2), 2, 0.5) == ()
    assert bounds(locate([1], [0.0], 4.0, 0.5)) == [(0, 4)]


def test_frames_with_equal_times_have_no_length() -> None:
    assert locate([1, 0, 0, 0], [0, 0, 1, 2], 3, 0.5) == ()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN"):
        locate([0, bad], seconds(2), 2, 0.5)
    with pytest.raises(ValueError, match="NaN"):
        peaks([0, bad], seconds(2), 2, 3)
    with pytest.raises(ValueError, match="NaN"):
        locate([0, 1], seconds(2), 2, float("nan"))
    with pytest.raises(ValueError, match="length"):
        locate([0, 1], seconds(3), 3, 0.5)


@given(curves, values)
def test_locate_without_merging_covers_exactly_the_frames_above(curve: np.ndarray, threshold: float) -> None:
    times = seconds(len(curve), 2.0)
    spans = bounds(locate(curve, times, len(curve) / 2, threshold, merge_gap=0))
    inside = [any(a <= t < b for a, b in spans) for t in times]
    assert inside == (curve >= threshold).tolist()
    assert all(b < c for (_, b), (c, _) in pairwise(spans))


# --- noise floor ---


@given(st.lists(curves, min_size=1, max_size=4), st.floats(0, 0.99))
def test_background_reaches_its_floor_on_at_most_the_given_share(rows: list[np.ndarray], share: float) -> None:
    size = min(map(len, rows))
    background = np.stack([row[:size] for row in rows])
    floor = noise_floor(background, share)
    assert np.mean(background.astype(np.float64) >= floor) <= share
    lower = np.unique(background[background < floor])
    assert len(lower) == 0 or np.mean(background >= lower[-1]) > share


def test_noise_floor_of_a_known_distribution() -> None:
    background = np.random.default_rng(0).normal(0.2, 0.01, (20, 5000))
    assert noise_floor(background) == pytest.approx(0.2 + 1.645 * 0.01, abs=3e-4)


def test_noise_floor_rejects_invalid_input() -> None:
    for background, share in (([[]], 0.05), ([[np.nan]], 0.05), ([[0.1]], 1.0), ([[0.1]], -0.1)):
        with pytest.raises(ValueError):
            noise_floor(background, share)


# --- peaks ---


def test_two_events_over_a_floor_best_first() -> None:
    curve = [0.1, 0.1, 0.5, 0.6, 0.5, 0.1, 0.1, 0.1, 0.8, 0.9, 0.1]
    spans = peaks(curve, seconds(11), 11, 5)
    assert bounds(spans) == [(8, 10), (2, 5)]
    assert [s.score for s in spans] == [0.9, 0.6]
    assert peaks(curve, seconds(11), 11, 1) == spans[:1]


def test_an_event_may_touch_either_end() -> None:
    assert bounds(peaks([1, 0.9, 0, 0, 0.7], seconds(5), 5.5, 3)) == [(0, 2), (4, 5.5)]


def test_plateaus_and_edges_are_exact() -> None:
    assert bounds(peaks([0, 0, 1, 1, 1, 1, 0], seconds(7), 7, 3)) == [(2, 6)]
    assert bounds(peaks([0, 1, 1, 1], seconds(4), 4, 3)) == [(1, 4)]


def test_a_spike_is_one_frame_and_a_flicker_does_not_split() -> None:
    assert bounds(peaks([0, 0, 0, 1, 0, 0], seconds(6), 6, 3)) == [(3, 4)]
    assert bounds(peaks([0, 1, 1, 0, 1, 1, 0, 0], seconds(8), 8, 3)) == [(1, 6)]


def test_ripples_of_an_event_are_not_moments_of_their_own() -> None:
    curve = [0.1, 0.1, 0.8, 0.7, 0.72, 0.6, 0.62, 0.75, 0.1, 0.1, 0.3, 0.1]
    assert bounds(peaks(curve, seconds(12), 12, 5)) == [(2, 8), (10, 11)]


def test_a_constant_curve_is_one_span_over_the_whole_video() -> None:
    assert bounds(peaks([0.3] * 6, seconds(6), 6, 4)) == [(0, 6)]
    assert bounds(peaks([0.3], [0.0], 8.0, 4)) == [(0, 8)]


def test_monotonous_curves_have_one_moment() -> None:
    assert bounds(peaks(np.linspace(0, 1, 11), seconds(11), 11, 4)) == [(5, 11)]
    assert bounds(peaks(np.linspace(1, 0, 11), seconds(11), 11, 4)) == [(0, 6)]


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="limit"):
        peaks([1.0], [0.0], 1, 0)


@given(curves, st.integers(1, 8))
def test_peaks_are_disjoint_ordered_and_start_with_the_maximum(curve: np.ndarray, limit: int) -> None:
    times = seconds(len(curve), 4.0)
    spans = peaks(curve, times, len(curve) / 4, limit)
    assert 1 <= len(spans) <= limit
    assert spans[0].score == curve.max()
    order = [(-s.score, s.span.start) for s in spans]
    assert order == sorted(order)
    for span in spans:
        inside = (times >= span.span.start) & (times < span.span.end)
        assert span.score == curve[inside].max()
    ordered = sorted(bounds(spans))
    assert all(b <= c for (_, b), (c, _) in pairwise(ordered))


@given(curves, st.integers(1, 8), values)
def test_peaks_of_a_least_score_are_those_of_all_peaks(curve: np.ndarray, limit: int, least: float) -> None:
    every = peaks(curve, np.arange(float(len(curve))), float(len(curve)), limit)
    some = peaks(curve, np.arange(float(len(curve))), float(len(curve)), limit, least=least)
    assert some == tuple(span for span in every if span.score >= least)


@given(curves, st.floats(0.1, 10), st.floats(-5, 5))
def test_peaks_do_not_depend_on_scale_or_offset_where_arithmetic_is_exact(
    curve: np.ndarray, scale: float, offset: float
) -> None:
    exact = np.round(curve * 8)
    times = seconds(len(curve))
    spans = bounds(peaks(exact, times, len(curve), 99))
    assert bounds(peaks(exact * 2.0 ** round(scale) + round(offset), times, len(curve), 99)) == spans


GRID = np.concatenate([np.arange(8), np.arange(20, 28)]) / 2  # 0 to 4 s and 10 to 14 s, every half second


def test_no_span_bridges_missing_frames() -> None:
    curve = np.full(16, 0.9)
    for spans in (locate(curve, GRID, 14.0, 0.5, step=0.5), peaks(curve, GRID, 14.0, 5, step=0.5)):
        assert [(s.span.start, s.span.end) for s in spans] == [(0.0, 4.0), (10.0, 14.0)]
    assert [(s.span.start, s.span.end) for s in locate(curve, GRID, 14.0, 0.5, merge_gap=60.0, step=0.5)] == [
        (0.0, 4.0),
        (10.0, 14.0),
    ]
    curve[:4] = curve[12:] = 0.1
    spans = peaks(curve, GRID, 14.0, 5, step=0.5)
    assert [(s.span.start, s.span.end) for s in spans] == [(2.0, 4.0), (10.0, 12.0)]
    assert [(s.span.start, s.span.end) for s in peaks(curve, GRID, 14.0, 5)] == [(2.0, 12.0)]
    one_missing = np.array([0.0, 0.5, 1.5, 2.0])
    assert len(locate(np.ones(4), one_missing, 2.5, 0.5, step=0.5)) == 2
    assert unseen(one_missing, 2.5, 0.5) == (Span(1.0, 1.5),)


def test_missing_frames_at_both_ends_are_unseen() -> None:
    assert unseen(GRID + 3, 30.0, 0.5) == (Span(0.0, 3.0), Span(7.0, 13.0), Span(17.0, 30.0))
    assert unseen(GRID, 14.2, 0.5) == (Span(4.0, 10.0),)
    assert unseen(GRID, 14.0, None) == ()


@given(st.lists(st.booleans(), min_size=1, max_size=40).filter(any), st.integers(0, 2**32 - 1))
def test_spans_lie_within_what_was_seen(present: list[bool], seed: int) -> None:
    times = np.flatnonzero(present) / 4
    curve = np.random.default_rng(seed).random(len(times))
    duration = len(present) / 4
    missing = unseen(times, duration, 0.25)
    assert sum(stretch.duration for stretch in missing) == pytest.approx((len(present) - len(times)) / 4)
    for spans in (locate(curve, times, duration, 0.4, step=0.25), peaks(curve, times, duration, 50, step=0.25)):
        assert all(s.span.intersection(stretch) == 0 for s in spans for stretch in missing)
    assert peaks(curve, times, duration, 1, step=0.25)[0].score == curve.max()
    if all(present):
        assert peaks(curve, times, duration, 9, step=0.25) == peaks(curve, times, duration, 9)
        assert locate(curve, times, duration, 0.4, step=0.25) == locate(curve, times, duration, 0.4)
