"""The base class of baselines: small heads on the outputs of a two-tower backbone.

All heads take the same five tensors and return a cosine-like score for every video with every text; the learned scale
of a contrastive loss is applied outside. Backbone outputs are normalized to length 1 first, so heads do not depend on
their scale, and columns that are padding in every row are cut. A head defines the side of the videos, the side of the
texts, and how the two meet. Pairs meet in blocks, so a gallery never costs more than `BLOCK_CELLS` numbers at a time,
and no array of V x N x T x d is made.

Where the papers start from CLIP's own layers, these heads start as the parameter-free score that they extend: mean
pooling (TemporalTransformer), plain averages of best cosines (TokenWise), attention by cosine (XPool).

Shape legend: V videos, T frames, N texts, L tokens, d width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mova.scoring.similarity import unit

Side = tuple[Tensor, ...]
"""The output of a head for videos alone or texts alone: tensors whose first size is V or N."""
BLOCK_CELLS = 2**20
"""Numbers in the largest array of a block of pairs: 4 MB, so that it stays in a processor's cache."""


class Baseline(nn.Module, ABC):
    """A head on the vectors of a backbone.

    Args:
        width: d of the backbone's vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, frames: Tensor, frame_mask: Tensor, text: Tensor, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """Score every video with every text.

        Args:
            frames: (V, T, d), of any length, not zero.
            frame_mask: bool, (V, T), true where a frame is real; values at padding are ignored.
            text: (N, d).
            tokens: (N, L, d), projected token states.
            token_mask: bool, (N, L), true where a token is real.

        Returns:
            (V, N), at least float32 (under autocast too), in [-1, 1] up to rounding.

        Raises:
            ValueError: shapes disagree, nothing to score, a video without a real frame, a text without a real token.
        """
        self._check(frames, frame_mask, text, tokens, token_mask)
        with torch.autocast(frames.device.type, enabled=False):
            videos = self.videos(*without_padding(frames, frame_mask))
            texts = self.texts(unit(text), *without_padding(tokens, token_mask))
            return in_blocks(self.meet, videos, texts, self.cells(videos, texts))

    @abstractmethod
    def videos(self, frames: Tensor, mask: Tensor) -> Side:
        """Return the side of the videos, from unit vectors (V, T, d), 0 at padding, and their mask (V, T)."""

    def texts(self, text: Tensor, tokens: Tensor, mask: Tensor) -> Side:
        """Return the side of the texts, from unit vectors (N, d) and (N, L, d), 0 at padding, and a mask (N, L)."""
        return (text,)

    @abstractmethod
    def meet(self, videos: Side, texts: Side) -> Tensor:
        """Return the scores (V, N) of some videos with some texts."""

    def cells(self, videos: Side, texts: Side) -> int:
        """Return how many numbers one pair adds to the largest array of `meet`."""
        return videos[0].shape[1] if videos[0].ndim == 3 else 1

    def _check(self, frames: Tensor, frame_mask: Tensor, text: Tensor, tokens: Tensor, token_mask: Tensor) -> None:
        name, sizes = type(self).__name__, [tuple(x.shape) for x in (frames, frame_mask, text, tokens, token_mask)]
        (*videos, d), (*texts, e) = sizes[0], sizes[3]
        fits = videos == list(sizes[1]) and texts == list(sizes[4]) and sizes[2] == (*texts[:1], d)
        if not (fits and len(videos) == len(texts) == 2 and d == e == self.width):
            raise ValueError(
                f"{name}: frames (V, T, {self.width}), frame_mask (V, T), text (N, {self.width}), tokens (N, L, "
                f"{self.width}) and token_mask (N, L) are needed, not {', '.join(map(str, sizes))}"
            )
        if frame_mask.dtype != torch.bool or token_mask.dtype != torch.bool:
            raise ValueError(f"{name}: masks must be bool, not {frame_mask.dtype} and {token_mask.dtype}")
        if len(frames) == 0 or len(text) == 0:
            raise ValueError(f"{name}: needs at least one video and one text")
        if not bool(frame_mask.any(dim=1).all()) or not bool(token_mask.any(dim=1).all()):
            raise ValueError(
                f"{name}: a video has only padding frames, or a text only padding tokens, so it has no score"
            )


def without_padding(states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return unit vectors without the columns that are padding in every row; other padding is 0."""
    used = mask.any(dim=0)
    if not bool(used.all()):
        states, mask = states[:, used], mask[:, used]
    return unit(states.masked_fill(~mask.unsqueeze(-1), 0.0)), mask


def in_blocks(meet: Callable[[Side, Side], Tensor], videos: Side, texts: Side, cells: int) -> Tensor:
    """Run `meet` on blocks of pairs of about `BLOCK_CELLS` cells, and join the scores to (V, N)."""
    columns = max(1, min(len(texts[0]), BLOCK_CELLS // cells))
    rows = max(1, BLOCK_CELLS // (cells * columns))
    if rows >= len(videos[0]) and columns >= len(texts[0]):
        return meet(videos, texts)
    text_blocks = list(zip(*(x.split(columns) for x in texts), strict=True))
    video_blocks = zip(*(x.split(rows) for x in videos), strict=True)
    return torch.cat([torch.cat([meet(some, few) for few in text_blocks], dim=1) for some in video_blocks])


def products(vectors: Tensor, queries: Tensor) -> Tensor:
    """Return the inner products (V, N, T) of (V, T, d) with (N, d), as one matrix product."""
    return (vectors.flatten(0, 1) @ queries.T).unflatten(0, vectors.shape[:2]).transpose(1, 2)
