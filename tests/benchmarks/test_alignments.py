"""Drop-DTW, against all assignments of frames to sentences."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from benchmarks.common.alignments import drop_dtw


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("sentences", "frames"), [(1, 1), (1, 5), (2, 5), (3, 6), (3, 3)])
def test_drop_dtw_is_the_cheapest_assignment(sentences: int, frames: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs, drop = rng.uniform(0, 1, (sentences, frames)), float(rng.uniform(0, 1))

    def cost(assignment: tuple[int, ...]) -> float:
        used = [k for k in assignment if k >= 0]
        if used != sorted(used) or set(used) != set(range(sentences)):
            return np.inf
        return sum(drop if k < 0 else costs[k, t] for t, k in enumerate(assignment))

    best = min(map(cost, product(range(-1, sentences), repeat=frames)))
    mask = drop_dtw(costs, drop)
    found = tuple(int(np.flatnonzero(column)[0]) if column.any() else -1 for column in mask.T)
    assert mask.sum(axis=0).max() == 1
    assert cost(found) == pytest.approx(best)
