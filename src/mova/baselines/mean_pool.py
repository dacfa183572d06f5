"""Mean pooling of frames (CLIP4Clip)."""

from __future__ import annotations

from torch import Tensor

from mova.baselines.base import Baseline, Side
from mova.scoring.pooling import masked_mean
from mova.scoring.similarity import unit


class MeanPool(Baseline):
    """CLIP4Clip, parameter-free type ("meanP"; Luo et al. 2021, arXiv 2104.08860).

    `S = cos(mean_t z_t / |z_t|, u)`.
    """

    def videos(self, frames: Tensor, mask: Tensor) -> Side:
        """Return the mean of a video's frames, (V, d), at length 1."""
        return (unit(masked_mean(frames, mask)),)

    def meet(self, videos: Side, texts: Side) -> Tensor:
        """Return the scores by one matrix product."""
        return videos[0] @ texts[0].T
