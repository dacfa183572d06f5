"""Old arithmetic, reproduced so that old figures can be understood. Never used for a figure of mova's own.

CLIP4Clip's `compute_metrics` sorts each row of scores and looks for entries equal to the diagonal's: an entry each. A
query with ties yields several entries, one for every equal candidate, a row with NaN yields none, and percentages are
taken of the entries, not of the queries. Forks carried it along (X-CLIP, DRL, CLIP-ViP: 1008 entries of 1000 queries).

VideoCon's evaluation of SSv2 sorts by `numpy.argsort`, whose order of equal scores is not defined: it depends on the
processor's instructions. Its published scores have 24 distinct values, so its figures do too.

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
    """What the old arithmetic gives, and what it does to the queries.

    Attributes:
        metrics: "R@K" in percent of entries, "MdR", "MnR".
        queries: rows of the matrix.
        entries: ranks that were counted.
        several: queries that count more than once.
        lost: queries that do not count at all.
    """

    metrics: dict[str, float]
    queries: int
    entries: int
    several: int
    lost: int

    @property
    def differences(self) -> tuple[str, ...]:
        """Sentences that say what differs from one rank a query; none where nothing does."""
        found = []
        if self.several:
            found.append(f"{self.several} queries with ties count several times, once for each equal candidate")
        if self.lost:
            found.append(f"{self.lost} queries with NaN are left out without a word")
        if self.several or self.lost:
            found.append(f"percentages are of {self.entries} entries, not of {self.queries} queries")
        return tuple(found)


def clip4clip(scores: Array, ks: tuple[int, ...] = KS) -> Clip4ClipReport:
    """The arithmetic of CLIP4Clip's `metrics.py` on a square matrix whose diagonal is right.

    Raises:
        ValueError: the matrix is not square or empty, or no entry is left.
    """
    values = np.asarray(scores)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not len(values):
        raise ValueError(f"clip4clip's arithmetic is defined for square matrices, not for {values.shape}")
    falling = np.sort(-values, axis=1)  # NaN goes last
    with np.errstate(invalid="ignore"):
        query, place = np.nonzero(falling - np.diag(-values)[:, None] == 0)
    if not len(place):
        raise ValueError("clip4clip's arithmetic finds no entry: every right score is NaN or infinite")
    counted = np.bincount(query, minlength=len(values))
    metrics = {f"R@{k}": 100.0 * float((place < k).mean()) for k in ks}
    metrics |= {"MdR": float(np.median(place) + 1), "MnR": float(place.mean() + 1)}
    return Clip4ClipReport(metrics, len(values), len(place), int((counted > 1).sum()), int((counted == 0).sum()))


def argsort_precision(
    scores: Array, right: npt.NDArray[np.bool_], ks: tuple[int, ...] = (1, 5, 10)
) -> dict[str, float]:
    """VideoCon's arithmetic: one `argsort` of the negated scores a query, ties wherever it happens to put them.

    Args:
        scores: (Q, N), candidates in the order of the file's evaluation (video paths sorted).
        right: (Q, N); several candidates a query may be right, and R@K asks for one of them.

    Returns:
        "mAP" and "R@K" in percent. They can differ between machines.
    """
    order = np.argsort(-np.asarray(scores), axis=1)
    hits = np.take_along_axis(np.asarray(right), order, axis=1)
    if not hits.any(axis=1).all():
        raise ValueError("every query needs a right candidate")
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    mean_precision = (precision * hits).sum(axis=1) / hits.sum(axis=1)
    metrics = {"mAP": 100.0 * float(mean_precision.mean())}
    return metrics | {f"R@{k}": 100.0 * float(hits[:, :k].any(axis=1).mean()) for k in ks}
