"""The written-out block and its three uses, against the plain one over a whole sequence."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mova.models.layers.attention import AttentionPool, Block


@pytest.fixture
def block() -> Block:
    torch.manual_seed(0)
    return Block(24, 4).double()


@pytest.fixture
def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    mask = torch.arange(7) < torch.tensor([[7], [3], [1]])
    return torch.randn(3, 7, 24, dtype=torch.float64), mask


def sequence(frame: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[frame; tokens] of one frame, with its mask."""
    return torch.cat([frame[:, None], tokens], dim=1), torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)


def test_joining_equals_attention_over_the_whole_sequence(block: Block, tokens: tuple) -> None:
    states, mask = tokens
    frames = torch.randn(3, 5, 24, dtype=torch.float64)
    frame_states, text_states = block.join(frames, states.unsqueeze(1), mask)
    again, text_states_again = block.join(frame_states, text_states, mask)
    for i in range(5):
        whole, keep = sequence(frames[:, i], states, mask)
        first = block(whole, keep)
        torch.testing.assert_close(frame_states[:, i], first[:, 0])
        torch.testing.assert_close(text_states[:, i], first[:, 1:])
        second = block(first, keep)
        torch.testing.assert_close(again[:, i], second[:, 0])
        torch.testing.assert_close(text_states_again[:, i], second[:, 1:])
        torch.testing.assert_close(block.join_last(frame_states, text_states, mask)[:, i], second[:, 0])


def test_reading_equals_attention_of_pytorch(block: Block, tokens: tuple) -> None:
    states, mask = tokens
    x = torch.randn(3, 5, 24, dtype=torch.float64)
    actual = block.read(x, *block.keys_values(states), mask)
    weight, bias = block.qkv.weight.chunk(3), block.qkv.bias.chunk(3)
    parts = [block.norm1(x), block.norm1(states), block.norm1(states)]
    q, k, v = (
        F.linear(y, w, b).unflatten(-1, (4, 6)).transpose(1, 2) for y, w, b in zip(parts, weight, bias, strict=True)
    )
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
    y = x + block.out(mixed.transpose(1, 2).flatten(2))
    torch.testing.assert_close(actual, y + block.down(F.relu(block.up(block.norm2(y)))))


def test_without_the_residual_the_result_is_made_of_what_was_read(block: Block, tokens: tuple) -> None:
    """One real position: its weight is 1 for every query, so the query has no effect."""
    states, mask = tokens
    x = torch.randn(3, 5, 24, dtype=torch.float64)
    for actual in (
        block.read(x, *block.keys_values(states), mask, residual=False),
        block.join_last(x, states.unsqueeze(1), mask, residual=False),
    ):
        torch.testing.assert_close(actual[2], actual[2, :1].expand(5, -1))
        assert (actual[0] - actual[0, :1]).abs().amax() > 1e-3


def test_padding_changes_nothing(block: Block, tokens: tuple) -> None:
    states, mask = tokens
    noise = torch.where(mask.unsqueeze(-1), states, torch.full_like(states, 1e4))
    frames = torch.randn(3, 5, 24, dtype=torch.float64)
    frame_states, text_states = block.join(frames, states.unsqueeze(1), mask)
    frame_states_noise, text_states_noise = block.join(frames, noise.unsqueeze(1), mask)
    torch.testing.assert_close(frame_states, frame_states_noise)
    torch.testing.assert_close(
        text_states[mask[:, None].expand(3, 5, 7)], text_states_noise[mask[:, None].expand(3, 5, 7)]
    )


def test_gradients_of_joining(block: Block, tokens: tuple) -> None:
    states, mask = tokens
    frame = torch.randn(3, 1, 24, dtype=torch.float64, requires_grad=True)
    states.requires_grad_()
    frame_states, text_states = block.join(frame, states.unsqueeze(1), mask)
    loss = frame_states.square().sum() + text_states[:, 0][mask].square().sum()
    gradients = torch.autograd.grad(loss, [frame, states, *block.parameters()])
    whole, keep = sequence(frame[:, 0], states, mask)
    plain = torch.autograd.grad(block(whole, keep)[keep].square().sum(), [frame, states, *block.parameters()])
    for gradient, expected in zip(gradients, plain, strict=True):
        torch.testing.assert_close(gradient, expected)


def test_pooling_equals_attention_of_pytorch() -> None:
    torch.manual_seed(0)
    pool = AttentionPool(24, 4).double()
    x = torch.randn(5, 2, 24, dtype=torch.float64)
    k, v = pool.keys_values(pool.norm(x)).chunk(2, dim=-1)
    k, v = (y.unflatten(-1, (4, 6)).transpose(1, 2) for y in (k, v))
    mixed = F.scaled_dot_product_attention(pool.query.expand(5, -1, -1, -1), k, v, scale=1.0)
    torch.testing.assert_close(pool(x), pool.out(mixed.transpose(1, 2).flatten(1)))
    torch.testing.assert_close(pool(x[:, :1]), pool.out(v[:, :, 0].flatten(1)))
