"""The chain of sentences as one dense matrix of transitions, for tests of its inference."""

from __future__ import annotations

import numpy as np

from mova.scoring.chain import ChainCosts

IMPOSSIBLE = -np.inf


def transitions(sentences: int, change: float, costs: ChainCosts) -> np.ndarray:
    """Return the log-weight of going from one state to another; state 2k + 1 is sentence k, 2i none after i sentences.

    Args:
        sentences: number of sentences.
        change: log-weight of a change of state.
        costs: of everything else.
    """
    matrix = np.full((2 * sentences + 1,) * 2, IMPOSSIBLE)
    np.fill_diagonal(matrix, 0.0)
    for k in range(sentences):
        for before in range(k + 1):
            matrix[2 * before, 2 * k + 1] = change + costs.enter - costs.skip * (k - before)
            if before < k:
                matrix[2 * before + 1, 2 * k + 1] = change + costs.enter - costs.skip * (k - before - 1)
        matrix[2 * k + 1, 2 * k + 2] = change
        matrix[2 * k + 2, 2 * k + 1] = change - costs.repeat
    return matrix


def dense(
    emissions: np.ndarray, boundaries: np.ndarray, costs: ChainCosts
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return log-weights of the first and the last states, emissions of all states (T, states), and all transitions."""
    sentences, frames = emissions.shape
    odds = np.zeros((frames, 2 * sentences + 1))
    odds[:, 1::2] = emissions.T
    first = transitions(sentences, 0.0, costs)[0] + odds[0]
    levels = (np.arange(2 * sentences + 1) + 1) // 2
    last = -costs.skip * (sentences - levels)
    steps = [transitions(sentences, novelty - costs.change, costs) for novelty in boundaries[1:]]
    return first, last, odds, steps
