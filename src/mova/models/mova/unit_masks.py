"""The subset form of MoVA's temporal mask: every frame selects among the units of a caption, or none of them.

Instead of dimensions of one pooled caption vector, a frame weights the caption's units (sentences, windows), each
encoded alone, and a learned "none". The text that a frame selects is thus in the span of the caption's own units: it
cannot encode the frame, and the selection can be inspected. Frame and text meet in one product only, so all videos
against all texts cost one matrix product and need no masks per pair.

With `c_tk = cos(z_t, u_k)`:

    l_tk = e^a cos(W_q z_t, W_k (u_k + O Blk(u + position)))        l_t,none = b + q_t . n
    w_t = softmax over the K units and none, r_t = 1 - w_t,none, s_t = sum_k w_tk u_k
    subc = mean_k sum_t softmax_t(c_tk / tau + log w_tk) c_tk
    sub = subc + 0.5 sum_t r_t cos(z_t, s_t) / (sum_t r_t + 0.5)

O starts at zero and both W at the identity, so that selection starts from the cosine itself.

Shape legend: V videos, T frames, N texts, K units of a text (padded), d width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from mova.errors import UsageError
from mova.models.layers.attention import Block
from mova.models.mova.masks import MaskHead, check_heads, straight_through
from mova.scoring.similarity import SMALLEST_NORM, full, late_interaction, unit

UnitScore = Literal["sub", "subc"]
ConceptMasks = Literal["none", "soft", "hard"]
SHARPNESS = 10.0
"""Initial value of e^a."""
NONE_LOGIT = 3.0
"""Initial value of b: a unit with a cosine of 0.3 is as likely as none."""
AGREEMENT_SHARE = 0.5
"""Weight of the agreement of frames with what they selected, and the mass of frames at which it counts half."""


@dataclass(frozen=True, eq=False)
class UnitKeys:
    """The side of the texts, computed once for any number of videos.

    Attributes:
        units: (N, K, d) of length 1; padding is 0.
        keys: (N, K, d) of length 1.
        mask: bool, (N, K), true where a unit is real.
        concepts: (N, K, d) concept masks in [0, 1], or None.
        probabilities: of the concept masks before any threshold, or None.
    """

    units: Tensor
    keys: Tensor
    mask: Tensor
    concepts: Tensor | None = None
    probabilities: Tensor | None = None


@dataclass(frozen=True, eq=False)
class UnitSelection:
    """The selection of every frame from every text.

    Attributes:
        cosines: (V, N, K, T), of frames with units (under the concept mask, if any).
        log_weights: (V, N, K, T), `log w_tk`; 0 at padded units.
        weights: (V, N, K, T), `w_tk`; 0 at padded units and padded frames.
        agreement: (V, N, T), `cos(z_t, s_t)`.
    """

    cosines: Tensor
    log_weights: Tensor
    weights: Tensor
    agreement: Tensor


class UnitMaskNetwork(nn.Module):
    """Selection among caption units, factorized into frame queries and unit keys.

    Args:
        width: d.
        heads: heads of the block in which units attend to each other; divides d.
        concepts: "none", or a concept mask "soft" or "hard" from each unit alone: then
            `c_tk = cos(z_t * m_k, u_k * m_k)`.

    Raises:
        UsageError: unknown `concepts`, heads that do not divide the width.
    """

    def __init__(self, width: int, heads: int = 8, concepts: ConceptMasks = "none") -> None:
        super().__init__()
        if concepts not in get_args(ConceptMasks):
            raise UsageError(f"concepts {concepts!r} are unknown; choose from {', '.join(get_args(ConceptMasks))}")
        check_heads(width, heads)
        self.concepts = concepts
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.context, self.enter = Block(width, heads), nn.LayerNorm(width)
        self.leave = nn.Linear(width, width, bias=False)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(SHARPNESS)))
        self.none_bias = nn.Parameter(torch.tensor(NONE_LOGIT))
        self.none_key = nn.Parameter(torch.zeros(width))
        self.concept_head = None if concepts == "none" else ConceptHead(width)
        nn.init.eye_(self.query.weight)
        nn.init.eye_(self.key.weight)
        nn.init.zeros_(self.leave.weight)

    def read(self, units: Tensor, unit_mask: Tensor) -> UnitKeys:
        """Compute the part of texts that does not depend on frames.

        Args:
            units: (N, K, d), vectors of units that were encoded alone.
            unit_mask: bool, (N, K), true where a unit is real.

        Raises:
            ValueError: a text without a real unit.
        """
        if not bool(unit_mask.any(dim=1).all()):
            raise ValueError("UnitMaskNetwork: a text has only padding units")
        units = unit(units.masked_fill(~unit_mask.unsqueeze(-1), 0.0))
        context = self.context(self.enter(units) + sinusoids(units), unit_mask)
        with torch.autocast(units.device.type, enabled=False):
            keys = unit(self.key(units + self.leave(full(context))))
        if self.concept_head is None:
            return UnitKeys(units, keys, unit_mask)
        probabilities = self.concept_head(units)
        concepts = straight_through(probabilities) if self.concepts == "hard" else probabilities
        return UnitKeys(units, keys, unit_mask, concepts, probabilities)

    def forward(self, frames: Tensor, frame_mask: Tensor, texts: UnitKeys) -> UnitSelection:
        """Compare every frame of every video with every unit of every text.

        This runs in full precision under autocast too: half precision would round values that a softmax multiplies by
        ten.

        Args:
            frames: (V, T, d).
            frame_mask: bool, (V, T), true where a frame is real.
            texts: from `read`.
        """
        with torch.autocast(frames.device.type, enabled=False):
            return self._select(frames, frame_mask, texts)

    def _select(self, frames: Tensor, frame_mask: Tensor, texts: UnitKeys) -> UnitSelection:
        frames = unit(frames.masked_fill(~frame_mask.unsqueeze(-1), 0.0))
        queries = unit(self.query(frames))
        plain = _product(frames, texts.units)
        padding = ~texts.mask[:, :, None]
        logits = _product(queries, self.log_sharpness.exp() * texts.keys).masked_fill(padding, float("-inf"))
        none = (self.none_bias + queries @ self.none_key)[:, None, None, :]
        total = torch.logaddexp(logits.logsumexp(dim=2, keepdim=True), none)
        log_weights = (logits - total).masked_fill(padding, 0.0)
        weights = log_weights.exp().masked_fill(padding, 0.0) * frame_mask[:, None, None, :]
        overlap = (texts.units @ texts.units.transpose(1, 2)) @ weights
        length = (overlap * weights).sum(dim=2).clamp(min=SMALLEST_NORM**2).sqrt()
        agreement = (weights * plain).sum(dim=2) / length
        cosines = plain if texts.concepts is None else _masked(frames, texts.units, texts.concepts)
        return UnitSelection(cosines, log_weights, weights, agreement)

    def weights(self, frames: Tensor, units: Tensor) -> Tensor:
        """Return how much each frame of one video selects of each unit of one caption, for inspection.

        Args:
            frames: (T, d).
            units: (K, d).

        Returns:
            (T, K + 1), rows sum to 1; the last column is "none of the caption".
        """
        one = torch.ones(1, 1, dtype=torch.bool, device=frames.device)
        selected = self(frames[None], one.expand(1, len(frames)), self.read(units[None], one.expand(1, len(units))))
        chosen = selected.weights[0, 0].T
        return torch.cat([chosen, 1.0 - chosen.sum(dim=1, keepdim=True)], dim=1)


class ConceptHead(nn.Module):
    """A concept mask from the vector of a unit alone, by a small perceptron.

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(width, width), MaskHead(width)

    def forward(self, units: Tensor) -> Tensor:
        """Map units (..., d) to probabilities (..., d)."""
        return self.head(torch.relu(self.hidden(units)))


