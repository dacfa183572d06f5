"""Exact inference in a chain of sentences: marginals, the best timeline, and the evidence of the chain.

The states of a frame are "sentence k" and "no sentence, after sentence k". A path through the video visits the
sentences in order and may skip some:

    none 0   sentence 1   none 1   sentence 2   none 2   ...   none K

The model is a conditional random field (Lafferty et al. 2001): a path's weight is the exponential of the sum of its
emissions (log-odds that a frame shows a sentence rather than none) and of its changes of state. Where the picture
changes, a change of state costs less. All sums run over prefixes, so the time is linear in frames times sentences.

Sentences that do not depend on each other have a chain each: not yet shown, shown, shown before.

Weights are summed without logarithms over blocks of a few frames, relative to the weight of each state at one end of
the block: within it, a state grows or shrinks by a bounded factor. Blocks of one frame are computed in logarithms, and
so are those where neighboring states differ too much. The beginnings of paths are kept at the ends of blocks only.

Shape legend: K sentences, T frames, B frames of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dtbsv

Array = npt.NDArray[np.float64]
Logs = tuple[Array, Array]
"""Log-weights of sentences, (K,), and of none after k sentences, (K + 1,)."""
LOW = -1e30
"""Logarithm of zero: a path that is not possible."""
BLOCK_NATS = 200.0
"""Bound of the logarithm by which a state grows or shrinks within a block."""
LARGEST_RATIO = 40.0
"""Largest logarithm of a ratio of states that a block is computed with: a state may lead to another over up to three
changes, and products of two weights, below exp(2 * 200 + 6 * 40), must not overflow."""


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
        log_evidence: logarithm of the sum over all timelines, (); of independent sentences over those of each, (K,).

    Example:
        >>> never = np.array([[-4.0, -4, -4]])
        >>> result = infer_chain(never, np.zeros(3), ChainCosts(change=1, enter=1, skip=1, repeat=2))
        >>> result.shown.round(2), result.marginals.shape
        (array([0.11]), (1, 3))
    """

    marginals: npt.NDArray[np.float32]
    shown: Array
    log_evidence: Array


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
    return _infer(_Chain(*checked_chain(emissions, boundaries, costs), costs, ordered=True))


def infer_free(emissions: npt.ArrayLike, boundaries: npt.ArrayLike, costs: ChainCosts) -> ChainResult:
    """Return the distribution over timelines of each sentence by itself.

    Sentences may overlap in time and come in any order.

    Arguments and errors: see `infer_chain`.

    Example:
        >>> strong = np.array([[-4.0, 4, 4, 4], [4, 4, -4, -4]])
        >>> result = infer_free(strong, np.zeros(4), ChainCosts(change=1, enter=1, skip=1, repeat=2))
        >>> result.shown.round(2).tolist()
        [1.0, 1.0]
    """
    result = _infer(_Chain(*checked_chain(emissions, boundaries, costs), costs, ordered=False))
    present = -np.expm1(-costs.skip - result.log_evidence)
    return ChainResult(result.marginals, np.clip(present, 0.0, 1.0), result.log_evidence)


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


def _infer(chain: _Chain) -> ChainResult:
    """Sum over all paths: forward through the video to its end, then backward, block by block."""
    blocks, starts, logs = [*chain.blocks()], [], chain.start()
    for first, end in blocks:
        starts.append(logs)
        logs = chain.forward(first, end, logs)
    totals = chain.totals(logs)
    marginals = np.empty(chain.odds.shape[::-1], dtype=np.float32)
    entered, endings = np.zeros(len(marginals)), chain.endings()
    for (first, end), logs in zip(reversed(blocks), reversed(starts), strict=True):
        inside, arrivals, endings = chain.backward(first, end, logs, endings, totals)
        marginals[:, first:end] = np.minimum(inside, 1.0).T
        entered += arrivals
    marginals[:, 0] = np.minimum(np.exp(chain.start()[0] + endings[0] - totals), 1.0)
    return ChainResult(marginals, np.minimum(entered + marginals[:, 0], 1.0), totals)


