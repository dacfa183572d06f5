"""Stretches: the bounds hold for every frame and query, whatever the vectors, and nothing is lost or moved."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from mova.errors import UsageError
from mova.scoring.windows.stretches import (
    MOST_FRAMES,
    StretchCutter,
    Stretches,
    sampled_frames,
    score_bound,
    score_range,
)

NOVELTIES = (1e-4, 0.01, 0.05, 0.3, 0.9)
ROUNDING = 1e-6


def wander(rng: np.random.Generator, count: int, width: int, speed: float) -> npt.NDArray[np.float32]:
    """Unit vectors that drift, with a jump now and then."""
    steps = rng.normal(size=(count, width)) * speed
    steps[rng.random(count) < 0.05] *= 20
    rows = rng.normal(size=width) + np.cumsum(steps, axis=0)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def cut(
    times: npt.NDArray[np.float64],
    vectors: npt.NDArray[np.float32],
    novelty: float,
    step: float,
    bounds: list[int],
    begins: npt.NDArray[np.bool_] | None = None,
) -> Stretches:
    """Cut frames that arrive in chunks between some bounds."""
    cutter, parts = StretchCutter(novelty, step), []
    for first, last in zip([0, *bounds], [*bounds, len(times)], strict=True):
        some = None if begins is None else begins[first:last]
        parts.append(cutter.take(times[first:last], vectors[first:last], some))
    parts.append(cutter.finish())
    return Stretches(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


@pytest.mark.parametrize("novelty", NOVELTIES)
@pytest.mark.parametrize("speed", [0.01, 0.1, 1.0])
def test_no_score_of_a_frame_differs_by_more_than_the_bounds(novelty: float, speed: float) -> None:
    rng = np.random.default_rng([round(1e4 * novelty), round(100 * speed)])
    vectors = wander(rng, 200, 16, speed)
    times = np.arange(200) / 2
    found = cut(times, vectors, novelty, 0.5, [])
    again, owners = sampled_frames(found.windows, 2.0)
    np.testing.assert_array_equal(again, times)
    stored = found.vectors.astype(np.float16).astype(np.float64)
    np.testing.assert_array_equal(stored, found.vectors)  # what is stored is what was checked
    frames, kept = vectors.astype(np.float64), stored[owners]
    cosines = np.einsum("td,td->t", frames, kept) / np.linalg.norm(kept, axis=1)
    assert cosines.min() >= 1 - novelty * 1.001 - ROUNDING
    apart = frames - kept
    lengths = np.linalg.norm(apart, axis=1, keepdims=True)
    worst = (apart / np.maximum(lengths, 1e-12))[lengths[:, 0] > 0]
    random = rng.normal(size=(100, 16))
    for queries in (worst, -worst, random / np.linalg.norm(random, axis=1, keepdims=True), frames[::7]):
        true, said = queries @ frames.T, queries @ kept.T
        assert np.abs(true - said).max() <= score_bound(novelty) + ROUNDING
        low, high = score_range(said, novelty)
        slack = 2**-10  # of the lengths in half precision
        assert np.all(true >= low - slack)
        assert np.all(true <= high + slack)


def test_the_bound_is_reached() -> None:
    """A query along the difference of two vectors that are as far apart as allowed."""
    novelty = 0.05
    angle = math.acos(1 - novelty)
    stored, frame = np.array([1.0, 0.0]), np.array([math.cos(angle), math.sin(angle)])
    query = (frame - stored) / np.linalg.norm(frame - stored)
    assert abs(query @ frame - query @ stored) == pytest.approx(score_bound(novelty))
    for score in (-0.9, -0.2, 0.0, 0.4, 0.99):
        low, high = score_range(score, novelty)
        sides = [np.array([score, sign * math.sqrt(1 - score**2)]) for sign in (1, -1)]
        reached = sorted(float(query @ frame) for query in sides)
        if math.acos(score) > angle:
            assert reached[1] == pytest.approx(high)
        if math.acos(score) + angle < math.pi:
            assert reached[0] == pytest.approx(low)


def test_chunks_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    vectors, times = wander(rng, 150, 8, 0.05), np.arange(150) / 3
    whole = cut(times, vectors, 0.02, 1 / 3, [])
    for _ in range(5):
        bounds = sorted(rng.integers(0, 151, size=6).tolist())
        part = cut(times, vectors, 0.02, 1 / 3, bounds)
        np.testing.assert_array_equal(part.vectors, whole.vectors)
        np.testing.assert_array_equal(part.windows, whole.windows)


def test_frames_that_do_not_change_are_one_row_up_to_the_longest_stretch() -> None:
    vectors = np.repeat(np.eye(1, 8, dtype=np.float32), 3 * MOST_FRAMES - 1, axis=0)
    found = cut(np.arange(len(vectors)) * 1.0, vectors, 0.001, 1.0, [])
    assert (found.windows[:, 1] - found.windows[:, 0]).tolist() == [MOST_FRAMES, MOST_FRAMES, MOST_FRAMES - 1]


def test_frames_that_all_differ_are_all_stored() -> None:
    vectors = np.tile(np.eye(2, dtype=np.float32), (5, 1))
    found = cut(np.arange(10.0), vectors, 0.2, 1.0, [4])
    np.testing.assert_array_equal(found.vectors, vectors)
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)  # their sum has no direction
    np.testing.assert_array_equal(cut(np.arange(2.0), opposite, 0.99, 1.0, []).vectors, opposite)


def test_no_stretch_contains_missing_frames_or_the_begin_of_a_shot() -> None:
    vectors = np.repeat(np.eye(1, 4, dtype=np.float32), 8, axis=0)
    times = np.array([0.0, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    assert cut(times, vectors, 0.1, 1.0, []).windows.tolist() == [[0.0, 3.0], [5.0, 10.0]]
    begins = np.array([True, False, False, False, False, True, False, False])
    expected = [[0.0, 3.0], [5.0, 7.0], [7.0, 10.0]]
    assert cut(times, vectors, 0.1, 1.0, [6], begins).windows.tolist() == expected


@pytest.mark.parametrize("rate", [0.3, 1.0, 2.0, 29.97])
def test_sampled_frames_have_the_times_of_sampling(rate: float) -> None:
    times = np.arange(1000) / rate
    rng = np.random.default_rng(5)
    vectors = wander(rng, 1000, 4, 0.05)
    found = cut(times, vectors, 0.02, 1 / rate, [100, 350])
    again, owners = sampled_frames(found.windows, rate)
    np.testing.assert_array_equal(again, times)
    assert owners[0] == 0
    assert owners[-1] == len(found.windows) - 1


def test_nothing_taken_is_nothing_stored() -> None:
    assert len(StretchCutter(0.1, 1.0).finish().windows) == 0
    assert len(sampled_frames(np.empty((0, 2)), 1.0)[0]) == 0


@pytest.mark.parametrize("window", [[0.0, 0.0], [3.0, 1.0], [0.0, 1e9], [0.0, np.nan], [-np.inf, 1.0]])
def test_bounds_that_are_not_possible_are_an_error(window: list[float]) -> None:
    with pytest.raises(ValueError, match="not possible"):
        sampled_frames(np.array([window]), 1.0)


@pytest.mark.parametrize("novelty", [-0.1, 0.0, 1.0, math.nan, math.inf])
def test_a_novelty_is_a_share(novelty: float) -> None:
    with pytest.raises(UsageError, match="above 0 and below 1"):
        StretchCutter(novelty, 1.0)
