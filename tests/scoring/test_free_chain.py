"""Independent chains, against the chain of one sentence and a sum over all paths."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from mova.scoring.chain import ChainCosts, best_path, infer_chain
from mova.scoring.free_chain import best_frames, infer_free


def _sum_over_paths(odds: np.ndarray, boundaries: np.ndarray, costs: ChainCosts) -> tuple[np.ndarray, float, float]:
    """Return marginals, the probability that it is shown, and the log-evidence of one sentence."""
    weights = {}
    for shown in product((False, True), repeat=len(odds)):
        total = float(odds[np.array(shown)].sum()) + (costs.enter if any(shown) else -costs.skip)
        for t in range(1, len(odds)):
            if shown[t] != shown[t - 1]:
                total += boundaries[t] - costs.change
                if shown[t] and any(shown[:t]):
                    total -= costs.repeat
        weights[shown] = total
    evidence = np.logaddexp.reduce(list(weights.values()))
    marginals = sum(np.array(path) * np.exp(weight - evidence) for path, weight in weights.items())
    absent = np.exp(weights[(False,) * len(odds)] - evidence)
    return marginals, 1 - absent, evidence


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
@pytest.mark.parametrize("seed", range(3))
def test_every_sentence_equals_the_sum_over_its_paths(frames: int, seed: int) -> None:
    rng = np.random.default_rng([seed, frames])
    emissions, boundaries = rng.normal(0, 2, (3, frames)), rng.normal(0, 1, frames)
    costs = ChainCosts(*rng.uniform(0, 2, 4))
    result = infer_free(emissions, boundaries, costs)
    for k, odds in enumerate(emissions):
        marginals, shown, evidence = _sum_over_paths(odds, boundaries, costs)
        np.testing.assert_allclose(result.marginals[k], marginals, atol=1e-6)
        assert result.shown[k] == pytest.approx(shown)
        assert result.log_evidence[k] == pytest.approx(evidence)


@pytest.mark.parametrize("seed", range(20))
def test_every_sentence_equals_a_chain_of_its_own(seed: int) -> None:
    rng = np.random.default_rng(seed)
    emissions, boundaries = rng.normal(0, 2, (4, 30)), rng.normal(0, 1, 30)
    costs = ChainCosts(*rng.uniform(0, 2, 4))
    result = infer_free(emissions, boundaries, costs)
    for k in range(4):
        alone = infer_chain(emissions[k : k + 1], boundaries, costs)
        np.testing.assert_allclose(result.marginals[k], alone.marginals[0], atol=1e-6)
        assert result.shown[k] == pytest.approx(alone.shown[0])
        assert result.log_evidence[k] == pytest.approx(alone.log_evidence)
        path = best_path(emissions[k : k + 1], boundaries, costs)
        assert best_frames(emissions, boundaries, costs)[k].tolist() == (path == 0).tolist()


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        infer_free([[0.0, np.nan]], np.zeros(2), ChainCosts(1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"emissions must be \(K, T\)"):
        infer_free(np.zeros((1, 3)), np.zeros(2), ChainCosts(1, 1, 1, 1))
