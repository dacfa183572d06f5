"""Inference in the chain of sentences, against a sum over all paths."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from mova.scoring.chain import ChainCosts, best_path, infer_chain


def _weights(emissions: np.ndarray, boundaries: np.ndarray, costs: ChainCosts) -> dict[tuple[int, ...], float]:
    """Return the log-weight of every possible path; state 2k + 1 is sentence k, state 2i is none after i sentences."""
    sentences, frames = emissions.shape
    weights = {}
    for path in product(range(2 * sentences + 1), repeat=frames):
        total: float | None = 0.0
        level = 0
        for t, state in enumerate(path):
            before = path[t - 1] if t else 0
            reached = (state + 1) // 2
            if state % 2:
                total += emissions[reached - 1, t]
            if t == 0 and state % 2 == 0 and state > 0:
                total = None
                break
            if state == before and t:
                continue
            change = boundaries[t] - costs.change if t else 0.0
            if reached > level and state % 2:
                total += change + costs.enter - costs.skip * (reached - level - 1)
            elif t and state % 2 == 0 and state == before + 1:
                total += change
            elif t and state % 2 == 1 and state == before - 1:
                total += change - costs.repeat
            elif not (t == 0 and state == 0):
                total = None
                break
            level = reached
        if total is not None:
            weights[path] = total - costs.skip * (sentences - level)
    return weights


CASES = [(1, 1), (1, 4), (2, 4), (3, 4), (2, 5), (4, 3)]


@pytest.mark.parametrize(("sentences", "frames"), CASES)
@pytest.mark.parametrize("seed", range(3))
def test_marginals_path_and_evidence_equal_the_sum_over_all_paths(sentences: int, frames: int, seed: int) -> None:
    rng = np.random.default_rng([seed, sentences, frames])
    emissions = rng.normal(0, 2, (sentences, frames))
    boundaries = rng.normal(0, 1, frames)
    costs = ChainCosts(*rng.uniform(0, 2, 4))
    weights = _weights(emissions, boundaries, costs)
    total = np.logaddexp.reduce(list(weights.values()))
    result = infer_chain(emissions, boundaries, costs)
    assert result.log_evidence == pytest.approx(total)
    marginals = np.zeros_like(emissions)
    shown = np.zeros(sentences)
    for path, weight in weights.items():
        for t, state in enumerate(path):
            if state % 2:
                marginals[state // 2, t] += np.exp(weight - total)
        for sentence in {state // 2 for state in path if state % 2}:
            shown[sentence] += np.exp(weight - total)
    np.testing.assert_allclose(result.marginals, marginals, atol=1e-6)
    np.testing.assert_allclose(result.shown, shown, atol=1e-9)
    best = max(weights, key=weights.__getitem__)
    assert best_path(emissions, boundaries, costs).tolist() == [state // 2 if state % 2 else -1 for state in best]
