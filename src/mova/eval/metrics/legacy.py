"""Legacy arithmetic of public code, reproduced to explain published figures; never used for mova's own.

CLIP4Clip's `compute_metrics` sorts each row of scores and takes one entry for every score equal to the diagonal's. A
query with ties yields several entries, a row with NaN yields none, and percentages are of entries, not of queries.
Forks inherited it (X-CLIP, DRL, CLIP-ViP: 1008 entries from 1000 queries).

VideoCon's evaluation of SSv2 sorts with `numpy.argsort`, which leaves the order of tied scores undefined: it depends on
the processor. Its published scores have only 24 distinct values, so its figures depend on it too.

Shape legend: Q queries, N candidates, E entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mova.eval.metrics.ranking import KS

Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Clip4ClipReport:
    """Figures of the legacy arithmetic, and how it counts the queries.

    Attributes:
        metrics: "R@K" in percent of entries, "MdR", "MnR".
        queries: rows of the matrix.
        entries: ranks that were counted.
        several: queries that count more than once.
        lost: queries that do not count.

    >>> for line in clip4clip(np.array([[0.9, 0.1], [0.5, 0.5]])).differences:
    ...     print(line)
    1 queries with ties count several times, once for each tied candidate
    percentages are of 3 entries, not of 2 queries
    """

    metrics: dict[str, float]
    queries: int
    entries: int
    several: int
    lost: int

    @property
    def differences(self) -> tuple[str, ...]:
        """Sentences about every difference from one rank per query; empty if there is none."""
        lines = []
        if self.several:
            lines.append(f"{self.several} queries with ties count several times, once for each tied candidate")
        if self.lost:
            lines.append(f"{self.lost} queries with NaN are dropped silently")
        if self.several or self.lost:
            lines.append(f"percentages are of {self.entries} entries, not of {self.queries} queries")
        return tuple(lines)


def clip4clip(scores: Array, ks: tuple[int, ...] = KS) -> Clip4ClipReport:
    """Apply the arithmetic of CLIP4Clip's `metrics.py` to a square matrix whose diagonal is right.

    >>> report = clip4clip(np.array([[0.9, 0.1], [0.5, 0.5]]))
    >>> report.entries, round(report.metrics["R@1"], 2)
    (3, 66.67)

    Raises:
        ValueError: the matrix is not square or empty, or no entry is left.
    """
    values = np.asarray(scores)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not len(values):
        raise ValueError(f"clip4clip's arithmetic needs a square matrix, not {values.shape}")
    falling = np.sort(-values, axis=1)  # NaN goes last
    with np.errstate(invalid="ignore"):
        query, rank = np.nonzero(falling - np.diag(-values)[:, None] == 0)
    if not len(rank):
        raise ValueError("clip4clip's arithmetic finds no rank: the score of every correct pair is NaN or infinite")
    counted = np.bincount(query, minlength=len(values))
    metrics = {f"R@{k}": 100.0 * float((rank < k).mean()) for k in ks}
    metrics |= {"MdR": float(np.median(rank) + 1), "MnR": float(rank.mean() + 1)}
    return Clip4ClipReport(metrics, len(values), len(rank), int((counted > 1).sum()), int((counted == 0).sum()))


def argsort_precision(
    scores: Array, right: npt.NDArray[np.bool_], ks: tuple[int, ...] = (1, 5, 10)
) -> dict[str, float]:
    """Apply VideoCon's arithmetic: one `argsort` of the negated scores per query, with ties in no defined order.

    >>> argsort_precision(np.array([[0.9, 0.5, 0.1]]), np.array([[True, True, False]]), ks=(1,))
    {'mAP': 100.0, 'R@1': 100.0}

    Args:
        scores: (Q, N), candidates in the order of VideoCon's evaluation (sorted video paths).
        right: (Q, N); several candidates per query may be right, and R@K needs one of them.

    Returns:
        "mAP" and "R@K" in percent, which can differ between machines.
    """
    order = np.argsort(-np.asarray(scores), axis=1)
    hits = np.take_along_axis(np.asarray(right), order, axis=1)
    if not hits.any(axis=1).all():
        raise ValueError("every query needs a correct candidate")
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    mean_precision = (precision * hits).sum(axis=1) / hits.sum(axis=1)
    metrics = {"mAP": 100.0 * float(mean_precision.mean())}
    return metrics | {f"R@{k}": 100.0 * float(hits[:, :k].any(axis=1).mean()) for k in ks}