def unit_score(selection: UnitSelection, unit_mask: Tensor, frame_mask: Tensor, score: UnitScore = "sub") -> Tensor:
    """Return one score per video and text from the selection of the frames; see the module for the formulas.

    Args:
        selection: from `UnitMaskNetwork`.
        unit_mask: bool, (N, K), at least one real unit per text.
        frame_mask: bool, (V, T), at least one real frame per video.
        score: "sub" or "subc".

    Returns:
        (V, N).

    Raises:
        UsageError: an unknown score.
        ValueError: a video without a real frame.
    """
    if score not in get_args(UnitScore):
        raise UsageError(f"score {score!r} is unknown; choose from {', '.join(get_args(UnitScore))}")
    covered = late_interaction(
        selection.cosines,
        sentence_mask=unit_mask,
        frame_mask=frame_mask[:, None, :],
        log_prior=selection.log_weights,
    )
    if score == "subc":
        return covered
    described = selection.weights.sum(dim=2)
    agreed = (described * selection.agreement).sum(dim=-1) / (described.sum(dim=-1) + AGREEMENT_SHARE)
    return covered + AGREEMENT_SHARE * agreed


def sinusoids(units: Tensor) -> Tensor:
    """Return sinusoidal positions (K, d) for units (N, K, d) (Vaswani et al. 2017, section 3.5)."""
    count, width = units.shape[-2:]
    half = (width + 1) // 2
    rates = torch.exp(torch.arange(half, device=units.device) * (-math.log(10_000.0) / half))
    angles = torch.arange(count, device=units.device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width].to(units.dtype)


def _product(frames: Tensor, units: Tensor) -> Tensor:
    """Return the inner products (V, N, K, T) of frames (V, T, d) with units (N, K, d), as one matrix product."""
    videos, count = frames.shape[:2]
    products = units.flatten(0, 1) @ frames.flatten(0, 1).T
    return products.view(*units.shape[:2], videos, count).permute(2, 0, 1, 3)


def _masked(frames: Tensor, units: Tensor, masks: Tensor) -> Tensor:
    """Return `cos(z_t * m_k, u_k * m_k)` of all pairs, (V, N, K, T), by two products with squared (soft) masks."""
    seen = units * masks
    length = seen.square().sum(dim=-1).clamp(min=SMALLEST_NORM**2).sqrt()[:, :, None]
    visible = _product(frames.square(), masks.square()).clamp(min=SMALLEST_NORM**2).sqrt()
    return _product(frames, seen * masks) / (visible * length)
