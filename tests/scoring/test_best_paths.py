"""The timelines of the largest weight, against dense matrices of transitions and chains of one sentence."""

from __future__ import annotations

import numpy as np
import pytest

from mova.scoring.best_paths import best_frames, best_path
from mova.scoring.chain import ChainCosts
from tests.support.chains import dense


def _dense_path(emissions: np.ndarray, boundaries: np.ndarray, costs: ChainCosts) -> list[int]:
    weights, last, odds, steps = dense(emissions, boundaries, costs)
    origins = []
    for step, frame in zip(steps, odds[1:], strict=True):
        through = weights[:, None] + step
        origins.append(through.argmax(axis=0))
        weights = through.max(axis=0) + frame
    states = [int(np.argmax(weights + last))]
    for origin in reversed(origins):
        states.append(int(origin[states[-1]]))
    return [state // 2 if state % 2 else -1 for state in reversed(states)]


@pytest.mark.parametrize(("sentences", "frames"), [(1, 40), (5, 90), (12, 60), (9, 5)])
@pytest.mark.parametrize("seed", range(4))
def test_the_best_path_is_that_of_dense_matrices(sentences: int, frames: int, seed: int) -> None:
    rng = np.random.default_rng([seed, sentences])
    emissions, boundaries = rng.normal(-0.3, 2, (sentences, frames)), rng.normal(0, 1, frames)
    costs = ChainCosts(*rng.uniform(0, 2, 4))
    assert best_path(emissions, boundaries, costs).tolist() == _dense_path(emissions, boundaries, costs)


@pytest.mark.parametrize("seed", range(20))
def test_the_best_frames_of_a_sentence_are_the_best_path_of_a_chain_of_its_own(seed: int) -> None:
    rng = np.random.default_rng(seed)
    emissions, boundaries = rng.normal(0, 2, (4, 30)), rng.normal(0, 1, 30)
    costs = ChainCosts(*rng.uniform(0, 2, 4))
    covered = best_frames(emissions, boundaries, costs)
    for k in range(4):
        path = best_path(emissions[k : k + 1], boundaries, costs)
        assert covered[k].tolist() == (path == 0).tolist()
