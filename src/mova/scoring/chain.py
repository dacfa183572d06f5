"""Exact inference in a chain of sentences: marginals, the best timeline, and the evidence of the chain.

The states of a frame are "sentence k" and "no sentence, after sentence k". A path through the video visits the
sentences in order and may skip some:

    none 0   sentence 1   none 1   sentence 2   none 2   ...   none K

The model is a conditional random field (Lafferty et al. 2001): a path's weight is the exponential of the sum of its
emissions (log-odds that a frame shows a sentence rather than none) and of its changes of state. Where the picture
changes, a change of state costs less. All sums run over prefixes, so the time is linear in frames times sentences, and
everything is computed in logarithms.

Shape legend: K sentences, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
LOW = -1e30
"""Logarithm of zero: a path that is not possible."""


@dataclass(frozen=True)
class ChainCosts:
    """Log-weights of changes of state.

    Attributes:
        change: cost of every change of state, in nats; reduced where the picture changes.
        enter: reward for every sentence that is shown.
        skip: cost of every sentence that is skipped.
        repeat: additional cost of a sentence that is shown again after a pause.

    Example:
        >>> odds = np.array([[-4.0, -4, -4]])
        >>> costs = [ChainCosts(change=1, enter=1, skip=skip, repeat=2) for skip in (1, 8)]
        >>> [infer_chain(odds, np.zeros(3), cost).shown.round(2).item() for cost in costs]
        [0.11, 0.99]
    """

    change: float
    enter: float
    skip: float
    repeat: float


@dataclass(frozen=True, eq=False)
class ChainResult:
    """The distribution over timelines.

    Attributes:
        marginals: float32, (K, T), probability that frame t shows sentence k.
        shown: float64, (K,), probability that sentence k is shown at all.
        log_evidence: logarithm of the sum over all timelines.

    Example:
        >>> never = np.array([[-4.0, -4, -4]])
        >>> result = infer_chain(never, np.zeros(3), ChainCosts(change=1, enter=1, skip=1, repeat=2))
        >>> result.shown.round(2), result.marginals.shape
        (array([0.11]), (1, 3))
    """

    marginals: npt.NDArray[np.float32]
    shown: Array
    log_evidence: float


def infer_chain(emissions: npt.ArrayLike, boundaries: npt.ArrayLike, costs: ChainCosts) -> ChainResult:
    """Return the distribution over ordered timelines.

    Args:
        emissions: (K, T), K and T > 0, log-odds that a frame shows a sentence rather than none; finite.
        boundaries: (T,), nats by which a change of state between frames t - 1 and t is cheaper; the first is unused.
        costs: of changes of state.

    Raises:
        ValueError: the shapes do not agree, or a value is not finite.

    Example:
        >>> strong = np.array([[4.0, 4, -4, -4, -4], [-4, -4, -4, 4, 4]])
        >>> result = infer_chain(strong, np.zeros(5), ChainCosts(change=1, enter=1, skip=1, repeat=2))
        >>> result.shown.round(2).tolist()
        [1.0, 1.0]
    """
    odds, changes = checked_chain(emissions, boundaries, costs)
    shown_logs, none_logs = _forward(odds, changes, costs)
    return _finish(odds, changes, costs, shown_logs, none_logs)


def checked_chain(emissions: npt.ArrayLike, boundaries: npt.ArrayLike, costs: ChainCosts) -> tuple[Array, Array]:
    """Return emissions as (T, K) and the log-weight of a change of state before each frame, (T,).

    Example:
        >>> odds, changes = checked_chain([[1.0, 2.0]], [0.0, 0.5], ChainCosts(change=1, enter=1, skip=1, repeat=2))
        >>> odds.shape, changes
        ((2, 1), array([-1. , -0.5]))
    """
    odds = np.asarray(emissions, dtype=np.float64)
    novelty = np.asarray(boundaries, dtype=np.float64)
    if odds.ndim != 2 or 0 in odds.shape or novelty.shape != odds.shape[1:]:
        raise ValueError(f"emissions must be (K, T), and boundaries (T,), not {odds.shape} and {novelty.shape}")
    if not (np.all(np.isfinite(odds)) and np.all(np.isfinite(novelty))):
        raise ValueError("emissions and boundaries must be finite")
    return np.ascontiguousarray(odds.T), novelty - costs.change


def _start(odds: Array, costs: ChainCosts) -> tuple[Array, Array]:
    """Return the log-weights of the first frame: of sentences (K,), and of none after k sentences (K + 1,)."""
    none = np.full(len(odds) + 1, LOW)
    none[0] = 0.0
    return costs.enter - costs.skip * np.arange(len(odds)) + odds, none


def _end(shown: Array, none: Array, costs: ChainCosts) -> Array:
    """Return the log-weights of all final states; sentences after the last one shown are skipped."""
    left = costs.skip * np.arange(len(none) - 1, -1, -1)
    return np.concatenate([shown - left[1:], none - left])


def _arrive(shown: Array, none: Array, costs: ChainCosts) -> Array:
    """Return the log-weight of being before each sentence, summed over the sentences skipped: (K,)."""
    reached = none[:-1].copy()
    np.logaddexp(reached[1:], shown[:-1], out=reached[1:])
    slope = costs.skip * np.arange(len(reached))
    return np.logaddexp.accumulate(reached + slope) - slope


def _step(shown: Array, none: Array, odds: Array, change: float, costs: ChainCosts) -> tuple[Array, Array]:
    entered = _arrive(shown, none, costs) + (change + costs.enter)
    again = none[1:] + (change - costs.repeat)
    later = np.logaddexp(np.logaddexp(shown, entered), again) + odds
    pause = none.copy()
    np.logaddexp(none[1:], shown + change, out=pause[1:])
    return later, pause


def _forward(odds: Array, changes: Array, costs: ChainCosts) -> tuple[Array, Array]:
    """Return the log-weights of all beginnings: of sentences, (T, K), and of none, (T, K + 1)."""
    frames, sentences = odds.shape
    shown_logs, none_logs = np.empty((frames, sentences)), np.empty((frames, sentences + 1))
    shown_logs[0], none_logs[0] = _start(odds[0], costs)
    for t in range(1, frames):
        before = shown_logs[t - 1], none_logs[t - 1]
        shown_logs[t], none_logs[t] = _step(*before, odds[t], float(changes[t]), costs)
    return shown_logs, none_logs


def _finish(odds: Array, changes: Array, costs: ChainCosts, shown_logs: Array, none_logs: Array) -> ChainResult:
    """Go backward through the video, and combine with the beginnings."""
    frames, sentences = odds.shape
    total = float(np.logaddexp.reduce(_end(shown_logs[-1], none_logs[-1], costs)))
    marginals = np.empty((sentences, frames), dtype=np.float32)
    entered = np.zeros(sentences)
    none: Array = -costs.skip * np.arange(sentences, -1, -1, dtype=np.float64)
    shown = none[1:]
    for t in range(frames - 1, -1, -1):
        marginals[:, t] = np.exp(shown_logs[t] + shown - total)
        arriving: Array = shown + odds[t]
        if t == 0:
            entered += marginals[:, 0]
            break
        change = float(changes[t])
        before = _arrive(shown_logs[t - 1], none_logs[t - 1], costs)
        entered += np.exp(before + (change + costs.enter) + arriving - total)
        shown, none = _step_back(arriving, none, change, costs)
    return ChainResult(np.minimum(marginals, 1.0), np.minimum(entered, 1.0), total)


def _step_back(arriving: Array, none: Array, change: float, costs: ChainCosts) -> tuple[Array, Array]:
    """Return the log-weights of all endings one frame earlier.

    Args:
        arriving: (K,) of endings that begin with a sentence, its emission included.
        none: (K + 1,) of endings that begin with none.
    """
    slope = costs.skip * np.arange(len(arriving))
    ahead = np.full(len(none), LOW)
    ahead[:-1] = np.logaddexp.accumulate((arriving - slope)[::-1])[::-1] + slope + (change + costs.enter)
    pause = np.logaddexp(none, ahead)
    np.logaddexp(pause[1:], arriving + (change - costs.repeat), out=pause[1:])
    shown = np.logaddexp(np.logaddexp(arriving, none[1:] + change), ahead[1:])
    return shown, pause


STAY, AGAIN = -1, -2


def best_path(emissions: npt.ArrayLike, boundaries: npt.ArrayLike, costs: ChainCosts) -> npt.NDArray[np.int64]:
    """Return the sentence of each frame on the path of the largest weight, (T,); -1 for none (Viterbi 1967).

    Arguments and errors: see `infer_chain`.

    Example:
        >>> strong = np.array([[4.0, 4, -4, -4, -4], [-4, -4, -4, 4, 4]])
        >>> best_path(strong, np.zeros(5), ChainCosts(change=1, enter=1, skip=1, repeat=2)).tolist()
        [0, 0, -1, 1, 1]
    """
    odds, changes = checked_chain(emissions, boundaries, costs)
    frames, sentences = odds.shape
    numbers = np.arange(sentences)
    slope = costs.skip * numbers
    origin = np.empty((frames, sentences), dtype=np.int32)
    paused = np.empty((frames, sentences + 1), dtype=bool)
    shown, none = _start(odds[0], costs)
    for t in range(1, frames):
        change = float(changes[t])
        direct = np.append(False, shown[:-1] > none[1:-1])
        reached = np.where(direct, np.append(LOW, shown[:-1]), none[:-1]) + slope
        best = np.maximum.accumulate(reached)
        source = np.maximum.accumulate(np.where(np.append(True, best[1:] > best[:-1]), numbers, 0))
        entered = best - slope + (change + costs.enter)
        again = none[1:] + (change - costs.repeat)
        origin[t] = np.where(again > shown, AGAIN, STAY)
        later = np.maximum(shown, again)
        origin[t] = np.where(entered > later, 2 * source + direct[source], origin[t])
        paused[t, 0] = True
        paused[t, 1:] = none[1:] >= shown + change
        none = np.append(none[:1], np.maximum(none[1:], shown + change))
        shown = np.maximum(later, entered) + odds[t]
    return _trace(int(np.argmax(_end(shown, none, costs))), origin, paused)


def _trace(last: int, origin: npt.NDArray[np.int32], paused: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Follow the origins back from the last state: a sentence, or K + i for none after i sentences."""
    frames, sentences = origin.shape
    path = np.full(frames, -1, dtype=np.int64)
    sentence, level = (last, -1) if last < sentences else (-1, last - sentences)
    for t in range(frames - 1, -1, -1):
        path[t] = sentence
        if t == 0:
            break
        if sentence < 0:
            if not paused[t, level]:
                sentence = level - 1
            continue
        step = int(origin[t, sentence])
        if step == AGAIN:
            sentence, level = -1, sentence + 1
        elif step != STAY:
            sentence, level = (step // 2 - 1, -1) if step % 2 else (-1, step // 2)
    return path
