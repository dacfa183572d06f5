"""A temporal mask over raw tokens: the ablation of MoVA in which a frame selects words instead of dimensions.

For frame t, a transformer over the sequence [frame; tokens] gives every token l the probability that the frame shows
it. The masked text is the sum of the selected token states, `s_t = sum_l m_t,l h_l / |h_l|`, and takes the place of
`z_T * m_t` in L_tv. There is no concept mask. This is our reading of "TMN with masks on raw tokens" (arXiv 2607.00858).

Shape legend: V videos, T frames, L tokens, d width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from mova.data.batch import PairVectors
from mova.losses.global_contrast import mean_pooled_scores, score_nce
from mova.losses.masked_contrast import expected_l0, temporal_nce
from mova.models.layers.attention import Block
from mova.models.mova.masks import OPEN_BIAS, ModularMasks, straight_through
from mova.models.worlds_tiny.model import WorldsTiny
from mova.scoring.similarity import full, unit
from mova.train.objectives.base import PairObjective, Tensors
from mova.train.objectives.mova import MASK_TAU


class TokenMasked(nn.Module):
    """A backbone with a mask network over the tokens of its captions."""

    def __init__(self, backbone: WorldsTiny, depth: int = 2, heads: int = 8) -> None:
        super().__init__()
        width = backbone.embedding_dim
        self.backbone = backbone
        self.enter_frame, self.enter_token = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm, self.logit = nn.LayerNorm(width), nn.Linear(width, 1)
        nn.init.constant_(self.logit.bias, OPEN_BIAS)

    def forward(self, **inputs: Tensor) -> dict[str, Any]:
        """Return the vectors of the backbone."""
        vectors: dict[str, Any] = self.backbone(**inputs)
        return vectors

    def probabilities(self, frames: Tensor, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """Return the probability that a frame (V, T, d) shows a token (V, L, d): (V, T, L), 0 at padding."""
        x = self.enter_frame(frames)
        states = self.enter_token(tokens.masked_fill(~token_mask.unsqueeze(-1), 0.0)).unsqueeze(1)
        for block in self.blocks:
            x, states = cast(Block, block).join(x, states, token_mask)
        logits = full(self.logit(self.norm(states))).squeeze(-1)
        return logits.sigmoid().masked_fill(~token_mask.unsqueeze(1), 0.0)

    def masks(
        self, frames: Tensor, frame_mask: Tensor, tokens: Tensor, token_mask: Tensor, text: Tensor
    ) -> ModularMasks:
        """Return the masked texts in the place of `m_t`, and ones for text and `m_v`, so that `text * m_t` is `s_t`.

        `p_t` and `p_v` are the probabilities (V, T, L) of the tokens.
        """
        p = self.probabilities(frames.masked_fill(~frame_mask.unsqueeze(-1), 0.0), tokens, token_mask)
        words = unit(tokens.masked_fill(~token_mask.unsqueeze(-1), 0.0))
        chosen = straight_through(p) @ words
        return ModularMasks(frames, torch.ones_like(text), p, p, chosen, torch.ones_like(frames))


@dataclass(eq=False)
class TokenObjective(PairObjective):
    """`L_g + L_tv + w L_s` with masks over tokens; L_s is the expected share of a caption's tokens that are on."""

    reads = ("tokens", "token_mask")
    by_matches = False
    sparsity: float = 0.01

    def losses(self, vectors: PairVectors, positive: Tensor, net: nn.Module) -> tuple[Tensor, Tensors]:
        """Return the loss and its parts `pooled`, `temporal` and `sparsity`."""
        valid = ~positive | torch.eye(len(positive), dtype=torch.bool, device=positive.device)
        real, (tokens, token_mask) = vectors.frame_mask, vectors.with_tokens()
        masks = cast(TokenMasked, net).masks(vectors.frames, real, tokens, token_mask, vectors.texts)
        share = masks.p_t.sum(dim=-1, keepdim=True) / token_mask.sum(dim=-1)[:, None, None]
        parts = {
            "pooled": score_nce(self.scores(vectors, net), vectors.scale, valid=valid),
            "temporal": temporal_nce(masks.frames, real, masks.text, masks.m_t, 1 / MASK_TAU, groups=vectors.group),
            "sparsity": expected_l0(share, real),
        }
        return parts["pooled"] + parts["temporal"] + self.sparsity * parts["sparsity"], parts

    def scores(self, vectors: PairVectors, net: nn.Module) -> Tensor:
        """Return the scores of mean pooling, (V, N)."""
        return mean_pooled_scores(vectors.frames, vectors.frame_mask, vectors.texts)
