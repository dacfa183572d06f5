"""Scores that MoVA is compared with, each a small head on the outputs of a two-tower backbone.

All heads take the same five tensors and give a cosine-like score for every video with every text; the learnt scale of a
contrastive loss is applied outside. `BASELINES` names them, `BASELINES[name](width)` makes one. What a backbone gives
is brought to length 1 at the door, so heads do not depend on its scale, and columns in which every row is padding are
cut. A head knows the videos' side, the texts' side, and how the two meet; pairs meet in blocks, so a gallery never
costs more than `BLOCK_CELLS` numbers at a time, and no array of V x N x T x d is made.

Where the papers start from CLIP's own layers, these heads start as the parameter-free score that they extend: mean
pooling (TemporalTransformer), plain averages of best cosines (TokenWise), attention by cosine (XPool).

Shape legend: V videos, T frames, N texts, L tokens, d width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mova.errors import UsageError
from mova.models.layers.attention import Block
from mova.models.mova.masks import TemporalMaskNetwork, check_heads, straight_through
from mova.scoring.pooling import masked_mean
from mova.scoring.similarity import POOLING_TEMPERATURE, masked_cosine, relevance_pooled, squared_length, unit

Side = tuple[Tensor, ...]
"""What a head computes of videos alone or of texts alone: tensors whose first size is V or N."""
BLOCK_CELLS = 2**20
"""Numbers in the largest array of a block of pairs: 4 MB, so that it is read again from a processor's cache."""


class Baseline(nn.Module, ABC):
    """A head: videos' side, texts' side, and how they meet.

    Args:
        width: d of the backbone's vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, frames: Tensor, frame_mask: Tensor, text: Tensor, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """Every video with every text.

        Args:
            frames: (V, T, d), of any length each, not zero.
            frame_mask: bool, (V, T), true where a frame is real; what stands in padding does not matter.
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
            videos = self.videos(*_real(frames, frame_mask))
            texts = self.texts(unit(text), *_real(tokens, token_mask))
            return _in_blocks(self.meet, videos, texts, self.cells(videos, texts))

    @abstractmethod
    def videos(self, frames: Tensor, mask: Tensor) -> Side:
        """The videos' side: unit vectors (V, T, d), padding 0, and their mask (V, T)."""

    def texts(self, text: Tensor, tokens: Tensor, mask: Tensor) -> Side:
        """The texts' side: unit vectors (N, d) and (N, L, d), padding 0, and the tokens' mask (N, L)."""
        return (text,)

    @abstractmethod
    def meet(self, videos: Side, texts: Side) -> Tensor:
        """Some videos with some texts: scores (V, N)."""

    def cells(self, videos: Side, texts: Side) -> int:
        """Numbers that one pair adds to the largest array of `meet`: as many as a video's first tensor has rows."""
        return videos[0].shape[1] if videos[0].ndim == 3 else 1

    def _check(self, frames: Tensor, frame_mask: Tensor, text: Tensor, tokens: Tensor, token_mask: Tensor) -> None:
        name, sizes = type(self).__name__, [tuple(x.shape) for x in (frames, frame_mask, text, tokens, token_mask)]
        (*many, d), (*some, e) = sizes[0], sizes[3]
        fits = many == list(sizes[1]) and some == list(sizes[4]) and sizes[2] == (*some[:1], d)
        if not (fits and len(many) == len(some) == 2 and d == e == self.width):
            raise ValueError(
                f"{name}: frames (V, T, {self.width}), frame_mask (V, T), text (N, {self.width}), tokens (N, L, "
                f"{self.width}) and token_mask (N, L) are needed, not {', '.join(map(str, sizes))}"
            )
        if frame_mask.dtype != torch.bool or token_mask.dtype != torch.bool:
            raise ValueError(f"{name}: masks must be bool, not {frame_mask.dtype} and {token_mask.dtype}")
        if len(frames) == 0 or len(text) == 0:
            raise ValueError(f"{name}: there is no video or no text")
        if not bool(frame_mask.any(dim=1).all()) or not bool(token_mask.any(dim=1).all()):
            raise ValueError(f"{name}: a video has no real frame or a text no real token, so it has no score")


class MeanPool(Baseline):
    """CLIP4Clip, parameter-free type ("meanP"; Luo et al. 2021, arXiv 2104.08860).

    `S = cos(mean_t z_t / |z_t|, u)`.
    """

    def videos(self, frames: Tensor, mask: Tensor) -> Side:
        """The mean of a video's frames, (V, d), at length 1."""
        return (unit(masked_mean(frames, mask)),)

    def meet(self, videos: Side, texts: Side) -> Tensor:
        """One matrix product."""
        return videos[0] @ texts[0].T


