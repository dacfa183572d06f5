"""The timelines of the largest weight, for sentences in order and for sentences that do not depend on each other.

The states and their weights are those of `mova.scoring.chain`.

Shape legend: K sentences, T frames.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mova.scoring.chain import LOW, ChainCosts, checked_chain

STAY, AGAIN, ENTER = -2, -1, 0
"""How a sentence came to be shown in a frame. In a chain, codes from `ENTER` on also say after which state."""


def best_path(emissions: npt.ArrayLike, boundaries: npt.ArrayLike, costs: ChainCosts) -> npt.NDArray[np.int64]:
    """Return the sentence of each frame on the path of the largest weight, (T,); -1 for none (Viterbi 1967).

    Arguments and errors: see `mova.scoring.chain.infer_chain`.

    Example:
        >>> strong = np.array([[4.0, 4, -4, -4, -4], [-4, -4, -4, 4, 4]])
        >>> best_path(strong, np.zeros(5), ChainCosts(change=1, enter=1, skip=1, repeat=2)).tolist()
        [0, 0, -1, 1, 1]
    """
    odds, changes = checked_chain(emissions, boundaries, costs)
    frames, sentences = odds.shape
    slope = costs.skip * np.arange(sentences)
    doubled = 2 * np.arange(sentences, dtype=np.int32)
    origin = np.empty((frames, sentences), dtype=np.int32)
    paused = np.ones((frames, sentences + 1), dtype=bool)
    shown, none = costs.enter - slope + odds[0], np.append(0.0, np.full(sentences, LOW))
    reached, direct, first = np.empty(sentences), np.zeros(sentences, dtype=bool), np.ones(sentences, dtype=bool)
    for t in range(1, frames):
        change = float(changes[t])
        reached[0] = none[0]
        np.maximum(shown[:-1], none[1:-1], out=reached[1:])
        np.greater(shown[:-1], none[1:-1], out=direct[1:])
        reached += slope
        entered = np.maximum.accumulate(reached)
        np.greater(entered[1:], entered[:-1], out=first[1:])
        source = np.maximum.accumulate((doubled + direct) * first)
        entered -= slope
        entered += change + costs.enter
        again = none[1:] + (change - costs.repeat)
        origin[t] = STAY
        np.copyto(origin[t], AGAIN, where=again > shown)
        later = np.maximum(shown, again)
        np.copyto(origin[t], source, where=entered > later)
        shown += change
        np.greater_equal(none[1:], shown, out=paused[t, 1:])
        np.maximum(none[1:], shown, out=none[1:])
        shown = np.maximum(later, entered, out=later)
        shown += odds[t]
    left = costs.skip * np.arange(sentences, -1, -1)
    return _trace(int(np.argmax(np.concatenate([shown - left[1:], none - left]))), origin, paused)


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
        origin[t] = STAY
        np.copyto(origin[t], AGAIN, where=again > shown)
        np.copyto(origin[t], ENTER, where=entered > best)
        shown += change
        np.greater_equal(after, shown, out=paused[t])
        np.maximum(after, shown, out=after)
        shown = np.maximum(best, entered, out=best)
        shown += odds[t]
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
