"""Pre-norm transformer blocks with written-out attention.

PyTorch's fused attention has a slow backward pass on CPUs, so the softmax is written out. One `Block` has three uses
with the same weights: self-attention, vectors that read a set, and a single vector that joins a set.

Shape legend: B sequences, P positions, Q queries, F frames, G token sets per text (1 if all frames share one, else F),
L tokens, H heads, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mova.scoring.similarity import full


class Block(nn.Module):
    """Attention and a ReLU feed-forward layer, each after a layer norm; padding gets -inf before the softmax.

    Args:
        width: D.
        heads: H, divides D.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None, log_weights: Tensor | None = None) -> Tensor:
        """Apply self-attention: (B, P, D) -> (B, P, D).

        Args:
            x: (B, P, D).
            mask: bool, (B, P), true where a position is real.
            log_weights: (B, P), finite, added to the attention scores of each position.
        """
        q, k, v = self._project(x, 0, 3)
        keep, prior = (None if row is None else row[:, None, None, :] for row in (mask, log_weights))
        return self._finish(x, attend(q, k, v, keep, prior))

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values of `x` (..., P, D) for other queries, each (..., H, P, D / H)."""
        k, v = self._project(x, 1, 3)
        return k, v

    def read(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor, residual: bool = True) -> Tensor:
        """Let `x` query another set; the positions of `x` do not see each other.

        Args:
            x: (B, Q, D).
            keys, values: (B, H, P, D / H), from `keys_values`.
            mask: bool, (B, P), true where a position is real; at least one per row.
            residual: false drops the residual path of `x` around the attention: the result consists of values alone,
                and `x` acts only through the attention weights.

        Returns:
            (B, Q, D).
        """
        (q,) = self._project(x, 0, 1)
        return self._finish(x if residual else None, attend(q, keys, values, mask[:, None, None, :]))

    def join(self, frame: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Apply self-attention over the sequence [frame; tokens], for all frames of a text at once.

        Attention over the tokens comes first, once for all frames while they share one set (G = 1). The frame then
        enters by a gate, `A + g (v_frame - A)` with `g = sigmoid(score_frame - logsumexp(scores))`: this equals the
        softmax over L + 1 positions exactly.

        Args:
            frame: (B, F, D).
            tokens: (B, G, L, D).
            mask: bool, (B, L), true where a token is real; at least one per row.

        Returns:
            (B, F, D) and (B, F, L, D).
        """
        keep = mask[:, None, None, None, :]
        alone = frame.unsqueeze(2)
        frame_q, frame_k, frame_v = self._project(alone, 0, 3)
        token_q, token_k, token_v = self._project(tokens, 0, 3)
        updated = _enter(*_attend_total(frame_q, token_k, token_v, keep), frame_q, frame_k, frame_v)
        mixed = _enter(*_attend_total(token_q, token_k, token_v, keep), token_q, frame_k, frame_v)
        return self._finish(alone, updated).squeeze(2), self._finish(tokens, mixed)

    def join_last(self, frame: Tensor, tokens: Tensor, mask: Tensor, residual: bool = True) -> Tensor:
        """Compute the frame's part of `join`, if the tokens are not needed afterwards.

        There is one query per frame, so the key and value maps are applied to it, not to every token:
        `q . (W_k y) = (W_k^T q) . y` and `sum_l w_l W_v y_l = W_v sum_l w_l y_l`.

        Args:
            frame, tokens, mask: as for `join`.
            residual: false: the frame attends to the tokens only (see `read`), not to itself.

        Returns:
            (B, F, D).
        """
        alone, y = frame.unsqueeze(2), self.norm1(tokens)
        q, frame_k, frame_v = self._project(alone, 0, 3)
        _, key, value = self.qkv.weight.unflatten(0, (3, self.heads, -1))
        _, key_bias, value_bias = self.qkv.bias.unflatten(0, (3, self.heads, -1))
        query_states = torch.einsum("bfhqd,hdw->bfhw", q, key)
        scores = torch.einsum("bfhw,bflw->bfhl", query_states, y) + (q.squeeze(3) * key_bias).sum(-1, keepdim=True)
        scores = full(scores).masked_fill(~mask[:, None, None, :], float("-inf"))
        total = scores.logsumexp(-1, keepdim=True)
        read = torch.einsum("bfhl,bflw->bfhw", (scores - total).exp().to(y.dtype), y)
        mixed = torch.einsum("bfhw,hdw->bfhd", read, value) + value_bias
        mixed, total = mixed.unsqueeze(3), total.unsqueeze(3)
        if not residual:
            return self._finish(None, mixed).squeeze(2)
        return self._finish(alone, _enter(mixed, total, q, frame_k, frame_v)).squeeze(2)

    def _project(self, x: Tensor, first: int, last: int) -> tuple[Tensor, ...]:
        """Return (scaled queries, keys, values)[first:last] of (..., P, D), each (..., H, P, D / H)."""
        width = x.shape[-1]
        rows = slice(first * width, last * width)
        projected = F.linear(self.norm1(x), self.qkv.weight[rows], self.qkv.bias[rows])
        parts = projected.unflatten(-1, (last - first, self.heads, -1)).transpose(-2, -4).unbind(-3)
        if first > 0:
            return parts
        return (parts[0] * (width // self.heads) ** -0.5, *parts[1:])

    def _finish(self, x: Tensor | None, mixed: Tensor) -> Tensor:
        """Join heads (..., H, P, D / H) to (..., P, D), then apply the residual path and the feed-forward layer."""
        y = self.out(mixed.transpose(-2, -3).flatten(-2))
        if x is not None:
            y = x + y
        return y + self.down(F.relu(self.up(self.norm2(y))))


class AttentionPool(nn.Module):
    """Pooling of a short sequence to one vector, by a learned query with several heads.

    Args:
        width: D.
        heads: H, divides D.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(heads, 1, width // heads) * (width // heads) ** -0.5)
        self.norm = nn.LayerNorm(width)
        self.keys_values, self.out = nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Pool (..., P, D) to (..., D); every position is real."""
        keys, values = self.keys_values(self.norm(x)).unflatten(-1, (2, self.heads, -1)).transpose(-2, -4).unbind(-3)
        return self.out(attend(self.query, keys, values, None).flatten(-3))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, prior: Tensor | None = None) -> Tensor:
    """Apply softmax attention with queries that are already scaled.

    Args:
        q: (..., Q, D / H).
        k, v: (..., P, D / H).
        mask: bool, broadcasts to the scores (..., Q, P), true where a position is real; at least one per row.
        prior: broadcasts to the scores, added to them.

    Returns:
        (..., Q, D / H).

    >>> attend(torch.zeros(1, 2), torch.eye(2), torch.tensor([[2.0, 0.0], [0.0, 2.0]]), None)
    tensor([[1., 1.]])
    """
    scores = q @ k.transpose(-1, -2)
    if prior is not None:
        scores = scores + prior.to(scores.dtype)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ v


def _attend_total(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the result of `attend`, and the logarithm of its softmax denominator, (..., Q, 1), at least float32."""
    scores = full(q @ k.transpose(-1, -2)).masked_fill(~mask, float("-inf"))
    total = scores.logsumexp(-1, keepdim=True)
    return (scores - total).exp().to(v.dtype) @ v, total


def _enter(mixed: Tensor, total: Tensor, q: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Add one more position to a softmax that is already computed.

    Args:
        mixed, total: from `_attend_total`: (B, G, H, Q, D / H) and (B, G, H, Q, 1).
        q: scaled queries, (B, G, H, Q, D / H).
        key, value: of the added positions, (B, F, H, 1, D / H).

    Returns:
        (B, F, H, Q, D / H).
    """
    score = torch.einsum("bfhqd,bfhd->bfhq", q, key.squeeze(-2)).unsqueeze(-1)
    gate = (full(score) - total).sigmoid()
    return torch.lerp(mixed.to(value.dtype), value, gate.to(value.dtype))
