"""A transformer over the frames of a video, before they are pooled (CLIP4Clip's sequential type).

Shape legend: V videos, T frames, d width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mova.models.layers.attention import Block
from mova.scoring.similarity import unit


class FrameTransformer(nn.Module):
    """Frames that have attended to each other: `z'_t = z_t + Transformer(z + p)_t`.

    "seqTransf" of CLIP4Clip (Luo et al. 2021, arXiv 2104.08860). The paper starts p and the transformer from CLIP's
    text tower; here p and the ends of both branches of every block start at zero, so that directions stay as they are.
    Frames enter at a root mean square of 1, as the output of a norm has.

    Args:
        width: d.
        depth: blocks (4 in the paper).
        heads: divides d.
        positions: maximum number of real frames per video.
    """

    def __init__(self, width: int, depth: int, heads: int, positions: int) -> None:
        super().__init__()
        self.positions = nn.Embedding(positions, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        nn.init.zeros_(self.positions.weight)
        for name, parameter in self.blocks.named_parameters():
            if name.split(".")[1] in ("out", "down"):
                nn.init.zeros_(parameter)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Return unit vectors (V, T, d) of frames that have seen each other; positions count real frames only.

        Args:
            frames: unit vectors, (V, T, d).
            mask: bool, (V, T), true where a frame is real; at most `positions` per row.
        """
        position = (mask.cumsum(dim=1) - 1).clamp_min(0)
        frames = frames * frames.shape[-1] ** 0.5
        seen = frames + self.positions(position)
        for block in self.blocks:
            seen = block(seen, mask)
        return unit(frames + seen)


def spread(count: int, most: int) -> Tensor:
    """Return the indices of at most `most` frames out of `count`, in the middle of equal parts.

    >>> spread(3, 5).tolist(), spread(10, 5).tolist()
    ([0, 1, 2], [1, 3, 5, 7, 9])
    """
    if count <= most:
        return torch.arange(count)
    return ((torch.arange(most, dtype=torch.float64) + 0.5) * count / most).long()
