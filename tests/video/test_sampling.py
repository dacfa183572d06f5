"""Sampling rules against the formulas of the projects that use them, and examples by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mova.errors import UsageError
from mova.video import sampling

SIZES = st.integers(1, 400)


@given(SIZES, SIZES)
def test_every_counted_rule_gives_count_sorted_indices_within_the_video(n: int, count: int) -> None:
    pts = np.arange(n) / 25
    for name, rule in sampling.RULES.items():
        indices = rule(pts, count)
        assert indices.dtype == np.int64, name
        assert len(indices) == count, name
        assert np.all(np.diff(indices) >= 0), name
        assert 0 <= indices[0] <= indices[-1] < n, name


@given(SIZES, SIZES)
def test_linspace_equals_integer_linspace_of_numpy(n: int, count: int) -> None:
    assert sampling.linspace(n, count).tolist() == np.linspace(0, n - 1, count, dtype=int).tolist()


@given(SIZES, SIZES)
def test_segment_midpoint_is_the_middle_of_ranges_padded_with_the_last(n: int, count: int) -> None:
    edges = [int(edge) for edge in np.linspace(start=0, stop=n, num=min(count, n) + 1)]
    middles = [(edges[k] + edges[k + 1] - 1) // 2 for k in range(len(edges) - 1)]
    middles += [middles[-1]] * (count - len(middles))
    assert sampling.segment_midpoint(n, count).tolist() == middles


def test_the_three_uniform_rules_differ() -> None:
    assert sampling.linspace(8, 3).tolist() == [0, 3, 7]
    assert sampling.segment_midpoint(8, 3).tolist() == [0, 3, 6]
    pts = np.arange(100) / 10  # 10 s at 10 fps: the 1-fps list is 0, 10, ..., 90
    assert sampling.linspace_fps(pts, 4).tolist() == [0, 30, 60, 90]
    assert sampling.linspace(100, 4).tolist() == [0, 33, 66, 99]


def test_linspace_fps_lists_what_is_on_display_with_a_variable_rate() -> None:
    pts = [0.0, 0.4, 2.5, 2.6, 3.0, 7.9]  # on display at 0..7 s: 0 1 1 4 4 4 4 4
    assert sampling.linspace_fps(pts, 8).tolist() == [0, 1, 1, 4, 4, 4, 4, 4]
    assert sampling.linspace_fps([5.0], 3).tolist() == [0, 0, 0]


def test_head_and_tail() -> None:
    assert sampling.head(8, 3).tolist() == [0, 1, 2]
    assert sampling.tail(8, 3).tolist() == [5, 6, 7]
    assert sampling.head(2, 4).tolist() == [0, 1, 1, 1]
    assert sampling.tail(2, 4).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_of_zero_is_wrong_usage(count: int) -> None:
    for rule in sampling.RULES.values():
        with pytest.raises(UsageError, match="positive"):
            rule(np.arange(4.0), count)


@given(st.floats(0.01, 500), st.floats(0.05, 60), st.floats(0, 100))
def test_fps_times_are_all_multiples_before_the_end(duration: float, fps: float, start: float) -> None:
    times = np.asarray(sampling.fps_times(duration, fps, start))
    assert np.allclose(times, start + np.arange(len(times)) / fps)
    assert np.all(times < duration)
    assert start + len(times) / fps >= duration - 1e-5


def test_fps_times_never_include_the_end_by_rounding() -> None:
    assert len(sampling.fps_times(10.0, 0.3)) == 3
    assert len(sampling.fps_times(0.1 * 3, 10)) == 3
    assert len(sampling.fps_times(5.0, 1.0, start=5.0)) == 0
    with pytest.raises(UsageError):
        sampling.fps_times(5.0, 0.0)
    with pytest.raises(UsageError):
        sampling.fps_times(5.0, 1.0, start=-1.0)


@given(st.lists(st.integers(0, 50), min_size=1), st.lists(st.floats(-5, 60), min_size=1))
def test_on_display_is_the_last_frame_that_started(ticks: list[int], times: list[float]) -> None:
    pts = np.array(sorted(ticks), dtype=float)
    for time, index in zip(times, sampling.on_display(pts, times), strict=True):
        begun = [i for i, p in enumerate(pts) if p <= time + sampling.TOLERANCE]
        assert index == (begun[-1] if begun else 0)
