"""Frames pooled by attention from the text (X-Pool)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mova.baselines.base import Baseline, Side, products
from mova.scoring.similarity import squared_length


class XPool(Baseline):
    """X-Pool: frames pooled by attention from the text (Gorti et al. 2022, arXiv 2203.15086), one head.

    `w = softmax_t(Q LN1(u) . K LN1(z_t) / sqrt(d))`, `r = LN2(O sum_t w_t V LN1(z_t))`, `S = cos(LN3(r + F r), u)`. As
    in the paper all maps start as the identity; its dropout on `F r` is left out, and the bias of K, which adds the
    same to all frames.

    A pair's vectors r are never made. The weights sum to 1, so every map acts on the frames before they are pooled, and
    a layer norm divides a weighted sum by its length: a pair is weights (T numbers and one for each bias) on vectors
    of the video alone. A pair costs 2 T d + 3 T^2 operations, instead of 2 T d + d^2 and some arrays of V x N x d. K is
    applied to the queries, of which there are fewer than frames.

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.key = nn.Linear(width, width, bias=False)
        self.query, self.value, self.out, self.feed = (nn.Linear(width, width) for _ in range(4))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        nn.init.eye_(self.key.weight)
        for linear in (self.query, self.value, self.out, self.feed):
            nn.init.eye_(linear.weight)
            nn.init.zeros_(linear.bias)

    def videos(self, frames: Tensor, mask: Tensor) -> Side:
        """Return frames, mask, and the vectors that a pair's weights combine: for LN2, for LN3, and for the score."""
        entered = self.norm1(frames * self.width**0.5)
        first = centered(self.out(self.value(entered)))
        pooled = with_bias(first * self.norm2.weight, self.norm2.bias)
        fed = pooled + pooled @ self.feed.weight.T
        second = centered(torch.cat([fed[:, :-1], fed[:, -1:] + self.feed.bias], dim=1))
        return entered, mask, first, second, with_bias(second * self.norm3.weight, self.norm3.bias)

    def texts(self, text: Tensor, tokens: Tensor, mask: Tensor) -> Side:
        """Return the queries, scaled and through K, and the texts themselves, (N, d) each."""
        queries = self.query(self.norm1(text * self.width**0.5)) @ self.key.weight
        return queries * self.width**-0.5, text

    def meet(self, videos: Side, texts: Side) -> Tensor:
        """Return the cosines from attention weights, through both layer norms."""
        (frames, mask, first, second, last), (queries, text) = videos, texts
        weights = products(frames, queries).masked_fill(~mask.unsqueeze(1), float("-inf")).softmax(dim=-1)
        weights = norm_weights(weights, first, self.norm2.eps)
        weights = norm_weights(weights, second, self.norm3.eps)
        inner = (weights * products(last, text)).sum(dim=-1)
        return inner * squared_length(weights, last).clamp_min(1e-12).rsqrt()


def centered(x: Tensor) -> Tensor:
    """Subtract from vectors (..., d) the mean of their components."""
    return x - x.mean(dim=-1, keepdim=True)


def with_bias(vectors: Tensor, bias: Tensor) -> Tensor:
    """Append a bias (d,) to vectors (V, T, d) as one more vector, of weight 1: (V, T + 1, d)."""
    return torch.cat([vectors, bias.expand(len(vectors), 1, -1)], dim=1)


def norm_weights(weights: Tensor, vectors: Tensor, eps: float) -> Tensor:
    """Apply a layer norm to weighted sums by their weights: (V, N, T) on centered (V, T, d) -> (V, N, T + 1)."""
    variance = squared_length(weights, vectors).clamp_min(0.0) / vectors.shape[-1]
    weights = weights * (variance + eps).rsqrt().unsqueeze(-1)
    return torch.cat([weights, torch.ones_like(weights[..., :1])], dim=-1)
