"""Ranks and retrieval metrics on plain arrays, with ties decided and NaN refused.

Ranks are found by counting, never by sorting or by looking a score up: so many candidates are strictly better than the
best right one, so many equal it. Equal candidates stand in random order, and every figure is its expected value over
that order; best and worst case stand beside it. A constant model scores k/N, as it should.

Several right candidates a query are allowed: a query is answered by the first of them. With w strictly better
candidates and m equal ones, p of them right, the first right one stands beyond place w + j with probability
C(m-p, j) / C(m, j), and at place w + (m+1) / (p+1) on average (negative hypergeometric distribution).

Shape legend: Q queries, N candidates, B candidates in a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
ScoreBlock = Callable[[slice, slice], Array]
"""(query range, candidate range) -> their scores."""

KS = (1, 5, 10, 50)
"""Depths that a protocol reports."""
_CHUNK = 1 << 22
"""Scores compared at once: the masks of comparison stay small beside the matrix."""
_UINT8_ROWS = 255
"""So many booleans add up in a byte."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where the first right candidate of every query may stand.

    Attributes:
        better: (Q,), wrong candidates with a score above that of the best right one.
        tied: (Q,), candidates with exactly this score, right ones included; at least 1.
        right: (Q,), right candidates among the tied; at least 1.
    """

    better: npt.NDArray[np.int64]
    tied: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.better)

    @property
    def best(self) -> npt.NDArray[np.int64]:
        """(Q,), the rank if ties fall well; 1 is first."""
        return self.better + 1

    @property
    def worst(self) -> npt.NDArray[np.int64]:
        """(Q,), the rank if ties fall badly."""
        return self.better + self.tied - self.right + 1

    @property
    def expected(self) -> npt.NDArray[np.float64]:
        """(Q,), the mean rank over random order of ties."""
        return self.better + (self.tied + 1) / (self.right + 1)

    @property
    def decided(self) -> npt.NDArray[np.bool_]:
        """(Q,), False where the order of ties changes the rank."""
        return self.tied == self.right

    def within(self, k: int) -> npt.NDArray[np.float64]:
        """(Q,), probability that a right candidate stands among the first k."""
        places = np.clip(k - self.better, 0, self.tied)
        wrong = self.tied - self.right
        missed = np.ones(len(self))
        for taken in range(int(self.right.max(initial=0))):  # C(m-p, j) / C(m, j) = prod over p of (m-j-i) / (m-i)
            left = np.clip(self.tied - places - taken, 0, None) / np.maximum(self.tied - taken, 1)
            missed = np.where(taken < self.right, missed * left, missed)
        return np.where(places > wrong, 1.0, 1.0 - missed)


def find_ranks(
    scores: Array, targets: npt.ArrayLike | None = None, ids: Sequence[str] | None = None, chunk: int | None = None
) -> Ranks:
    """Ranks of all queries in a matrix, in memory that does not grow with it.

    Args:
        scores: (Q, N), higher is better. `-inf` is a score like any other.
        targets: (Q,), index of the one right candidate; or (Q, N) booleans, several right ones; the diagonal if left
            out.
        ids: (Q,), names of queries for messages.
        chunk: queries compared at once; chosen by size if left out. It changes no figure.

    Raises:
        ValueError: shapes differ, nothing to rank, an index outside, a query without a right candidate, or a NaN (with
            the query's id).
    """
    scores = np.asarray(scores)
    if scores.ndim != 2 or scores.shape[1] == 0 or len(scores) == 0:
        raise ValueError(f"scores (Q, N) with Q, N > 0 expected, not {scores.shape}")
    right = _check_targets(scores.shape, targets)
    rows = chunk or max(1, _CHUNK // scores.shape[1])
    parts = []
    for start in range(0, len(scores), rows):
        block, some = scores[start : start + rows], right[start : start + rows]
        bad = np.flatnonzero(np.isnan(block).any(axis=1))
        if len(bad):
            total = int(np.isnan(scores).any(axis=1).sum())
            raise ValueError(
                f"scores of query {_name(start + int(bad[0]), ids)} hold NaN ({total} such queries); nothing can be "
                "ranked by them: find out where the NaN comes from, or leave the query out and say so"
            )
        if some.ndim == 1:
            own = np.take_along_axis(block, some[:, None], axis=1)
            count = np.ones(len(block), dtype=np.int64)
        else:
            own = np.where(some, block, -np.inf).max(axis=1, keepdims=True)
            count = _count(some & (block == own))
        parts.append((_count(block > own), _count(block == own), count))
    better, tied, among = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Ranks(better, tied, among)


def stream_ranks(
    score_block: ScoreBlock,
    queries: int,
    candidates: int | None = None,
    targets: Ints | None = None,
    block: int = 2048,
    ids: Sequence[str] | None = None,
) -> tuple[Ranks, Ranks | None]:
    """Ranks both ways without ever holding the matrix: peak memory is that of one block.

    Every block is asked for once, and those that hold targets once more before, with the same ranges.

    Args:
        score_block: scores of a range of queries and a range of candidates, (B, B) or smaller at the ends.
        queries, candidates: Q and N; N = Q if left out.
        targets: (Q,), the right candidate; the diagonal if left out.
        block: B.
        ids: (Q,), names of queries for messages.

    Returns:
        Ranks of candidates for each query, and, where no targets are given, of queries for each candidate (else None:
        a candidate may have several queries or none).

    Raises:
        ValueError: as `find_ranks`, a block of another shape, or other scores for equal ranges.
    """
    candidates = queries if candidates is None else candidates
    both = targets is None
    if queries <= 0 or candidates <= 0:
        raise ValueError(f"nothing to rank: {queries} queries, {candidates} candidates")
    wanted = _check_targets((queries, candidates), targets)
    across = [slice(s, min(s + block, candidates)) for s in range(0, candidates, block)]
    back = np.zeros((2, candidates), dtype=np.int64)
    own = np.empty(queries)
    ahead = np.zeros((2, queries), dtype=np.int64)
    down = [slice(s, min(s + block, queries)) for s in range(0, queries, block)]
    for rows in down:  # targets first: columns are compared with theirs from the first block on
        for columns in across:
            inside = np.flatnonzero((wanted[rows] >= columns.start) & (wanted[rows] < columns.stop))
            if len(inside):
                found = _checked(score_block(rows, columns), rows, columns, ids)
                own[rows.start + inside] = found[inside, wanted[rows][inside] - columns.start]
    for rows in down:
        for columns in across:
            found = _checked(score_block(rows, columns), rows, columns, ids)
            mine = own[rows].astype(found.dtype)[:, None]
            ahead[0, rows] += _count(found > mine)
            ahead[1, rows] += _count(found == mine)
            if both:
                theirs = own[columns].astype(found.dtype)[None, :]
                back[0, columns] += _count_down(found > theirs)
                back[1, columns] += _count_down(found == theirs)
    if not ahead[1].all() or (both and not back[1].all()):
        raise ValueError("score_block gave other scores when the same ranges were asked for again")
    one = np.ones(queries, dtype=np.int64)
    return Ranks(ahead[0], ahead[1], one), Ranks(back[0], back[1], one) if both else None


def summarize(ranks: Ranks, ks: Sequence[int] = KS) -> dict[str, float]:
    """`{"R@K", "MdR", "MnR", "ties"}`: recall in percent, median and mean rank, expected over random order of ties.

    `ties` counts the queries whose rank the order of ties changes. MdR is the median of expected ranks.
    """
    metrics = {f"R@{k}": 100.0 * float(ranks.within(k).mean()) for k in ks}
    metrics["MdR"] = float(np.median(ranks.expected))
    metrics["MnR"] = float(ranks.expected.mean())
    metrics["ties"] = int((~ranks.decided).sum())
    return metrics


def tie_bounds(ranks: Ranks, ks: Sequence[int] = KS) -> dict[str, tuple[float, float]]:
    """Metric -> (best case, worst case): what a lucky and an unlucky order of ties would give."""
    bounds = {f"R@{k}": tuple(100.0 * float((r <= k).mean()) for r in (ranks.best, ranks.worst)) for k in ks}
    bounds["MdR"] = (float(np.median(ranks.best)), float(np.median(ranks.worst)))
    bounds["MnR"] = (float(ranks.best.mean()), float(ranks.worst.mean()))
    return {name: (pair[0], pair[1]) for name, pair in bounds.items()}


def retrieval_metrics(
    scores: Array, targets: npt.ArrayLike | None = None, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """`summarize` of `find_ranks`: (Q, N) scores -> R@K (percent), MdR, MnR and `ties`."""
    return summarize(find_ranks(scores, targets), ks)


def _check_targets(shape: tuple[int, ...], targets: npt.ArrayLike | None) -> npt.NDArray[Any]:
    """(Q,) indices or (Q, N) booleans."""
    if targets is None:
        if shape[0] != shape[1]:
            raise ValueError(
                f"scores (Q, N) of shape {shape} are not square: say with `targets` which candidate is right"
            )
        return np.arange(shape[0])
    found = np.asarray(targets)
    if found.dtype == bool and found.shape == shape:
        empty = np.flatnonzero(~found.any(axis=1))
        if len(empty):
            raise ValueError(f"query {empty[0]} has no right candidate ({len(empty)} such queries)")
        return found
    if found.shape != (shape[0],) or found.dtype.kind not in "iu":
        raise ValueError(f"targets (Q,) as indices or (Q, N) as booleans expected for {shape}, not {found.shape}")
    if (found < 0).any() or (found >= shape[1]).any():
        raise ValueError(f"targets must lie in [0, {shape[1]}), not in [{found.min()}, {found.max()}]")
    return found


def _checked(found: Array, rows: slice, columns: slice, ids: Sequence[str] | None) -> Array:
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    found = np.asarray(found)
    if found.shape != shape:
        raise ValueError(f"score_block gave {found.shape} for queries {rows} and candidates {columns}, not {shape}")
    with np.errstate(invalid="ignore"):
        suspect = np.isnan(found.sum(axis=1))  # one cheap pass; inf - inf is NaN too, so it is looked at again
    if suspect.any() and (nan := np.flatnonzero(np.isnan(found).any(axis=1))).size:
        name = _name(rows.start + int(nan[0]), ids)
        raise ValueError(f"scores of query {name} hold NaN; nothing can be ranked by them")
    return found


def _count(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """(Q, N) -> (Q,): true entries a row."""
    return np.fromiter((np.count_nonzero(row) for row in mask), dtype=np.int64, count=len(mask))


def _count_down(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """(Q, N) -> (N,): true entries a column, added as bytes."""
    total = np.zeros(mask.shape[1], dtype=np.int64)
    for start in range(0, len(mask), _UINT8_ROWS):
        total += np.add.reduce(mask[start : start + _UINT8_ROWS].view(np.uint8), axis=0, dtype=np.uint8)
    return total


def _name(index: int, ids: Sequence[str] | None) -> str:
    return str(index) if ids is None else repr(ids[index])