class TemporalTransformer(MeanPool):
    """CLIP4Clip, sequential type ("seqTransf"; Luo et al. 2021, arXiv 2104.08860).

    `z'_t = z_t + Transformer(z + p)_t`, then as `MeanPool`. The paper starts p and the transformer from CLIP's text
    tower; here p and the ends of both branches of every block start at zero, so training begins at mean pooling.
    Frames enter at a root mean square of 1, where a norm's output lies too.

    Args:
        width: d.
        depth: blocks (4 in the paper).
        heads: divides d.
        positions: most real frames a video may have.

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
        """Frames that have seen each other, pooled; positions count real frames only.

        Raises:
            UsageError: more real frames than positions.
        """
        place = mask.cumsum(dim=1) - 1
        if int(place.max()) >= self.positions.num_embeddings:
            raise UsageError(
                f"a video has {int(place.max()) + 1} frames, the temporal transformer {self.positions.num_embeddings} "
                "positions; sample fewer frames or make it with more positions"
            )
        frames = frames * self.width**0.5
        seen = frames + self.positions(place.clamp_min(0))
        for block in self.blocks:
            seen = block(seen, mask)
        return super().videos(unit(frames + seen), mask)


class OneWayMask(MeanPool):
    """SmartCLIP's mask (Xie et al. 2025, arXiv 2507.22264), on the mean of a video's frames.

    `S = cos(v * m(text), u)`: the caption alone decides which dimensions of the video count; it stays whole itself. The
    mask network is MoVA's with the caption's vector where a frame would stand. Its sparsity term is the loss's
    business: see `probabilities`.

    Args:
        width: d.
        heads: divides d.
        depth: blocks that the caption's vector passes.
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
        """Of every dimension, to be on: (N, d), (N, L, d) and bool (N, L) -> (N, d)."""
        return self.network(unit(text).unsqueeze(1), self.network.read(unit(tokens), token_mask)).squeeze(1)

    def decide(self, probabilities: Tensor) -> Tensor:
        """Masks from probabilities, hard or soft."""
        return straight_through(probabilities) if self.hard else probabilities

    def texts(self, text: Tensor, tokens: Tensor, mask: Tensor) -> Side:
        """The vectors and their masks, (N, d) each."""
        return (text, self.decide(self.probabilities(text, tokens, mask)))

    def meet(self, videos: Side, texts: Side) -> Tensor:
        """Two matrix products, see `masked_cosine`."""
        text, masks = texts
        return masked_cosine(videos[0], masks, text)


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
        self.frame_weight, self.token_weight = _importance(width), _importance(width)

    def videos(self, frames: Tensor, mask: Tensor) -> Side:
        """Frames and their weights. Padding repeats the first real frame: no maximum sees the difference."""
        return _filled(frames, mask), self._weights(self.frame_weight, frames, mask)

    def texts(self, text: Tensor, tokens: Tensor, mask: Tensor) -> Side:
        """Tokens and their weights, likewise."""
        return _filled(tokens, mask), self._weights(self.token_weight, tokens, mask)

    def meet(self, videos: Side, texts: Side) -> Tensor:
        """One matrix product of all frames with all tokens, then a maximum each way."""
        (frames, frame_weights), (tokens, token_weights) = videos, texts
        cosines = frames.flatten(0, 1) @ tokens.flatten(0, 1).T
        cosines = cosines.view(*frame_weights.shape, *token_weights.shape)
        told = torch.einsum("vnl,nl->vn", _largest(cosines, 1), token_weights)
        shown = torch.einsum("vtn,vt->vn", _largest(cosines, 3), frame_weights)
        return (told + shown) / 2

    def cells(self, videos: Side, texts: Side) -> int:
        """Frames times tokens."""
        return videos[0].shape[1] * texts[0].shape[1]

    def _weights(self, network: nn.Sequential, states: Tensor, mask: Tensor) -> Tensor:
        """(N, L, d) unit vectors -> softmax weights (N, L), 0 at padding."""
        logits = network(states * self.width**0.5).squeeze(-1)
        return logits.masked_fill(~mask, float("-inf")).softmax(dim=-1)


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
        """Frames, mask, and the vectors that a pair's weights meet: for LN2, for LN3, and for the score."""
        entered = self.norm1(frames * self.width**0.5)
        first = _centred(self.out(self.value(entered)))
        pooled = _with_bias(first * self.norm2.weight, self.norm2.bias)
        fed = pooled + pooled @ self.feed.weight.T
        second = _centred(torch.cat([fed[:, :-1], fed[:, -1:] + self.feed.bias], dim=1))
        return entered, mask, first, second, _with_bias(second * self.norm3.weight, self.norm3.bias)

    def texts(self, text: Tensor, tokens: Tensor, mask: Tensor) -> Side:
        """Queries, scaled and through K, and the texts themselves, (N, d) each."""
        queries = self.query(self.norm1(text * self.width**0.5)) @ self.key.weight
        return queries * self.width**-0.5, text

    def meet(self, videos: Side, texts: Side) -> Tensor:
        """Attention weights, through both layer norms, to the cosine."""
        (frames, mask, first, second, last), (queries, text) = videos, texts
        weights = _against(frames, queries).masked_fill(~mask.unsqueeze(1), float("-inf")).softmax(dim=-1)
        weights = _normed(weights, first, self.norm2.eps)
        weights = _normed(weights, second, self.norm3.eps)
        told = (weights * _against(last, text)).sum(dim=-1)
        return told * squared_length(weights, last).clamp_min(1e-12).rsqrt()


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
        """Frames and mask as they are."""
        return frames, mask

    def meet(self, videos: Side, texts: Side) -> Tensor:
        """One matrix product, and a softmax over the cosines."""
        frames, mask = videos
        return relevance_pooled(_against(frames, texts[0]), frames, self.tau, mask)


