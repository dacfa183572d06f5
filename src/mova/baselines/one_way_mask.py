"""The caption masks dimensions of the video (SmartCLIP)."""

from __future__ import annotations

from torch import Tensor

from mova.baselines.base import Side
from mova.baselines.mean_pool import MeanPool
from mova.models.mova.masks import TemporalMaskNetwork, straight_through
from mova.scoring.similarity import masked_cosine, unit


class OneWayMask(MeanPool):
    """SmartCLIP's mask (Xie et al. 2025, arXiv 2507.22264), on the mean of a video's frames.

    `S = cos(v * m(text), u)`: the caption alone decides which dimensions of the video count; it stays whole itself. The
    mask network is MoVA's with the caption's vector in the place of a frame. The loss computes its sparsity term from
    `probabilities`.

    Args:
        width: d.
        heads: divides d.
        depth: blocks of the network.
        hard: straight-through masks of 0 and 1, else the probabilities themselves.
        network: a mask network that another model has, used instead of a new one.

    Raises:
        UsageError: heads that do not divide the width, or a depth that the mask network does not have.
    """

    def __init__(
        self,
        width: int,
        heads: int = 8,
        depth: int = 1,
        hard: bool = True,
        network: TemporalMaskNetwork | None = None,
    ) -> None:
        super().__init__(width)
        self.network = TemporalMaskNetwork(width, depth, heads) if network is None else network
        self.hard = hard

    def probabilities(self, text: Tensor, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """Return the probability of every dimension to be on: (N, d), (N, L, d) and bool (N, L) -> (N, d)."""
        return self.network(unit(text).unsqueeze(1), self.network.read(unit(tokens), token_mask)).squeeze(1)

    def decide(self, probabilities: Tensor) -> Tensor:
        """Return masks from probabilities, hard or soft."""
        return straight_through(probabilities) if self.hard else probabilities

    def texts(self, text: Tensor, tokens: Tensor, mask: Tensor) -> Side:
        """Return the vectors and their masks, (N, d) each."""
        return (text, self.decide(self.probabilities(text, tokens, mask)))

    def meet(self, videos: Side, texts: Side) -> Tensor:
        """Return the scores by two matrix products, see `masked_cosine`."""
        text, masks = texts
        return masked_cosine(videos[0], masks, text)
