"""Frames through a temporal transformer before pooling (CLIP4Clip)."""

from __future__ import annotations

from torch import Tensor

from mova.baselines.base import Side
from mova.baselines.mean_pool import MeanPool
from mova.errors import UsageError
from mova.models.layers.frame_transformer import FrameTransformer
from mova.models.mova.masks import check_heads


class TemporalTransformer(MeanPool):
    """CLIP4Clip, sequential type ("seqTransf"; Luo et al. 2021, arXiv 2104.08860).

    `FrameTransformer`, then as `MeanPool`. Training begins at mean pooling.

    Args:
        width: d.
        depth: blocks (4 in the paper).
        heads: divides d.
        positions: maximum number of real frames per video.

    Raises:
        UsageError: heads that do not divide the width.
    """

    def __init__(self, width: int, depth: int = 4, heads: int = 8, positions: int = 1024) -> None:
        super().__init__(width)
        check_heads(width, heads)
        self.sequence = FrameTransformer(width, depth, heads, positions)

    def videos(self, frames: Tensor, mask: Tensor) -> Side:
        """Return the mean of frames that have attended to each other; positions count real frames only.

        Raises:
            UsageError: more real frames than positions.
        """
        longest, positions = int(mask.sum(dim=1).max()), self.sequence.positions.num_embeddings
        if longest > positions:
            raise UsageError(
                f"a video has {longest} frames, the temporal transformer {positions} "
                "positions; sample fewer frames or make it with more positions"
            )
        return super().videos(self.sequence(frames, mask), mask)
