"""Average precision, ROC-AUC and accuracy, with a defined treatment of ties; NaN is rejected.

Average precision depends on the order of tied scores; on files with few distinct scores, by more than models differ. It
is reported as the expected value over a random order of ties, with best and worst case. *Grouped* ties, as in
scikit-learn, give a fourth number. ROC-AUC needs no such choice: a tied pair counts half.

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
        expected: over a random order of ties.
        best, worst: for the best and the worst order of ties.
        grouped: all candidates with the same score enter at once, as in scikit-learn.

    >>> average_precision([0.5, 0.5, 0.1], [True, False, True]).grouped
    0.5833333333333333
    """

    expected: float
    best: float
    worst: float
    grouped: float


def average_precision(scores: npt.ArrayLike, right: npt.ArrayLike) -> Precision:
    """Return the mean precision at the ranks of the right candidates, without interpolation.

    Take a group of m tied scores, p of them right, after n candidates of which h are right. The candidate at position i
    of the group is right with probability p / m, and the i - 1 before it then contain (i-1)(p-1)/(m-1) right ones on
    average. The expected sum over the group is therefore sum_i p/m (h + 1 + (i-1)(p-1)/(m-1)) / (n + i).

    >>> average_precision([0.9, 0.8, 0.7], [True, False, True]).expected
    0.8333333333333333
    >>> tied = average_precision([0.5, 0.5], [True, False])
    >>> tied.expected, tied.best, tied.worst
    (0.75, 1.0, 0.5)

    Args:
        scores: (N,), higher is better.
        right: (N,) booleans, at least one of them true.

    Raises:
        ValueError: shapes differ, a NaN, or nothing is right.
    """
    values, truth = _pair(scores, right)
    if not truth.any():
        raise ValueError("average precision is undefined for a query without correct candidates; exclude the query")
    _, group, sizes = np.unique(-values, return_inverse=True, return_counts=True)
    hits = np.bincount(group, weights=truth, minlength=len(sizes))
    before, hits_before = np.cumsum(sizes) - sizes, np.cumsum(hits) - hits
    rank = np.arange(1, len(values) + 1)
    of = np.repeat(np.arange(len(sizes)), sizes)
    inside = rank - before[of]  # rank within the group, from 1
    m, p, h = sizes[of], hits[of], hits_before[of]
    others = (inside - 1) * (p - 1) / np.maximum(m - 1, 1)
    expected = np.where(p > 0, p / m * (h + 1 + others) / rank, 0.0).sum()
    best = np.where(inside <= p, (h + inside) / rank, 0.0).sum()
    last = inside - (m - p)
    worst = np.where(last > 0, (h + last) / rank, 0.0).sum()
    grouped = (hits * np.cumsum(hits) / np.cumsum(sizes)).sum()
    return Precision(*(float(area / truth.sum()) for area in (expected, best, worst, grouped)))


def mean_average_precision(scores: Array, right: Bools) -> Precision:
    """Return the mean of `average_precision` over queries, from scores and booleans (Q, N).

    >>> mean_average_precision(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([[True, False], [False, True]])).expected
    0.75

    Raises:
        ValueError: as `average_precision`, with the query's index.
    """
    if np.shape(scores) != np.shape(right) or np.ndim(scores) != 2 or len(scores) == 0:
        raise ValueError(f"scores and right must be (Q, N), not {np.shape(scores)} and {np.shape(right)}")
    rows = []
    for query, (row, truth) in enumerate(zip(scores, right, strict=True)):
        try:
            rows.append(average_precision(row, truth))
        except ValueError as error:
            raise ValueError(f"query {query}: {error}") from error
    columns = ((r.expected, r.best, r.worst, r.grouped) for r in rows)
    return Precision(*(float(np.mean(column)) for column in zip(*columns, strict=True)))


