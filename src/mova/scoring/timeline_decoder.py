"""Decide on the timeline of a whole caption: is it in temporal order, which frames show each sentence, how sure?

Three hypotheses compete by their log-evidence. Without order, sentences come in the caption's order by chance only, and
that chance is counted (`log_chance`):

- ordered: all sentences in one chain (`mova.scoring.chain`);
- partly: a chain of most sentences; the others at any time, overlapping if need be;
- free: every sentence by itself.

Shape legend: K sentences, T frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from mova.scoring.best_paths import best_frames, best_path
from mova.scoring.chain import Array, ChainCosts, ChainResult, infer_chain, infer_free
from mova.scoring.emissions import AlignmentWeights, calibrate, calibrate_shown, position_odds
from mova.scoring.expected_overlap import least_posteriors
from mova.types import OrderChoice

Words = Callable[[Sequence[int], Sequence[float]], float]
"""Some sentences, and the probabilities that the video shows them -> log-odds of temporal order by their words."""
Order = Literal["auto", "yes", "no"]
"""Whether the sentences are in temporal order: decided by the evidence, yes, or no."""
ORDERS: tuple[Order, ...] = get_args(Order)
MISPLACED_NATS = 2.0
"""Price of a sentence outside the order, in addition to that of its place among K."""
LEAST_LOSS = 0.05
"""Probability of being shown that order must cost some sentence before it is doubted."""
MISPLACED_LOSS = 0.25
"""Probability of being shown that order must cost a sentence before that sentence may be outside it."""
TRUST = 0.5
"""Share of the differences of log-evidence that counts: frames of one event are not independent."""
LEAST_SHARE = 1e-3
"""Probability below which a hypothesis no longer counts."""
PRESENT = 0.5
"""Probability of being shown from which a sentence gets spans."""
ACCURACY_COSTS = ChainCosts(change=0.1, enter=0.0, skip=0.0, repeat=2.0)
"""Costs, in frames, that keep a timeline from flickering."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """The timeline of a caption.

    Attributes:
        posterior: float32, (K, T), probability that frame t shows sentence k.
        shown: float64, (K,), probability that sentence k is shown at all.
        covered: bool, (K, T), frames of each sentence in the timeline of the highest expected accuracy; none if it is
            probably not shown.
        order: the hypothesis that was chosen.

    Example:
        >>> odds = np.repeat([[4.0, 4, -4, -4], [-4, -4, -4, 4]], 5, axis=1)
        >>> decoded = decode(Evidence(odds, np.zeros(20), AlignmentWeights()))
        >>> decoded.order.choice, decoded.covered.sum(axis=1), decoded.shown.round(2)
        ('ordered', array([10,  5]), array([1., 1.]))
    """

    posterior: npt.NDArray[np.float32]
    shown: Array
    covered: npt.NDArray[np.bool_]
    order: OrderChoice


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that the hypotheses are judged by.

    Attributes:
        odds: (K, T), log-odds that a frame shows a sentence rather than none.
        boundaries: (T,), nats by which a change of state is cheaper before each frame.
        weights: of the model.
        presence: (K,), log-odds that a sentence is shown, beside those of the chain
            (`mova.scoring.emissions.presence_odds`).

    Example:
        >>> evidence = Evidence(np.zeros((2, 4)), np.zeros(4), AlignmentWeights())
        >>> evidence.costs.change, evidence.ordered_odds(np.array([0, 1])).round(1)
        (3.0, array([[ 0.2,  0.1, -0.1, -0.4],
               [-0.4, -0.1,  0.1,  0.2]]))
    """

    odds: Array
    boundaries: Array
    weights: AlignmentWeights
    presence: npt.ArrayLike = 0.0

    @property
    def costs(self) -> ChainCosts:
        """Costs of changes of state."""
        return self.weights.costs

    def ordered_odds(self, inside: npt.NDArray[np.int64]) -> Array:
        """Return the log-odds of some sentences, with the weighted log-density of their positions in order."""
        odds = self.odds if len(inside) == len(self.odds) else self.odds[inside]
        if self.weights.position == 0:
            return odds
        return odds + self.weights.position * position_odds(len(inside), self.odds.shape[1])


