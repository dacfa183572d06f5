"""Frames through a temporal transformer before pooling (CLIP4Clip)."""

from __future__ import annotations

from torch import Tensor, nn

from mova.baselines.base import Side
from mova.baselines.mean_pool import MeanPool
from mova.errors import UsageError
from mova.models.layers.attention import Block
from mova.models.mova.masks import check_heads
from mova.scoring.similarity import unit


class TemporalTransformer(MeanPool):
    """CLIP4Clip, sequential type ("seqTransf"; Luo et al. 2021, arXiv 2104.08860).

    `z'_t = z_t + Transformer(z + p)_t`, then as `MeanPool`. The paper starts p and the transformer from CLIP's text
    tower; here p and the ends of both branches of every block start at zero, so training begins at mean pooling.
    Frames enter at a root mean square of 1, as the output of a norm has.

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
        self.positions = nn.Embedding(positions, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        nn.init.zeros_(self.positions.weight)
        for name, parameter in self.blocks.named_parameters():
            if name.split(".")[1] in ("out", "down"):
                nn.init.zeros_(parameter)

    def videos(self, frames: Tensor, mask: Tensor) -> Side:
        """Return the mean of frames that have attended to each other; positions count real frames only.

        Raises:
            UsageError: more real frames than positions.
        """
        position = mask.cumsum(dim=1) - 1
        longest = int(position.max()) + 1
        if longest > self.positions.num_embeddings:
            raise UsageError(
                f"a video has {longest} frames, the temporal transformer {self.positions.num_embeddings} "
                "positions; sample fewer frames or make it with more positions"
            )
        frames = frames * self.width**0.5
        seen = frames + self.positions(position.clamp_min(0))
        for block in self.blocks:
            seen = block(seen, mask)
        return super().videos(unit(frames + seen), mask)
