"""Average precision, ROC-AUC and accuracy on plain arrays, with ties decided and NaN refused.

Average precision depends on the order of equal scores, and on files with few distinct scores by more than models
differ. It is told as the expected value over random order of ties, with best and worst case. Ties *grouped*, as
scikit-learn has them, is a fourth number. ROC-AUC needs no such choice: a tied pair counts half.

Shape legend: Q queries, N candidates, M examples, C choices, R rows, D draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from mova.eval.metrics.bootstrap import Statistic

Array = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Precision:
    """Average precision in [0, 1].

    Attributes:
        expected: over random order of ties.
        best, worst: what the best and the worst order of ties give.
        grouped: all candidates of one score enter at once, as in scikit-learn.
    """

    expected: float
    best: float
    worst: float
    grouped: float


def average_precision(scores: npt.ArrayLike, right: npt.ArrayLike) -> Precision:
    """Mean, over the right candidates, of the precision at their place (no interpolation).

    In a group of m equal scores, p of them right, after n candidates of which h are right, the candidate at the i-th
    place of the group is right with probability p / m, and then i - 1 others hold (i-1)(p-1)/(m-1) right ones on
    average. So the expected sum over the group is sum_i p/m (h + 1 + (i-1)(p-1)/(m-1)) / (n + i).

    Args:
        scores: (N,), higher is better.
        right: (N,) booleans; one at least is true.

    Raises:
        ValueError: shapes differ, a NaN, or nothing is right.
    """
    values, truth = _pair(scores, right)
    if not truth.any():
        raise ValueError("average precision of a query without right candidates has no value: leave the query out")
    _, group, sizes = np.unique(-values, return_inverse=True, return_counts=True)
    hits = np.bincount(group, weights=truth, minlength=len(sizes))
    before, found = np.cumsum(sizes) - sizes, np.cumsum(hits) - hits
    place = np.arange(1, len(values) + 1)
    of = np.repeat(np.arange(len(sizes)), sizes)
    inside = place - before[of]  # place within the group, from 1
    m, p, h = sizes[of], hits[of], found[of]
    others = (inside - 1) * (p - 1) / np.maximum(m - 1, 1)
    expected = np.where(p > 0, p / m * (h + 1 + others) / place, 0.0).sum()
    best = np.where(inside <= p, (h + inside) / place, 0.0).sum()
    last = inside - (m - p)
    worst = np.where(last > 0, (h + last) / place, 0.0).sum()
    grouped = (hits * np.cumsum(hits) / np.cumsum(sizes)).sum()
    return Precision(*(float(area / truth.sum()) for area in (expected, best, worst, grouped)))


def mean_average_precision(scores: Array, right: Bools) -> Precision:
    """Mean of `average_precision` over queries: (Q, N) scores and booleans.

    Raises:
        ValueError: as there, with the query's index.
    """
    if np.shape(scores) != np.shape(right) or np.ndim(scores) != 2 or len(scores) == 0:
        raise ValueError(f"scores and right (Q, N) expected, not {np.shape(scores)} and {np.shape(right)}")
    rows = []
    for query, (row, truth) in enumerate(zip(scores, right, strict=True)):
        try:
            rows.append(average_precision(row, truth))
        except ValueError as error:
            raise ValueError(f"query {query}: {error}") from error
    columns = ((r.expected, r.best, r.worst, r.grouped) for r in rows)
    return Precision(*(float(np.mean(column)) for column in zip(*columns, strict=True)))


def roc_auc(scores: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Probability that a right example scores above a wrong one, in [0, 1]; a tie counts half.

    Args:
        scores: (M,).
        right: (M,) booleans of both kinds.

    Raises:
        ValueError: shapes differ, a NaN, or only one kind.
    """
    values, truth = _pair(scores, right)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        raise ValueError(f"ROC-AUC needs right and wrong examples, not {positives} right and {negatives} wrong")
    above = rankdata(values)[truth].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def auc_over_rows(true: Sequence[Sequence[float]], false: Sequence[Sequence[float]]) -> Statistic:
    """ROC-AUC in percent as a statistic of drawn rows, for bootstraps: what belongs to one video is drawn together.

    Args:
        true: R lists of scores, one at least each: the right examples of each row.
        false: R lists, one at least each: the wrong ones.

    Returns:
        (D, R') places of drawn rows -> (D,) figures, each as `roc_auc` of all their examples.

    Raises:
        ValueError: other numbers of rows, a row without examples of a kind, or a NaN.
    """
    if len(true) != len(false) or not len(true) or not all(map(len, true)) or not all(map(len, false)):
        raise ValueError("ROC-AUC over rows needs right and wrong examples in every row")
    owners = [np.repeat(np.arange(len(rows)), [len(row) for row in rows]) for rows in (true, false)]
    scores = [np.concatenate([np.asarray(row, dtype=np.float64) for row in rows]) for rows in (true, false)]
    if np.isnan(np.concatenate(scores)).any():
        raise ValueError("a score is NaN; nothing can be ranked by it")
    levels = np.unique(np.concatenate(scores))
    sides = [(np.searchsorted(levels, values), owner) for values, owner in zip(scores, owners, strict=True)]

    def statistic(drawn: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """A row that is drawn twice counts twice."""
        figures = []
        for places in drawn.astype(np.int64):
            times = np.bincount(places, minlength=len(true))
            up, down = (np.bincount(at, weights=times[owner], minlength=len(levels)) for at, owner in sides)
            below = np.cumsum(down) - down / 2
            figures.append(100.0 * (up * below).sum() / (up.sum() * down.sum()))
        return np.array(figures)

    return statistic


def choice_hits(scores: Array, answers: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Multiple choice: probability that the answer is chosen where ties are broken at random.

    Args:
        scores: (Q, C); `-inf` pads questions with fewer choices.
        answers: (Q,), index of the right choice.

    Returns:
        (Q,), 1 over the number of top choices where the answer is one of them, else 0.

    Raises:
        ValueError: shapes differ, a NaN (with the question's index), or an answer that is padding.
    """
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(answers)
    if scores.ndim != 2 or right.shape != (len(scores),) or scores.size == 0:
        raise ValueError(f"scores (Q, C) and answers (Q,) expected, not {scores.shape} and {right.shape}")
    bad = np.flatnonzero(np.isnan(scores).any(axis=1))
    if len(bad):
        raise ValueError(f"scores of question {bad[0]} hold NaN ({len(bad)} such questions)")
    if (right < 0).any() or (right >= scores.shape[1]).any():
        raise ValueError(f"answers must lie in [0, {scores.shape[1]}), not in [{right.min()}, {right.max()}]")
    own = scores[np.arange(len(scores)), right]
    if np.isneginf(own).any():
        raise ValueError(f"the answer of question {np.flatnonzero(np.isneginf(own))[0]} is padding (-inf)")
    top = scores == scores.max(axis=1, keepdims=True)
    return np.where(top[np.arange(len(scores)), right], 1 / top.sum(axis=1), 0.0)


def _pair(scores: npt.ArrayLike, right: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], Bools]:
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(right)
    if values.ndim != 1 or truth.shape != values.shape or not np.isin(truth, (0, 1)).all():
        raise ValueError(f"scores and 0/1 labels of one length expected, not {values.shape} and {truth.shape}")
    bad = np.flatnonzero(np.isnan(values))
    if len(bad):
        raise ValueError(f"score {bad[0]} is NaN ({len(bad)} such scores); nothing can be ranked by it")
    return values, truth.astype(bool)