BASELINES: dict[str, type[Baseline]] = {
    "mean_pool": MeanPool,
    "temporal_transformer": TemporalTransformer,
    "one_way_mask": OneWayMask,
    "token_wise": TokenWise,
    "x_pool": XPool,
    "relevance_pool": RelevancePool,
}
"""Name of a baseline -> its class, made with the width alone."""


def _real(states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors without the columns that are padding in every row; padding that is left is 0."""
    used = mask.any(dim=0)
    if not bool(used.all()):
        states, mask = states[:, used], mask[:, used]
    return unit(states.masked_fill(~mask.unsqueeze(-1), 0.0)), mask


def _in_blocks(meet: Callable[[Side, Side], Tensor], videos: Side, texts: Side, cells: int) -> Tensor:
    """`meet` on blocks of pairs of about `BLOCK_CELLS` cells, put together to (V, N)."""
    columns = max(1, min(len(texts[0]), BLOCK_CELLS // cells))
    rows = max(1, BLOCK_CELLS // (cells * columns))
    if rows >= len(videos[0]) and columns >= len(texts[0]):
        return meet(videos, texts)
    told = list(zip(*(x.split(columns) for x in texts), strict=True))
    shown = zip(*(x.split(rows) for x in videos), strict=True)
    return torch.cat([torch.cat([meet(some, few) for few in told], dim=1) for some in shown])


def _against(vectors: Tensor, queries: Tensor) -> Tensor:
    """Products of (V, T, d) with (N, d) as one matrix product: (V, N, T)."""
    return (vectors.flatten(0, 1) @ queries.T).unflatten(0, vectors.shape[:2]).transpose(1, 2)


def _importance(width: int) -> nn.Sequential:
    """A network that gives one number for a vector, the same for all of them at the start."""
    last = nn.Linear(width, 1, bias=False)
    nn.init.zeros_(last.weight)
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), last)


def _filled(states: Tensor, mask: Tensor) -> Tensor:
    """(N, L, d) with the first real vector of a row where padding was."""
    if bool(mask.all()):
        return states
    first = states[torch.arange(len(states), device=states.device), mask.int().argmax(dim=1)]
    return torch.where(mask.unsqueeze(-1), states, first.unsqueeze(1))


def _largest(x: Tensor, dim: int) -> Tensor:
    """Maximum over a dimension. For a backward pass its place is kept rather than all that it was chosen from."""
    return x.max(dim=dim).values if x.requires_grad else x.amax(dim=dim)


def _centred(x: Tensor) -> Tensor:
    """Vectors (..., d) less the mean of their components."""
    return x - x.mean(dim=-1, keepdim=True)


def _with_bias(vectors: Tensor, bias: Tensor) -> Tensor:
    """(V, T, d) and (d,) -> (V, T + 1, d): a bias is one more vector, of weight 1."""
    return torch.cat([vectors, bias.expand(len(vectors), 1, -1)], dim=1)


def _normed(weights: Tensor, vectors: Tensor, eps: float) -> Tensor:
    """A layer norm of weighted sums, as weights: (V, N, T) on centred (V, T, d) -> (V, N, T + 1), the bias's last."""
    variance = squared_length(weights, vectors).clamp_min(0.0) / vectors.shape[-1]
    weights = weights * (variance + eps).rsqrt().unsqueeze(-1)
    return torch.cat([weights, torch.ones_like(weights[..., :1])], dim=-1)
