"""Exact inference for sentences that do not depend on each other: one chain per sentence.

A sentence has three states: not yet shown, shown, and shown before. This is the chain of `mova.scoring.chain` for a
caption of one sentence, computed for all sentences at once. Sentences may overlap in time and come in any order.

Shape legend: K sentences, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mova.scoring.chain import LOW, Array, ChainCosts, checked_chain

STAY, ENTER, AGAIN = 0, 1, 2


@dataclass(frozen=True, eq=False)
class FreeResult:
    """The distribution over timelines of independent sentences.

    Attributes:
        marginals: float32, (K, T), probability that frame t shows sentence k.
        shown: float64, (K,), probability that sentence k is shown at all.
        log_evidence: (K,), logarithm of the sum over all timelines of a sentence.

    Example:
        >>> odds = np.array([[-4.0, 4, 4], [-4, -4, -4]])
        >>> infer_free(odds, np.zeros(3), ChainCosts(change=1, enter=1, skip=1, repeat=2)).shown.round(2)
        array([1.  , 0.11])
    """

    marginals: npt.NDArray[np.float32]
    shown: Array
    log_evidence: Array


def infer_free(emissions: npt.ArrayLike, boundaries: npt.ArrayLike, costs: ChainCosts) -> FreeResult:
    """Return the distribution over timelines of each sentence by itself.

    Arguments and errors: see `mova.scoring.chain.infer_chain`.

    Example:
        >>> strong = np.array([[-4.0, 4, 4, 4], [4, 4, -4, -4]])
        >>> result = infer_free(strong, np.zeros(4), ChainCosts(change=1, enter=1, skip=1, repeat=2))
        >>> result.shown.round(2).tolist()
        [1.0, 1.0]
    """
    odds, changes = checked_chain(emissions, boundaries, costs)
    shown, after, logs = costs.enter + odds[0], np.full(odds.shape[1], LOW), np.empty(odds.shape)
    logs[0] = shown
    for t in range(1, len(odds)):
        shown, after = _step(shown, after, odds[t], float(changes[t]), costs)
        logs[t] = shown
    total = np.logaddexp(np.logaddexp(shown, after), -costs.skip)
    marginals = np.empty(odds.shape[::-1], dtype=np.float32)
    shown, after = np.zeros(odds.shape[1]), np.zeros(odds.shape[1])
    for t in range(len(odds) - 1, -1, -1):
        marginals[:, t] = np.exp(logs[t] + shown - total)
        arriving, change = shown + odds[t], float(changes[t])
        shown = np.logaddexp(arriving, after + change)
        after = np.logaddexp(after, arriving + (change - costs.repeat))
    present = -np.expm1(-costs.skip - total)
    return FreeResult(np.minimum(marginals, 1.0), np.clip(present, 0.0, 1.0), total)


def _step(shown: Array, after: Array, odds: Array, change: float, costs: ChainCosts) -> tuple[Array, Array]:
    entered = np.logaddexp(np.logaddexp(shown, change + costs.enter), after + (change - costs.repeat))
    return entered + odds, np.logaddexp(after, shown + change)


def best_frames(emissions: npt.ArrayLike, boundaries: npt.ArrayLike, costs: ChainCosts) -> npt.NDArray[np.bool_]:
    """Return the frames of each sentence on its path of the largest weight, bool, (K, T) (Viterbi 1967).

    Arguments and errors: see `mova.scoring.chain.infer_chain`.

    Example:
        >>> strong = np.array([[-4.0, 4, 4, 4], [4, 4, -4, -4]])
        >>> best_frames(strong, np.zeros(4), ChainCosts(change=1, enter=1, skip=1, repeat=2)).astype(int).tolist()
        [[0, 1, 1, 1], [1, 1, 0, 0]]
    """
    odds, changes = checked_chain(emissions, boundaries, costs)
    frames, sentences = odds.shape
    origin = np.zeros((frames, sentences), dtype=np.int8)
    paused = np.zeros((frames, sentences), dtype=bool)
    shown, after = costs.enter + odds[0], np.full(sentences, LOW)
    for t in range(1, frames):
        change = float(changes[t])
        again, entered = after + (change - costs.repeat), change + costs.enter
        best = np.maximum(shown, again)
        origin[t] = np.where(entered > best, ENTER, np.where(again > shown, AGAIN, STAY))
        paused[t] = after >= shown + change
        shown, after = np.maximum(best, entered) + odds[t], np.maximum(after, shown + change)
    covered = np.zeros((sentences, frames), dtype=bool)
    before = np.full(sentences, -costs.skip)
    state = np.argmax([before, shown, after], axis=0)
    for t in range(frames - 1, -1, -1):
        on = state == 1
        covered[:, t] = on
        step = np.where(on, origin[t], STAY)
        leaving = (state == 2) & ~paused[t]
        state = np.where(step == ENTER, 0, np.where(step == AGAIN, 2, np.where(leaving, 1, state)))
    return covered