def decode(
    evidence: Evidence,
    order: Order = "auto",
    *,
    prior: Words = lambda inside, shown: 0.0,
    overlapping: Sequence[int] = (),
) -> Decoded:
    """Return the timeline of all sentences.

    Args:
        evidence: of relevance and of changes of the picture.
        order: "yes" and "no" decide; "auto" leaves it to the evidence.
        prior: returns the log-odds of temporal order of some sentences by their words (`mova.scoring.order`), given the
            probabilities that the video shows them.
        overlapping: sentences that are outside the order by their words.

    Raises:
        ValueError: another order, shapes do not agree, or a value is not finite.

    Example:
        >>> weights = AlignmentWeights()
        >>> odds = np.array([[-4.0, -4, 4, 4], [4, 4, -4, -4]])
        >>> decode(Evidence(np.repeat(odds, 5, axis=1), np.zeros(20), weights)).order.choice
        'free'
    """
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
    outside = tuple(sorted(set(overlapping)))
    if order == "no":
        everything = tuple(range(len(evidence.odds)))
        return _assemble(evidence, everything, OrderChoice("free", free=everything))
    if order == "yes":
        choice = "partly" if outside else "ordered"
        return _assemble(evidence, outside, OrderChoice(choice, free=outside))
    return _compare(evidence, prior, outside)


def _compare(evidence: Evidence, words: Words, outside: tuple[int, ...]) -> Decoded:
    """Weigh the hypotheses by their evidence; the most probable one decides on the spans."""
    sentences = len(evidence.odds)
    alone = infer_free(evidence.odds, evidence.boundaries, evidence.costs)
    if sentences == 1:
        return _finish(_Posterior(alone.marginals, alone.shown), evidence, (0,), OrderChoice("ordered"))
    gains = alone.log_evidence
    best, gain = _partly(evidence, outside, alone)
    first = "partly" if outside else "ordered"
    lost = alone.shown - best.shown
    prior = partial(_prior, evidence, words, calibrate_shown(alone.shown, evidence.weights, evidence.presence))
    ordered = prior(outside) + gain + float(gains[[*outside]].sum())
    logs = {"free": float(gains.sum()) + log_chance(alone.shown), first: ordered}
    found = {"free": (tuple(range(sentences)), _Posterior(alone.marginals, alone.shown)), first: (outside, best)}
    if float(lost.max()) < LEAST_LOSS:
        return _finish(best, evidence, outside, OrderChoice(first, logs, outside))
    added = np.setdiff1d(np.flatnonzero(lost > MISPLACED_LOSS), outside).tolist()
    extended = tuple(sorted([*outside, *added]))
    price = (np.log(sentences) + MISPLACED_NATS) * len(added)
    most = ordered - prior(outside) + prior(extended)
    most += float(gains[added].sum()) - price + evidence.costs.skip * len(added)
    if 0 < len(added) < sentences - len(outside) and _may_count(evidence, logs, most):
        posterior, gain = _partly(evidence, extended, alone)
        value = float(prior(extended) + gain + gains[[*extended]].sum() - price)
        if value > logs.get("partly", -np.inf):
            logs["partly"], found["partly"] = value, (extended, posterior)
    chosen = max(logs, key=lambda name: logs[name])
    mixed = _mixed(logs, {name: posterior for name, (_, posterior) in found.items()})
    return _finish(mixed, evidence, found[chosen][0], OrderChoice(chosen, logs, found[chosen][0]))


def _prior(evidence: Evidence, words: Words, shown: Array, outside: Sequence[int]) -> float:
    """Return the log-odds of temporal order by its weight and by words, with some sentences outside it."""
    inside = _others(evidence, outside)
    return evidence.weights.order + words(inside.tolist(), shown[inside].tolist())


def _may_count(evidence: Evidence, logs: Mapping[str, float], most: float) -> bool:
    """Return whether more sentences outside the order may have a probability of `LEAST_SHARE`.

    Every timeline of a shorter chain is one of the longer chain that skips the sentences taken out. So the evidence of
    the shorter one is at most that of the longer one and the costs of skipping. Expected positions depend on the number
    of sentences; with them, nothing is known.

    Args:
        most: the largest log-evidence that is possible without positions.
    """
    return evidence.weights.position != 0 or most > max(logs.values()) + np.log(LEAST_SHARE) / TRUST


