"""Inference in the chain of sentences, against sums over all paths and over dense matrices of transitions."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from mova.scoring import chain
from mova.scoring.best_paths import best_path
from mova.scoring.chain import ChainCosts, infer_chain, infer_free
from tests.support.chains import dense


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


def _dense_sums(emissions: np.ndarray, boundaries: np.ndarray, costs: ChainCosts) -> tuple[np.ndarray, float]:
    """Return marginals and the log-evidence, everything in logarithms."""
    first, last, odds, steps = dense(emissions, boundaries, costs)
    forward, backward = [first], [last]
    for step, frame in zip(steps, odds[1:], strict=True):
        forward.append(np.logaddexp.reduce(forward[-1][:, None] + step, axis=0) + frame)
    for step, frame in zip(steps[::-1], odds[:0:-1], strict=True):
        backward.append(np.logaddexp.reduce(step + frame + backward[-1], axis=1))
    total = float(np.logaddexp.reduce(forward[-1] + last))
    return np.exp(np.array(forward) + np.array(backward[::-1]) - total)[:, 1::2].T, total


def _expect_exact(emissions: np.ndarray, boundaries: np.ndarray, costs: ChainCosts) -> None:
    marginals, total = _dense_sums(emissions, boundaries, costs)
    result = infer_chain(emissions, boundaries, costs)
    assert float(result.log_evidence) == pytest.approx(total, rel=1e-12, abs=1e-9)
    np.testing.assert_allclose(result.marginals, marginals, atol=1e-6)
    alone = infer_free(emissions, boundaries, costs)
    for k, row in enumerate(emissions):
        marginals, total = _dense_sums(row[None], boundaries, costs)
        assert alone.log_evidence[k] == pytest.approx(total, rel=1e-12, abs=1e-9)
        np.testing.assert_allclose(alone.marginals[k], marginals[0], atol=1e-6)


@pytest.mark.parametrize("scale", [0.1, 3.0, 12.0, 60.0, 900.0])
def test_long_chains_equal_dense_matrices(scale: float) -> None:
    """At the largest scales, blocks are a frame long, and weights differ by more than a float can hold."""
    rng = np.random.default_rng(int(scale))
    emissions, boundaries = rng.normal(-0.3, 1, (5, 120)) * scale, rng.normal(0, 1, 120)
    _expect_exact(emissions, boundaries, ChainCosts(change=3.0, enter=1.0, skip=2.0, repeat=4.0))


@pytest.mark.parametrize("costs", [(0, 0, 0, 0), (3, 5, 300, 1), (40, 2, 1, 900), (-2, 9, 0, 0)], ids=str)
def test_long_chains_with_unusual_costs(costs: tuple[float, float, float, float]) -> None:
    rng = np.random.default_rng(0)
    emissions, boundaries = rng.normal(-0.5, 4, (5, 90)), rng.normal(0, 3, 90)
    _expect_exact(emissions, boundaries, ChainCosts(*costs))


def test_a_late_sentence_is_found_although_every_early_one_fits_first() -> None:
    """The only good path has, for hundreds of frames, a share of all weights far below the smallest float."""
    emissions = np.full((2, 900), -9.0)
    emissions[0, :400], emissions[1, 400:] = 4.0, 4.0
    emissions[0, 500:] = 8.0
    costs = ChainCosts(change=3.0, enter=1.0, skip=2.0, repeat=4.0)
    marginals, _ = _dense_sums(emissions, np.zeros(900), costs)
    np.testing.assert_allclose(infer_chain(emissions, np.zeros(900), costs).marginals, marginals, atol=1e-6)


def test_blocks_cover_all_frames_once() -> None:
    rng = np.random.default_rng(1)
    for frames in (1, 2, 3, 50):
        odds = rng.normal(0, 5, (3, frames))
        blocks = [*chain._Chain(odds.T, np.full(frames, -1.0), ChainCosts(1, 1, 1, 1), True).blocks()]
        assert [t for first, end in blocks for t in range(first, end)] == [*range(1, frames)]
    assert len(blocks) < 25, "several frames a block"


def _sum_of_sentence(odds: np.ndarray, boundaries: np.ndarray, costs: ChainCosts) -> tuple[np.ndarray, float, float]:
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
        marginals, shown, evidence = _sum_of_sentence(odds, boundaries, costs)
        np.testing.assert_allclose(result.marginals[k], marginals, atol=1e-6)
        assert result.shown[k] == pytest.approx(shown)
        assert result.log_evidence[k] == pytest.approx(evidence)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        infer_free([[0.0, np.nan]], np.zeros(2), ChainCosts(1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"emissions must be \(K, T\)"):
        infer_free(np.zeros((1, 3)), np.zeros(2), ChainCosts(1, 1, 1, 1))
