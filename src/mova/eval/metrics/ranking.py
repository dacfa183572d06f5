"""Ranks and retrieval metrics, with a defined treatment of ties; NaN is rejected.

Ranks are found by counting, not by sorting: how many candidates score strictly better than the best right one, and how
many are tied with it. Tied candidates are in random order, and every figure is its expected value over that order, with
best and worst case. A constant model therefore scores k/N, as it should.

A query may have several right candidates; the first of them counts. With w strictly better candidates and m tied ones,
p of them right, the first right one is beyond rank w + j with probability C(m-p, j) / C(m, j), and at rank
w + (m+1) / (p+1) on average (negative hypergeometric distribution).

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
"""Ranks K of R@K that a protocol reports."""
_CHUNK = 1 << 22
"""Scores compared at once, so that the boolean masks stay small beside the matrix."""
_UINT8_ROWS = 255
"""The most booleans whose sum fits in a byte."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """Possible ranks of the first right candidate of every query.

    Attributes:
        better: (Q,), wrong candidates that score above the best right one.
        tied: (Q,), candidates with exactly its score, right ones included; at least 1.
        right: (Q,), right candidates among the tied; at least 1.

    >>> ranks = Ranks(better=np.array([1]), tied=np.array([2]), right=np.array([1]))
    >>> ranks.best, ranks.worst, ranks.expected, ranks.within(2)
    (array([2]), array([3]), array([2.5]), array([0.5]))
    """

    better: npt.NDArray[np.int64]
    tied: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.better)

    @property
    def best(self) -> npt.NDArray[np.int64]:
        """Rank for the best order of ties: (Q,); 1 is first."""
        return self.better + 1

    @property
    def worst(self) -> npt.NDArray[np.int64]:
        """Rank for the worst order of ties: (Q,)."""
        return self.better + self.tied - self.right + 1

    @property
    def expected(self) -> npt.NDArray[np.float64]:
        """Mean rank over a random order of ties: (Q,)."""
        return self.better + (self.tied + 1) / (self.right + 1)

    @property
    def decided(self) -> npt.NDArray[np.bool_]:
        """False where the order of ties changes the rank: (Q,)."""
        return self.tied == self.right

    def within(self, k: int) -> npt.NDArray[np.float64]:
        """Return the probability that a right candidate is among the first k: (Q,)."""
        slots = np.clip(k - self.better, 0, self.tied)
        wrong = self.tied - self.right
        missed = np.ones(len(self))
        for taken in range(int(self.right.max(initial=0))):  # C(m-p, j) / C(m, j) = prod over p of (m-j-i) / (m-i)
            left = np.clip(self.tied - slots - taken, 0, None) / np.maximum(self.tied - taken, 1)
            missed = np.where(taken < self.right, missed * left, missed)
        return np.where(slots > wrong, 1.0, 1.0 - missed)


def find_ranks(
    scores: Array, targets: npt.ArrayLike | None = None, ids: Sequence[str] | None = None, chunk: int | None = None
) -> Ranks:
    """Rank the right candidates of all queries of a matrix, in memory that does not grow with it.

    >>> ranks = find_ranks(np.array([[0.9, 0.1, 0.4], [0.5, 0.5, 0.5], [0.8, 0.9, 0.1]]))
    >>> ranks.best, ranks.worst, ranks.expected
    (array([1, 1, 3]), array([1, 3, 3]), array([1., 2., 3.]))

    Args:
        scores: (Q, N), higher is better. `-inf` is a score like any other.
        targets: (Q,), index of the right candidate; or (Q, N) booleans if several are right. Default: the diagonal.
        ids: (Q,), names of queries for messages.
        chunk: queries compared at once. Default: by size. It does not change any figure.

    Raises:
        ValueError: shapes differ, nothing to rank, an index out of range, a query without a right candidate, or a NaN
            (with the query's id).
    """
    scores = np.asarray(scores)
    if scores.ndim != 2 or scores.shape[1] == 0 or len(scores) == 0:
        raise ValueError(f"scores must be (Q, N) with Q, N > 0, not {scores.shape}")
    right = _check_targets(scores.shape, targets)
    rows = chunk or max(1, _CHUNK // scores.shape[1])
    parts = []
    for start in range(0, len(scores), rows):
        block, some = scores[start : start + rows], right[start : start + rows]
        bad = np.flatnonzero(np.isnan(block).any(axis=1))
        if len(bad):
            total = int(np.isnan(scores).any(axis=1).sum())
            raise ValueError(
                f"scores of query {_name(start + int(bad[0]), ids)} contain NaN ({total} such queries) and cannot be "
                "ranked; find the source of the NaN, or exclude the query and report it"
            )
        if some.ndim == 1:
            target = np.take_along_axis(block, some[:, None], axis=1)
            count = np.ones(len(block), dtype=np.int64)
        else:
            target = np.where(some, block, -np.inf).max(axis=1, keepdims=True)
            count = _count(some & (block == target))
        parts.append((_count(block > target), _count(block == target), count))
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
    """Rank in both directions without holding the matrix: peak memory is that of one block.

    Every block is requested once; blocks that contain targets are requested once before that, with the same ranges.

    >>> scores = np.array([[0.9, 0.1], [0.8, 0.2]])
    >>> [ranks.best.tolist() for ranks in stream_ranks(lambda rows, columns: scores[rows, columns], 2)]
    [[1, 2], [1, 1]]

    Args:
        score_block: returns the scores of a range of queries and a range of candidates, at most (B, B).
        queries, candidates: Q and N. Default: N = Q.
        targets: (Q,), the right candidate. Default: the diagonal.
        block: B.
        ids: (Q,), names of queries for messages.

    Returns:
        Ranks of candidates for each query, and of queries for each candidate; the latter is None with `targets`, since
        a candidate may then have several queries or none.

    Raises:
        ValueError: as `find_ranks`, a block of another shape, or different scores for the same ranges.
    """
    candidates = queries if candidates is None else candidates
    square = targets is None
    if queries <= 0 or candidates <= 0:
        raise ValueError(f"nothing to rank: {queries} queries, {candidates} candidates")
    right = _check_targets((queries, candidates), targets)
    across = [slice(s, min(s + block, candidates)) for s in range(0, candidates, block)]
    backward = np.zeros((2, candidates), dtype=np.int64)
    target_scores = np.empty(queries)
    forward = np.zeros((2, queries), dtype=np.int64)
    down = [slice(s, min(s + block, queries)) for s in range(0, queries, block)]
    for rows in down:  # target scores first: the blocks below compare with them
        for columns in across:
            inside = np.flatnonzero((right[rows] >= columns.start) & (right[rows] < columns.stop))
            if len(inside):
                scores = _checked(score_block(rows, columns), rows, columns, ids)
                target_scores[rows.start + inside] = scores[inside, right[rows][inside] - columns.start]
    for rows in down:
        for columns in across:
            scores = _checked(score_block(rows, columns), rows, columns, ids)
            row_targets = target_scores[rows].astype(scores.dtype)[:, None]
            forward[0, rows] += _count(scores > row_targets)
            forward[1, rows] += _count(scores == row_targets)
            if square:
                column_targets = target_scores[columns].astype(scores.dtype)[None, :]
                backward[0, columns] += _count_down(scores > column_targets)
                backward[1, columns] += _count_down(scores == column_targets)
    if not forward[1].all() or (square and not backward[1].all()):
        raise ValueError("score_block returned different scores for the same ranges")
    ones = np.ones(queries, dtype=np.int64)
    return Ranks(forward[0], forward[1], ones), Ranks(backward[0], backward[1], ones) if square else None


def summarize(ranks: Ranks, ks: Sequence[int] = KS) -> dict[str, float]:
    """Return `{"R@K", "MdR", "MnR", "ties"}`: recall in percent, median and mean rank, expected over the order of ties.

    `ties` counts the queries whose rank depends on the order of ties. MdR is the median of expected ranks.

    >>> summarize(find_ranks(np.array([[0.9, 0.1], [0.8, 0.2]])), ks=(1,))
    {'R@1': 50.0, 'MdR': 1.5, 'MnR': 1.5, 'ties': 0}
    """
    metrics = {f"R@{k}": 100.0 * float(ranks.within(k).mean()) for k in ks}
    metrics["MdR"] = float(np.median(ranks.expected))
    metrics["MnR"] = float(ranks.expected.mean())
    metrics["ties"] = int((~ranks.decided).sum())
    return metrics


def tie_bounds(ranks: Ranks, ks: Sequence[int] = KS) -> dict[str, tuple[float, float]]:
    """Return metric -> (best case, worst case) over the order of ties.

    >>> tie_bounds(find_ranks(np.array([[0.5, 0.5], [0.1, 0.9]])), ks=(1,))
    {'R@1': (100.0, 50.0), 'MdR': (1.0, 1.5), 'MnR': (1.0, 1.5)}
    """
    bounds = {f"R@{k}": tuple(100.0 * float((r <= k).mean()) for r in (ranks.best, ranks.worst)) for k in ks}
    bounds["MdR"] = (float(np.median(ranks.best)), float(np.median(ranks.worst)))
    bounds["MnR"] = (float(ranks.best.mean()), float(ranks.worst.mean()))
    return {name: (pair[0], pair[1]) for name, pair in bounds.items()}


def retrieval_metrics(
    scores: Array, targets: npt.ArrayLike | None = None, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Return R@K (percent), MdR, MnR and `ties` of scores (Q, N): `summarize` of `find_ranks`.

    >>> retrieval_metrics(np.array([[0.9, 0.1], [0.8, 0.2]]), ks=(1,))["R@1"]
    50.0
    """
    return summarize(find_ranks(scores, targets), ks)


def _check_targets(shape: tuple[int, ...], targets: npt.ArrayLike | None) -> npt.NDArray[Any]:
    """Return targets as indices (Q,) or booleans (Q, N)."""
    if targets is None:
        if shape[0] != shape[1]:
            raise ValueError(f"scores (Q, N) of shape {shape} are not square; pass the correct candidates as `targets`")
        return np.arange(shape[0])
    array = np.asarray(targets)
    if array.dtype == bool and array.shape == shape:
        empty = np.flatnonzero(~array.any(axis=1))
        if len(empty):
            raise ValueError(f"query {empty[0]} has no correct candidate ({len(empty)} such queries)")
        return array
    if array.shape != (shape[0],) or array.dtype.kind not in "iu":
        raise ValueError(f"targets (Q,) as indices or (Q, N) as booleans expected for {shape}, not {array.shape}")
    if (array < 0).any() or (array >= shape[1]).any():
        raise ValueError(f"targets must be in [0, {shape[1]}), not in [{array.min()}, {array.max()}]")
    return array


def _checked(block: Array, rows: slice, columns: slice, ids: Sequence[str] | None) -> Array:
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    block = np.asarray(block)
    if block.shape != shape:
        raise ValueError(f"score_block returned {block.shape} for queries {rows} and candidates {columns}, not {shape}")
    with np.errstate(invalid="ignore"):
        suspect = np.isnan(block.sum(axis=1))  # one cheap pass; inf - inf is NaN too, so suspects are checked again
    if suspect.any() and (nan := np.flatnonzero(np.isnan(block).any(axis=1))).size:
        name = _name(rows.start + int(nan[0]), ids)
        raise ValueError(f"scores of query {name} contain NaN and cannot be ranked")
    return block


def _count(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Count the true entries per row: (Q, N) -> (Q,)."""
    return np.fromiter((np.count_nonzero(row) for row in mask), dtype=np.int64, count=len(mask))


def _count_down(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Count the true entries per column, added as bytes: (Q, N) -> (N,)."""
    total = np.zeros(mask.shape[1], dtype=np.int64)
    for start in range(0, len(mask), _UINT8_ROWS):
        total += np.add.reduce(mask[start : start + _UINT8_ROWS].view(np.uint8), axis=0, dtype=np.uint8)
    return total


def _name(index: int, ids: Sequence[str] | None) -> str:
    return str(index) if ids is None else repr(ids[index])