def log_chance(shown: npt.ArrayLike) -> float:
    """Return the log-probability that sentences without an order of their own come in the order of the caption.

    Each order of the n sentences that the video shows is one of n!. How many those are is uncertain: the mean of 1 / n!
    is taken. Sentences that are not shown say nothing about the order.

    Args:
        shown: (K,), probabilities that the video shows each sentence.

    Example:
        >>> import math
        >>> [round(math.exp(log_chance(shown)), 3) for shown in ([1.0, 1.0, 1.0], [1.0, 1.0, 0.0])]
        [0.167, 0.5]
    """
    counts = np.ones(1)
    for probability in np.asarray(shown, dtype=np.float64):
        counts = np.append(counts, 0.0) * (1 - probability) + np.append(0.0, counts) * probability
    with np.errstate(divide="ignore"):
        return float(np.logaddexp.reduce(np.log(counts) - gammaln(np.arange(len(counts)) + 1)))


@dataclass(frozen=True, eq=False)
class _Posterior:
    """Posteriors (K, T) before calibration, and the probabilities (K,) that sentences are shown."""

    marginals: npt.NDArray[np.float32]
    shown: Array


def _mixed(logs: Mapping[str, float], posteriors: Mapping[str, _Posterior]) -> _Posterior:
    """Return the mean of the hypotheses, each weighted by its probability."""
    values = np.array([*logs.values()])
    shares = np.exp(TRUST * (values - values.max()))
    shares /= shares.sum()
    shares *= shares > LEAST_SHARE
    shares /= shares.sum()
    likely = [(share, posteriors[name]) for share, name in zip(shares, logs, strict=True) if share > 0]
    if len(likely) == 1:
        return likely[0][1]
    marginals = np.sum([np.float32(share) * posterior.marginals for share, posterior in likely], axis=0)
    return _Posterior(marginals, np.sum([share * posterior.shown for share, posterior in likely], axis=0))


def _partly(evidence: Evidence, outside: Sequence[int], alone: ChainResult | None) -> tuple[_Posterior, float]:
    """Return the posterior with some sentences outside the order, and the evidence of the chain of the others."""
    inside = _others(evidence, outside)
    if alone is None or len(inside) == len(evidence.odds):
        result = infer_chain(evidence.ordered_odds(inside), evidence.boundaries, evidence.costs)
        return _Posterior(result.marginals, result.shown), float(result.log_evidence)
    marginals, shown, gain = alone.marginals.copy(), alone.shown.copy(), 0.0
    if len(inside):
        result = infer_chain(evidence.ordered_odds(inside), evidence.boundaries, evidence.costs)
        gain = float(result.log_evidence)
        marginals[inside], shown[inside] = result.marginals, result.shown
    return _Posterior(marginals, shown), gain


def _others(evidence: Evidence, outside: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the sentences inside the order."""
    return np.setdiff1d(np.arange(len(evidence.odds)), np.asarray(outside, dtype=np.int64))


def _assemble(evidence: Evidence, outside: Sequence[int], choice: OrderChoice) -> Decoded:
    alone = infer_free(evidence.odds, evidence.boundaries, evidence.costs) if outside else None
    return _finish(_partly(evidence, outside, alone)[0], evidence, outside, choice, strict=True)


def _finish(
    raw: _Posterior, evidence: Evidence, outside: Sequence[int], choice: OrderChoice, strict: bool = False
) -> Decoded:
    """Calibrate posteriors, and decide which frames show which sentence.

    The timeline maximizes the sum of posteriors above a bound (`mova.scoring.expected_overlap`) over its frames, in
    order where there is one (maximum expected accuracy, as in alignments of sequences: Holmes and Durbin 1998). Unlike
    the most probable path, it is right on average even if no single path is probable. Sentences that are probably not
    shown have no frames. A sentence that is probably shown, but finds no place in order, is covered by itself, unless
    the order is strict.
    """
    shown = calibrate_shown(raw.shown, evidence.weights, evidence.presence)
    posterior = calibrate(raw.marginals, raw.shown, shown, evidence.weights)
    inside = _others(evidence, outside)
    posterior[inside] /= np.maximum(posterior[inside].sum(axis=0), 1.0)
    covered = np.zeros(posterior.shape, dtype=bool)
    flat = np.zeros(posterior.shape[1])
    least = least_posteriors(posterior)[:, None]
    present = np.flatnonzero(shown >= PRESENT)
    chained, others = np.intersect1d(inside, present), np.setdiff1d(present, inside)
    if len(chained):
        path = best_path(posterior[chained] - least[chained], flat, ACCURACY_COSTS)
        covered[chained] = path[None] == np.arange(len(chained))[:, None]
    if not strict:
        others = np.union1d(others, chained[~covered[chained].any(axis=1)])
    if len(others):
        covered[others] = best_frames(posterior[others] - least[others], flat, ACCURACY_COSTS)
    return Decoded(posterior, shown, covered, choice)
