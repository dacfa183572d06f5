"""Ranks against brute force over all orders of ties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mova.eval.metrics.ranking import find_ranks, retrieval_metrics, stream_ranks, summarize, tie_bounds


def ranks_over_orders(row: list[int], target: int) -> list[int]:
    """Rank of the target in every stable order that sorting by score allows."""
    ranks = []
    for order in itertools.permutations(range(len(row))):
        if all(row[a] >= row[b] for a, b in itertools.pairwise(order)):
            ranks.append(order.index(target) + 1)
    return ranks


@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=4), st.integers(0, 3))
def test_expected_recall_equals_enumeration_of_ties(rows: list[list[int]], target: int) -> None:
    targets = np.full(len(rows), target)
    metrics = retrieval_metrics(np.array(rows, dtype=float), targets, ks=(1, 2))
    for k in (1, 2):
        expected = np.mean([np.mean([r <= k for r in ranks_over_orders(row, target)]) for row in rows])
        assert metrics[f"R@{k}"] == pytest.approx(100 * expected)
    ranks = find_ranks(np.array(rows, dtype=float), targets)
    assert [min(ranks_over_orders(r, target)) for r in rows] == ranks.best.tolist()
    assert [max(ranks_over_orders(r, target)) for r in rows] == ranks.worst.tolist()


def test_a_collapsed_model_scores_k_over_n() -> None:
    metrics = retrieval_metrics(np.zeros((8, 8)), ks=(1, 5))
    assert metrics["R@1"] == pytest.approx(100 / 8)
    assert metrics["R@5"] == pytest.approx(500 / 8)
    assert metrics["ties"] == 8


def test_nan_is_refused_with_the_query() -> None:
    scores = np.eye(3)
    scores[1, 2] = np.nan
    with pytest.raises(ValueError, match="query 1"):
        retrieval_metrics(scores)


def test_order_of_candidates_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20, 30))
    targets = rng.integers(0, 30, 20)
    order = rng.permutation(30)
    assert retrieval_metrics(scores, targets) == retrieval_metrics(scores[:, order], np.argsort(order)[targets])


def test_an_empty_gallery_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"must be \(Q, N\)"):
        retrieval_metrics(np.zeros((2, 0)), np.zeros(2, dtype=int))


def tie_orders(row: list[int]) -> list[tuple[int, ...]]:
    """Every order of candidates that sorting by score allows."""
    return [
        o for o in itertools.permutations(range(len(row))) if all(row[a] >= row[b] for a, b in itertools.pairwise(o))
    ]


@given(
    st.lists(st.integers(0, 2), min_size=5, max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5).filter(any),
)
def test_the_first_of_several_right_candidates_equals_enumeration(row: list[int], right: list[bool]) -> None:
    positions = [min(order.index(i) for i in range(5) if right[i]) + 1 for order in tie_orders(row)]
    ranks = find_ranks(np.array([row], dtype=float), np.array([right]))
    assert ranks.best[0] == min(positions)
    assert ranks.worst[0] == max(positions)
    assert ranks.expected[0] == pytest.approx(np.mean(positions))
    assert ranks.decided[0] == (min(positions) == max(positions))
    for k in range(7):
        assert ranks.within(k)[0] == pytest.approx(np.mean([position <= k for position in positions]))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6), st.integers(1, 7))
def test_blocks_and_chunks_give_the_ranks_of_the_matrix(size: int, block: int, seed: int, chunk: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 4, (size, size)).astype(np.float32)
    t2v_ranks, v2t_ranks = find_ranks(scores), find_ranks(scores.T)
    t2v, v2t = stream_ranks(lambda rows, columns: scores[rows, columns], size, block=block)
    assert v2t is not None
    for expected, actual in ((t2v_ranks, t2v), (v2t_ranks, v2t), (t2v_ranks, find_ranks(scores, chunk=chunk))):
        assert expected.better.tolist() == actual.better.tolist()
        assert expected.tied.tolist() == actual.tied.tolist()


def test_blocks_with_targets_and_a_gallery_of_another_size() -> None:
    rng = np.random.default_rng(1)
    scores, targets = rng.integers(0, 9, (300, 700)).astype(float), rng.integers(0, 700, 300)
    streamed, none = stream_ranks(lambda r, c: scores[r, c], 300, 700, targets, block=128)
    assert none is None
    assert summarize(streamed) == summarize(find_ranks(scores, targets))


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_permuting_and_padding_change_nothing(seed: int, padding: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-3, 3, (12, 12)).astype(float)
    plain = retrieval_metrics(scores, ks=(1, 5))
    order = rng.permutation(12)
    assert retrieval_metrics(scores[np.ix_(order, order)], ks=(1, 5)) == pytest.approx(plain)
    padded = np.pad(scores, ((0, 0), (0, padding)), constant_values=-np.inf)
    assert retrieval_metrics(padded, np.arange(12), ks=(1, 5)) == plain


def test_best_and_worst_case_enclose_the_expected_value() -> None:
    scores = np.random.default_rng(0).integers(0, 5, (40, 40)).astype(float)
    ranks = find_ranks(scores)
    metrics = summarize(ranks)
    for name, (best, worst) in tie_bounds(ranks).items():
        low, high = sorted((best, worst))
        assert low <= metrics[name] <= high
    assert tie_bounds(ranks)["R@1"][0] > tie_bounds(ranks)["R@1"][1]


def test_invalid_scores_raise_a_clear_error() -> None:
    square = np.eye(3)
    nan = square.copy()
    nan[1, 2] = np.nan
    refusals = [
        (lambda: find_ranks(nan, ids=["a", "b", "c"]), "query 'b'"),
        (lambda: find_ranks(np.zeros((2, 3))), "not square"),
        (lambda: find_ranks(square, np.array([0, 1, 3])), r"be in \[0, 3\)"),
        (lambda: find_ranks(square, np.array([0, 1, -1])), r"be in \[0, 3\)"),
        (lambda: find_ranks(square, np.zeros((3, 3), dtype=bool)), "no correct candidate"),
        (lambda: find_ranks(np.zeros((0, 0))), r"must be \(Q, N\)"),
        (lambda: stream_ranks(lambda r, c: square, 4, block=2), "score_block returned"),
        (lambda: stream_ranks(lambda r, c: nan[r, c], 3), "query 1"),
        (lambda: stream_ranks(lambda r, c: np.random.rand(3, 3), 3), "different scores for the same ranges"),
        (lambda: stream_ranks(lambda r, c: square, 0), "nothing to rank"),
    ]
    for call, message in refusals:
        with pytest.raises(ValueError, match=message):
            call()


def test_infinite_scores_are_scores() -> None:
    scores = np.array([[np.inf, -np.inf], [np.inf, np.inf]])
    t2v, _ = stream_ranks(lambda r, c: scores[r, c], 2)
    assert t2v.better.tolist() == [0, 0]
    assert t2v.tied.tolist() == [1, 2]
