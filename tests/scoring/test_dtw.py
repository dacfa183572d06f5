"""Time warping, against all assignments of frames to sentences."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from mova.scoring.dtw import drop_dtw, dtw

SIZES = [(1, 1), (1, 5), (2, 5), (3, 6), (3, 3)]


def cheapest(costs: np.ndarray, drop: float, found: np.ndarray) -> tuple[float, float]:
    """Return the cost of a mask, and the least cost of all assignments; -1 is a dropped frame."""
    sentences, frames = costs.shape

    def cost(assignment: tuple[int, ...]) -> float:
        used = [k for k in assignment if k >= 0]
        if used != sorted(used) or set(used) != set(range(sentences)):
            return np.inf
        return sum(drop if k < 0 else costs[k, t] for t, k in enumerate(assignment))

    assert found.sum(axis=0).max() == 1
    chosen = tuple(int(np.flatnonzero(column)[0]) if column.any() else -1 for column in found.T)
    return cost(chosen), min(map(cost, product(range(-1, sentences), repeat=frames)))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("sentences", "frames"), SIZES)
def test_drop_dtw_is_the_cheapest_assignment(sentences: int, frames: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs, drop = rng.uniform(0, 1, (sentences, frames)), float(rng.uniform(0, 1))
    mine, best = cheapest(costs, drop, drop_dtw(costs, drop))
    assert mine == pytest.approx(best)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("sentences", "frames"), SIZES)
def test_dtw_is_the_cheapest_assignment_of_all_frames(sentences: int, frames: int, seed: int) -> None:
    costs = np.random.default_rng(seed).uniform(0, 1, (sentences, frames))
    mask = dtw(costs)
    assert mask.sum(axis=0).tolist() == [1] * frames
    mine, best = cheapest(costs, np.inf, mask)
    assert mine == pytest.approx(best)


def test_impossible_costs_are_refused() -> None:
    for costs in (np.zeros((3, 2)), np.zeros((0, 2)), np.array([[np.nan]]), np.zeros(3)):
        with pytest.raises(ValueError, match="costs must be finite"):
            dtw(costs)