def roc_auc(scores: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Return the probability that a right example scores above a wrong one, in [0, 1]; a tie counts half.

    >>> roc_auc([0.9, 0.5, 0.5, 0.1], [True, True, False, False])
    0.875

    Args:
        scores: (M,).
        right: (M,) booleans, both values present.

    Raises:
        ValueError: shapes differ, a NaN, or only one value is present.
    """
    values, truth = _pair(scores, right)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        raise ValueError(
            f"ROC-AUC needs correct and incorrect examples, not {positives} correct and {negatives} incorrect"
        )
    above = rankdata(values)[truth].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def auc_over_rows(true: Sequence[Sequence[float]], false: Sequence[Sequence[float]]) -> Statistic:
    """Return ROC-AUC in percent as a bootstrap statistic of rows, so that all examples of a video are drawn together.

    >>> auc_over_rows([[0.9], [0.4]], [[0.1], [0.5]])(np.array([[0, 1]]))
    array([75.])

    Args:
        true: R non-empty lists of scores: the right examples of each row.
        false: R non-empty lists of scores: the wrong ones.

    Returns:
        Function from indices of drawn rows (D, R') to figures (D,): `roc_auc` of all their examples, in percent.

    Raises:
        ValueError: the numbers of rows differ, a row has no right or no wrong example, or a NaN.
    """
    if len(true) != len(false) or not len(true) or not all(map(len, true)) or not all(map(len, false)):
        raise ValueError("ROC-AUC over rows needs correct and incorrect examples in every row")
    owners = [np.repeat(np.arange(len(rows)), [len(row) for row in rows]) for rows in (true, false)]
    scores = [np.concatenate([np.asarray(row, dtype=np.float64) for row in rows]) for rows in (true, false)]
    if np.isnan(np.concatenate(scores)).any():
        raise ValueError("a score is NaN and cannot be ranked")
    levels = np.unique(np.concatenate(scores))
    sides = [(np.searchsorted(levels, values), owner) for values, owner in zip(scores, owners, strict=True)]

    def statistic(drawn: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return one AUC in percent per draw; each draw is an array of row indices."""
        figures = []
        for rows in drawn.astype(np.int64):
            weights = np.bincount(rows, minlength=len(true))  # a row that is drawn twice counts twice
            up, down = (np.bincount(at, weights=weights[owner], minlength=len(levels)) for at, owner in sides)
            below = np.cumsum(down) - down / 2
            figures.append(100.0 * (up * below).sum() / (up.sum() * down.sum()))
        return np.array(figures)

    return statistic


def choice_hits(scores: Array, answers: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the probability that the right choice is chosen, with ties broken at random.

    >>> choice_hits(np.array([[0.2, 0.7], [0.5, 0.5]]), [1, 0])
    array([1. , 0.5])

    Args:
        scores: (Q, C); `-inf` pads questions with fewer choices.
        answers: (Q,), index of the right choice.

    Returns:
        (Q,): 1 over the number of top choices if the answer is one of them, else 0.

    Raises:
        ValueError: shapes differ, a NaN (with the question's index), or an answer that is padding.
    """
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(answers)
    if scores.ndim != 2 or right.shape != (len(scores),) or scores.size == 0:
        raise ValueError(f"expected scores (Q, C) and answers (Q,), not {scores.shape} and {right.shape}")
    bad = np.flatnonzero(np.isnan(scores).any(axis=1))
    if len(bad):
        raise ValueError(f"scores of question {bad[0]} contain NaN ({len(bad)} such questions)")
    if (right < 0).any() or (right >= scores.shape[1]).any():
        raise ValueError(f"answers must be in [0, {scores.shape[1]}), not in [{right.min()}, {right.max()}]")
    answer_scores = scores[np.arange(len(scores)), right]
    if np.isneginf(answer_scores).any():
        raise ValueError(f"the answer of question {np.flatnonzero(np.isneginf(answer_scores))[0]} is padding (-inf)")
    top = scores == scores.max(axis=1, keepdims=True)
    return np.where(top[np.arange(len(scores)), right], 1 / top.sum(axis=1), 0.0)


def _pair(scores: npt.ArrayLike, right: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], Bools]:
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(right)
    if values.ndim != 1 or truth.shape != values.shape or not np.isin(truth, (0, 1)).all():
        raise ValueError(f"scores and 0/1 labels must have the same length, not {values.shape} and {truth.shape}")
    bad = np.flatnonzero(np.isnan(values))
    if len(bad):
        raise ValueError(f"score {bad[0]} is NaN and cannot be ranked ({len(bad)} such scores)")
    return values, truth.astype(bool)