@dataclass(frozen=True, eq=False)
class _Chain:
    """A chain of sentences, or one chain per sentence.

    Attributes:
        odds: (T, K), log-odds.
        changes: (T,), log-weight of a change of state before each frame.
        costs: of changes of state.
        ordered: whether it is one chain.
    """

    odds: Array
    changes: Array
    costs: ChainCosts
    ordered: bool

    @cached_property
    def slope(self) -> Array:
        """Cost of skipping all sentences before each, (K,)."""
        return np.arange(self.odds.shape[1], dtype=np.float64) * (self.costs.skip * self.ordered)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield the first frame of each block and the one after its last; the first frame of all is in none."""
        ways = np.log(self.odds.shape[1]) if self.ordered else 0.0
        ways = np.logaddexp.reduce([0.0, -self.costs.repeat, ways + self.costs.enter])
        rise = np.maximum(self.odds.max(axis=1), 0.0) + np.logaddexp(0.0, self.changes + ways)
        nats = np.maximum(rise, -self.odds.min(axis=1)).tolist()
        first, total = 1, np.inf  # before the first step some states are not possible
        for t in range(2, len(nats)):
            total += nats[t]
            if total > BLOCK_NATS:
                yield first, t
                first, total = t, nats[t]
        if len(nats) > 1:
            yield first, len(nats)

    def start(self) -> Logs:
        """Return the log-weights of the first frame."""
        none = np.full(self.odds.shape[1] + 1, LOW)
        none[0] = 0.0
        return self.costs.enter - self.slope + self.odds[0], none

    def endings(self) -> Logs:
        """Return the log-weights after the last frame; sentences after the last one shown are skipped."""
        none = -np.append(self.slope[::-1] + self.costs.skip * self.ordered, 0.0)
        return none[1:], none

    def totals(self, logs: Logs) -> Array:
        """Return the logarithm of the sum over all paths; see `ChainResult.log_evidence`."""
        (shown, none), (after_shown, after_none) = logs, self.endings()
        if self.ordered:
            return np.logaddexp.reduce(np.concatenate([shown + after_shown, none + after_none]))
        return np.logaddexp(np.logaddexp(shown, none[1:]), -self.costs.skip)

    def arrive(self, shown: Array, none: Array) -> Array:
        """Return the log-weight of being before each sentence, summed over the sentences skipped: (K,)."""
        if not self.ordered:
            return np.zeros(len(shown))
        reached = none[:-1].copy()
        np.logaddexp(reached[1:], shown[:-1], out=reached[1:])
        return np.logaddexp.accumulate(reached + self.slope) - self.slope

    def leave(self, arriving: Array) -> Array:
        """Return the log-weight of all endings that go on with a sentence or a later one: (K,).

        Args:
            arriving: (K,), of endings that begin with each sentence, its emission included.
        """
        return np.logaddexp.accumulate((arriving - self.slope)[::-1])[::-1] + self.slope

    def forward(self, first: int, end: int, logs: Logs) -> Logs:
        """Return the log-weights of all beginnings at the last frame of a block, from those before it."""
        block = _beginnings(self, first, end, logs)
        if block is not None:
            return block.last
        for t in range(first, end):
            logs = _step(self, t, logs)
        return logs

    def backward(self, first: int, end: int, logs: Logs, endings: Logs, totals: Array) -> tuple[Array, Array, Logs]:
        """Return the marginals of a block, (B, K), the probabilities that sentences are entered in it, and endings.

        Args:
            first, end: the block.
            logs: log-weights of all beginnings before it.
            endings: log-weights of all endings after it.
            totals: see `ChainResult.log_evidence`.
        """
        ahead, behind = _beginnings(self, first, end, logs), _endings(self, first, end, endings)
        if ahead is None or behind is None:
            return _logarithmic(self, first, end, logs, endings, totals)
        inside = ahead.shown * behind.shown
        inside *= np.exp(logs[0] + endings[0] - totals)
        passed = ahead.other * behind.other
        passed *= np.exp(self.changes[first:end])[:, None]
        entered = passed.sum(axis=0) * np.exp(ahead.other_logs + endings[0] + (self.costs.enter - totals))
        return inside, entered, behind.last


@dataclass(frozen=True, eq=False)
class _Block:
    """Weights in a block, relative to those at one of its ends.

    Attributes:
        shown: (B, K), of sentences.
        other: (B, K), of being before each sentence, or of endings that begin with it.
        other_logs: (K,), logarithms that `other` is relative to.
        last: log-weights at the other end.
    """

    shown: Array
    other: Array
    other_logs: Array
    last: Logs


def _ratios(*logs: Array) -> list[Array] | None:
    """Return exponentials, or None if one is too large."""
    if max(float(values.max(initial=LOW)) for values in logs) > LARGEST_RATIO:
        return None
    return [np.exp(values) for values in logs]


def _band(ratios: Array) -> Array:
    """Return 1 on the diagonal and minus the ratios below it, as a band matrix of BLAS."""
    band = np.ones((2, len(ratios) + 1), order="F")
    band[1, :-1] = -ratios
    return band


def _beginnings(chain: _Chain, first: int, end: int, logs: Logs) -> _Block | None:
    """Sum over all beginnings in a block; None if that needs logarithms."""
    shown_logs, none_logs = logs
    costs, arrive = chain.costs, chain.arrive(shown_logs, none_logs)
    ratios = end - first > 1 and _ratios(
        arrive + costs.enter - shown_logs,
        none_logs[1:] - costs.repeat - shown_logs,
        shown_logs - none_logs[1:],
        none_logs[:-1] - arrive if chain.ordered else arrive,
        shown_logs[:-1] - arrive[1:] if chain.ordered else arrive[1:],
        arrive[:-1] - costs.skip - arrive[1:],
    )
    if not ratios:
        return None
    enter, again, pause, from_none, from_shown, skip = ratios
    factors, change = np.exp(chain.odds[first:end]), np.exp(chain.changes[first:end]).tolist()
    rows, before, none = np.empty((len(factors) + 1, len(enter))), np.ones(factors.shape), np.ones(len(enter) + 1)
    rows[0], band = 1.0, _band(skip)
    for i, (factor, cheap) in enumerate(zip(factors, change, strict=True)):
        shown, later, reached = rows[i], rows[i + 1], before[i]
        if chain.ordered:
            np.multiply(from_none, none[:-1], out=reached)
            reached[1:] += from_shown * shown[:-1]
            before[i] = reached = dtbsv(1, band, reached, lower=1, diag=1, overwrite_x=1)
        np.multiply(enter, reached, out=later)
        later += again * none[1:]
        later *= cheap
        later += shown
        later *= factor
        none[1:] += (cheap * pause) * shown
    return _Block(rows[1:], before, arrive, (shown_logs + np.log(rows[-1]), none_logs + np.log(none)))


def _endings(chain: _Chain, first: int, end: int, logs: Logs) -> _Block | None:
    """Sum over all endings in a block; None if that needs logarithms."""
    shown_logs, none_logs = logs
    costs, ahead = chain.costs, chain.leave(shown_logs) if chain.ordered else np.full(len(shown_logs), LOW)
    ratios = end - first > 1 and _ratios(
        none_logs[1:] - shown_logs,
        shown_logs - costs.repeat - none_logs[1:],
        ahead + costs.enter - none_logs[:-1],
        ahead[1:] + costs.enter - shown_logs[:-1],
        shown_logs - ahead if chain.ordered else ahead,
        ahead[1:] - costs.skip - ahead[:-1],
    )
    if not ratios:
        return None
    pause, again, enter, onward, scale, skip = ratios
    factors, change = np.exp(chain.odds[first:end]), np.exp(chain.changes[first:end]).tolist()
    rows, none = np.empty(factors.shape), np.ones(len(none_logs))
    shown, band = np.ones(len(shown_logs)), _band(skip)
    for i in range(len(change) - 1, -1, -1):
        rows[i], arriving = shown, factors[i]
        arriving *= shown
        shown = pause * none[1:]
        none[1:] += (change[i] * again) * arriving
        if chain.ordered:
            goes_on = dtbsv(1, band, scale * arriving, lower=1, trans=1, diag=1, overwrite_x=1)
            shown[:-1] += onward * goes_on[1:]
            none[:-1] += (change[i] * enter) * goes_on
        shown *= change[i]
        shown += arriving
    return _Block(rows, factors, shown_logs, (shown_logs + np.log(shown), none_logs + np.log(none)))


def _step(chain: _Chain, t: int, logs: Logs) -> Logs:
    """Return the log-weights of all beginnings at frame t, from those one frame earlier."""
    (shown, none), change, costs = logs, float(chain.changes[t]), chain.costs
    entered = chain.arrive(shown, none) + (change + costs.enter)
    again = none[1:] + (change - costs.repeat)
    later = np.logaddexp(np.logaddexp(shown, entered), again) + chain.odds[t]
    pause = none.copy()
    np.logaddexp(none[1:], shown + change, out=pause[1:])
    return later, pause


def _step_back(chain: _Chain, t: int, logs: Logs) -> Logs:
    """Return the log-weights of all endings one frame before t, from those after it."""
    (shown, none), change, costs = logs, float(chain.changes[t]), chain.costs
    arriving = shown + chain.odds[t]
    ahead = np.full(len(none), LOW)
    if chain.ordered:
        ahead[:-1] = chain.leave(arriving) + (change + costs.enter)
    pause = np.logaddexp(none, ahead)
    np.logaddexp(pause[1:], arriving + (change - costs.repeat), out=pause[1:])
    return np.logaddexp(np.logaddexp(arriving, none[1:] + change), ahead[1:]), pause


def _logarithmic(
    chain: _Chain, first: int, end: int, logs: Logs, endings: Logs, totals: Array
) -> tuple[Array, Array, Logs]:
    """See `_Chain.backward`; everything in logarithms."""
    steps = [logs]
    for t in range(first, end):
        steps.append(_step(chain, t, steps[-1]))
    inside, entered = np.empty((end - first, len(logs[0]))), np.zeros(len(logs[0]))
    for t in range(end - 1, first - 1, -1):
        before, here = steps[t - first], steps[t - first + 1]
        inside[t - first] = np.exp(here[0] + endings[0] - totals)
        arriving = endings[0] + chain.odds[t] + (float(chain.changes[t]) + chain.costs.enter)
        entered += np.exp(chain.arrive(*before) + arriving - totals)
        endings = _step_back(chain, t, endings)
    return inside, entered, endings
