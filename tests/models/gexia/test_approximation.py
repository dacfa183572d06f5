"""The approximation itself: against a written-out float64 form, mixed batches, padding, what is not computed."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from mova.models.gexia.approximation import IterativeApproximation, Round
from mova.models.gexia.flops import count_operations

DENSE, WIDTH, BASES, HEADS = 12, 16, 3, 2


def module(seed: int = 0) -> IterativeApproximation:
    torch.manual_seed(seed)
    iam = IterativeApproximation(DENSE, WIDTH, BASES, HEADS).double()
    with torch.no_grad():
        for weight in iam.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return iam


@torch.no_grad()
def written_out(module: IterativeApproximation, features: Tensor, rounds: int) -> Tensor:
    """One sample (M, C) without padding, head by head and query by query."""
    state = module.base
    for part in [module.unrolled] + [module.shared] * rounds:
        state = self_attention(part, cross_attention(part, state, features))
    return state


def norm(x: Tensor, layer: torch.nn.LayerNorm) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt() * layer.weight + layer.bias


def softmax_heads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    size, rows = WIDTH // HEADS, []
    for query in q:
        heads = []
        for h in range(HEADS):
            columns = slice(h * size, (h + 1) * size)
            scores = [float(query[columns] @ key[columns]) / math.sqrt(size) for key in k]
            top = max(scores)
            weights = [math.exp(score - top) for score in scores]
            heads.append(sum(w / sum(weights) * value[columns] for w, value in zip(weights, v, strict=True)))
        rows.append(torch.cat(heads))
    return torch.stack(rows)


def cross_attention(part: Round, state: Tensor, features: Tensor) -> Tensor:
    keys, values = part.keys_values(norm(features, part.dense_norm)).split(WIDTH, dim=-1)
    return state + part.out(softmax_heads(part.query(norm(state, part.norm)), keys, values))


def self_attention(part: Round, x: Tensor) -> Tensor:
    q, k, v = part.own.qkv(norm(x, part.own.norm1)).split(WIDTH, dim=-1)
    x = x + part.own.out(softmax_heads(q, k, v))
    return x + part.own.down(F.relu(part.own.up(norm(x, part.own.norm2))))


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_approximation_equals_explicit_arithmetic(rounds: int) -> None:
    iam, features = module(), torch.randn(7, DENSE, dtype=torch.float64)
    actual = iam(features[None], torch.ones(1, 7, dtype=torch.bool), torch.tensor([rounds]))[0]
    torch.testing.assert_close(actual, written_out(iam, features, rounds))


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6)), min_size=1, max_size=5))
def test_a_mixed_batch_equals_one_by_one(samples: list[tuple[int, int]]) -> None:
    iam = module()
    longest = max(size for _, size in samples)
    mask = torch.tensor([[m < size for m in range(longest)] for _, size in samples])
    features = torch.randn(len(samples), longest, DENSE, dtype=torch.float64)
    features[~mask] = float("nan")
    mixed = iam(features, mask, torch.tensor([rounds for rounds, _ in samples]))
    for actual, row, (rounds, size) in zip(mixed, features, samples, strict=True):
        alone = iam(row[None, :size], mask.new_ones(1, size), torch.tensor([rounds]))[0]
        torch.testing.assert_close(actual, alone, rtol=0, atol=1e-12)


def test_gradients_of_a_mixed_batch_are_those_of_single_runs() -> None:
    iam, rounds = module(), [3, 0, 1, 1]
    features, mask = torch.randn(4, 5, DENSE, dtype=torch.float64), torch.ones(4, 5, dtype=torch.bool)
    weights = torch.randn(4, BASES, WIDTH, dtype=torch.float64)
    (iam(features, mask, torch.tensor(rounds)) * weights).sum().backward()
    mixed = [weight.grad.clone() for weight in iam.parameters()]
    iam.zero_grad()
    for i, count in enumerate(rounds):
        (iam(features[[i]], mask[[i]], torch.tensor([count])) * weights[i]).sum().backward()
    for gradient, weight in zip(mixed, iam.parameters(), strict=True):
        torch.testing.assert_close(gradient, weight.grad)


def test_nothing_is_computed_for_samples_that_are_done() -> None:
    iam, rounds = module(), [0, 3, 1, 0, 3]
    features, mask = torch.randn(5, 6, DENSE, dtype=torch.float64), torch.ones(5, 6, dtype=torch.bool)
    together = count_operations(lambda: iam(features, mask, torch.tensor(rounds)))
    alone = [count_operations(lambda i=i: iam(features[[i]], mask[[i]], torch.tensor([rounds[i]]))) for i in range(5)]
    assert together == sum(alone)
    assert alone[0] < alone[2] < alone[1]
    step = (alone[1] - alone[2]) / 2  # a round whose keys and values are there already
    projections = 2 * 6 * DENSE * 2 * WIDTH
    assert alone[2] - alone[0] == step + projections


def test_padding_is_not_projected() -> None:
    iam, features = module(), torch.randn(2, 8, DENSE, dtype=torch.float64)
    full, half = torch.ones(2, 8, dtype=torch.bool), torch.ones(2, 8, dtype=torch.bool)
    half[:, 4:] = False
    rounds = torch.tensor([1, 1])
    more, less = (count_operations(lambda m=m: iam(features, m, rounds)) for m in (full, half))
    assert more - less == 2 * (2 * (2 * 4) * DENSE * 2 * WIDTH)


def test_the_order_of_dense_vectors_is_not_seen() -> None:
    iam, features = module(), torch.randn(1, 6, DENSE, dtype=torch.float64)
    mask, rounds = torch.ones(1, 6, dtype=torch.bool), torch.tensor([3])
    torch.testing.assert_close(iam(features, mask, rounds), iam(features.flip(1), mask, rounds))


def test_values_equal_the_output_of_one_vector_alone() -> None:
    part, features = module().shared, torch.randn(1, 1, DENSE, dtype=torch.float64)
    base = torch.zeros(1, BASES, WIDTH, dtype=torch.float64)
    (keys, values), mask = part.read(features, torch.ones(1, 1, dtype=torch.bool)), torch.ones(1, 1, dtype=torch.bool)
    expected = part.own(base + part.values_of(features))
    torch.testing.assert_close(part(base, (keys, values), mask), expected)


@pytest.mark.parametrize(
    ("rounds", "mask", "message"),
    [
        ([1], [[True, True], [True, False]], "rounds must be 2"),
        ([1, -1], [[True, True], [True, False]], "rounds must be 2"),
        ([1, 1], [[True, True], [False, False]], "a sample has only padding"),
        ([1, 1], [[True], [True]], "a mask"),
    ],
)
def test_mismatched_shapes_raise(rounds: list[int], mask: list[list[bool]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module()(torch.zeros(2, 2, DENSE, dtype=torch.float64), torch.tensor(mask), torch.tensor(rounds))
