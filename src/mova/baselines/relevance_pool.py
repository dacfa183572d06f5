"""Frames pooled by their cosine with the text, without parameters."""

from __future__ import annotations

from torch import Tensor

from mova.baselines.base import Baseline, Side, products
from mova.scoring.similarity import POOLING_TEMPERATURE, relevance_pooled


class RelevancePool(Baseline):
    """Frames pooled by their cosine with the text, without parameters: the control of every text-conditioned pooling.

    `S = cos(sum_t w_t z_t, u)`, `w = softmax_t(cos(z_t, u) / tau)`, see `relevance_pooled`. X-Pool at its start is of
    this form too, with a temperature of `1 / sqrt(d)` on centred vectors.

    Args:
        width: d.
        tau: temperature, above 0.
    """

    def __init__(self, width: int, tau: float = POOLING_TEMPERATURE) -> None:
        super().__init__(width)
        self.tau = tau

    def videos(self, frames: Tensor, mask: Tensor) -> Side:
        """Return frames and mask as they are."""
        return frames, mask

    def meet(self, videos: Side, texts: Side) -> Tensor:
        """Return the scores by one matrix product, and a softmax over the cosines."""
        frames, mask = videos
        return relevance_pooled(products(frames, texts[0]), frames, self.tau, mask)
