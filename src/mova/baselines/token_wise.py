"""Weighted token-wise interaction of frames and tokens (DRL)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mova.baselines.base import Baseline, Side


class TokenWise(Baseline):
    """Weighted token-wise interaction (DRL, Wang et al. 2022, arXiv 2203.07111).

    With `c_tl = cos(z_t, h_l)`: `S = (sum_l a_l max_t c_tl + sum_t b_t max_l c_tl) / 2`, where a and b are softmax
    weights over tokens and over frames, each from a network of two layers. This is also the frame-word grain of X-CLIP
    (Ma et al. 2022, arXiv 2207.07285), which has soft attention over the cosines where DRL has maxima and weights.
    Both weightings start uniform.

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.frame_weight, self.token_weight = importance_network(width), importance_network(width)

    def videos(self, frames: Tensor, mask: Tensor) -> Side:
        """Return frames and their weights. Padding repeats the first real frame, which changes no maximum."""
        return fill_padding(frames, mask), self._weights(self.frame_weight, frames, mask)

    def texts(self, text: Tensor, tokens: Tensor, mask: Tensor) -> Side:
        """Return tokens and their weights; padding repeats the first real token."""
        return fill_padding(tokens, mask), self._weights(self.token_weight, tokens, mask)

    def meet(self, videos: Side, texts: Side) -> Tensor:
        """Return the scores by one product of all frames with all tokens, then a maximum each way."""
        (frames, frame_weights), (tokens, token_weights) = videos, texts
        cosines = frames.flatten(0, 1) @ tokens.flatten(0, 1).T
        cosines = cosines.view(*frame_weights.shape, *token_weights.shape)
        by_token = torch.einsum("vnl,nl->vn", largest(cosines, 1), token_weights)
        by_frame = torch.einsum("vtn,vt->vn", largest(cosines, 3), frame_weights)
        return (by_token + by_frame) / 2

    def cells(self, videos: Side, texts: Side) -> int:
        """Return frames times tokens."""
        return videos[0].shape[1] * texts[0].shape[1]

    def _weights(self, network: nn.Sequential, states: Tensor, mask: Tensor) -> Tensor:
        """Return softmax weights (N, L) of unit vectors (N, L, d), 0 at padding."""
        logits = network(states * self.width**0.5).squeeze(-1)
        return logits.masked_fill(~mask, float("-inf")).softmax(dim=-1)


def importance_network(width: int) -> nn.Sequential:
    """Return a network that maps a vector to one number, the same for all vectors at the start."""
    last = nn.Linear(width, 1, bias=False)
    nn.init.zeros_(last.weight)
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), last)


def fill_padding(states: Tensor, mask: Tensor) -> Tensor:
    """Replace padding of (N, L, d) by the first real vector of its row."""
    if bool(mask.all()):
        return states
    first = states[torch.arange(len(states), device=states.device), mask.int().argmax(dim=1)]
    return torch.where(mask.unsqueeze(-1), states, first.unsqueeze(1))


def largest(x: Tensor, dim: int) -> Tensor:
    """Return the maximum over a dimension. A backward pass keeps its index, not all values it was chosen from."""
    return x.max(dim=dim).values if x.requires_grad else x.amax(dim=dim)
