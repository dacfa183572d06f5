"""Objectives on pairs of video and text without masks: mean pooling and late interaction.

Shape legend: V videos, N texts (V = N in a batch), T frames, K units per text, d width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mova.data.batch import PairVectors
from mova.errors import UsageError
from mova.losses.contrastive import symmetric_nce
from mova.losses.global_contrast import mean_pooled_scores, unit_scores
from mova.losses.ordered_alignment import ordered_alignment_loss
from mova.scoring.similarity import FRAME_TEMPERATURE, cosine
from mova.train.objectives.base import PairObjective, Tensors


@dataclass(frozen=True, eq=False)
class Clip4Clip(PairObjective):
    """Mean pooling and symmetric InfoNCE (CLIP4Clip, Luo et al. 2021, Eq. 5 to 7; L_g)."""

    scoring_form = "global"

    def losses(self, vectors: PairVectors, positive: Tensor, net: nn.Module) -> tuple[Tensor, Tensors]:
        """Return the loss, and as parts `global` and `hits`."""
        scores = self.scores(vectors, net)
        loss = symmetric_nce(vectors.scale * scores, positive)
        return loss, {"global": loss, "hits": hits(scores, positive)}

    def scores(self, vectors: PairVectors, net: nn.Module) -> Tensor:
        """Return the cosine of the mean of normalized frames with the text."""
        return mean_pooled_scores(vectors.frames, vectors.frame_mask, vectors.texts)


@dataclass(frozen=True, eq=False)
class LateInteraction(PairObjective):
    """Late interaction over units plus the weighted global contrast: `L = L_LI + w L_g + v L_order`.

    L_LI is the symmetric InfoNCE on `S = mean_k sum_t softmax_t(c_tk / tau) c_tk`; L_g keeps the global vectors usable
    for a first search. L_order, off by default, aligns captions whose units are in temporal order with the frames,
    without times (`mova.losses.ordered_alignment`).

    Raises:
        UsageError: a number out of its range.
    """

    global_weight: float = 0.5
    """w, the weight of the global contrast."""
    tau: float = FRAME_TEMPERATURE
    """Temperature of the softmax over frames."""
    order_weight: float = 0.0
    """v, the weight of the loss over ordered alignments; for captions in temporal order."""
    blank: float = 0.3
    """Cosine from which a frame shows a unit rather than nothing, in that loss."""

    scoring_form = "rule"
    units = True
    reads = ("units", "unit_mask")

    def __post_init__(self) -> None:
        tau, weight = self.tau, self.global_weight
        if not (tau > 0 and weight >= 0):
            raise UsageError(f"tau must be above 0 and global_weight 0 or more, not {tau} and {weight}")
        if not (self.order_weight >= 0 and -1 <= self.blank <= 1):
            given = f"{self.order_weight} and {self.blank}"
            raise UsageError(f"order_weight must be 0 or more and blank a cosine in [-1, 1], not {given}")

    def losses(self, vectors: PairVectors, positive: Tensor, net: nn.Module) -> tuple[Tensor, Tensors]:
        """Return the loss, and as parts `late`, `global` and the hits of both."""
        scores = self.scores(vectors, net)
        late = symmetric_nce(vectors.scale * scores, positive)
        pooled, parts = Clip4Clip().losses(vectors, positive, net)
        parts = {"late": late, "global": pooled, "hits": hits(scores, positive), "global_hits": parts["hits"]}
        loss = late + self.global_weight * pooled
        if self.order_weight == 0:
            return loss, parts
        parts["order"] = self._order(vectors, positive)
        return loss + self.order_weight * parts["order"], parts

    def _order(self, vectors: PairVectors, positive: Tensor) -> Tensor:
        units, unit_mask = vectors.with_units()
        flat = cosine(vectors.frames, units.flatten(0, 1))
        cosines = flat.view(*flat.shape[:2], *unit_mask.shape)
        return ordered_alignment_loss(cosines, vectors.scale, vectors.frame_mask, unit_mask, positive, self.blank)

    def scores(self, vectors: PairVectors, net: nn.Module) -> Tensor:
        """Return the late interaction of every video with every text."""
        return unit_scores(vectors.frames, vectors.frame_mask, *vectors.with_units(), self.tau)


def hits(scores: Tensor, positive: Tensor) -> Tensor:
    """Return the share of texts whose best video of the batch matches (R@1 within the batch)."""
    best = scores.detach().argmax(dim=0)
    return positive[best, torch.arange(len(best), device=best.device)].float().mean()
