"""Objectives on pairs of video and text: what all of them share, and those without masks.

Shape legend: V videos, N texts (V = N in a batch), T frames, K units a text, d width.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from mova.distributed import gather_with_gradient
from mova.errors import UsageError
from mova.losses.contrastive import symmetric_nce
from mova.losses.global_contrast import mean_pooled_scores, unit_scores
from mova.scoring.similarity import FRAME_TEMPERATURE
from mova.train.objectives.base import Encoder, Inputs, Objective, Vectors, masks_of

LARGEST_SCALE = 100.0
"""CLIP's bound on the learnt factor of cosines (Radford et al. 2021, section 2.5)."""


class PairObjective(Objective):
    """Contrast of videos and texts over the batches of all processes; texts of one video are all its own."""

    data = "manifest"
    gathered: tuple[str, ...] = ("frames", "texts")
    """Vectors that the losses read; each is gathered with its gradient."""
    masks: tuple[str, ...] = ("frame_mask", "group")
    """What else of the batch they read."""

    def forward(self, batch: Inputs, model: Encoder) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective`. Every process has the same loss, that of all their pairs together."""
        found = model(batch)
        vectors = {key: gather_with_gradient(found[key].float()) for key in self.gathered}
        shared = {key: gather_with_gradient(mask) for key, mask in masks_of(found, batch, self.masks).items()}
        scale = found["scale"].float().clamp(max=LARGEST_SCALE)
        own = shared["group"][:, None] == shared["group"]
        loss, parts = self.losses(vectors, shared, scale, own, model.net)
        return loss, {**parts, "scale": scale.detach(), "dropped_tokens": batch["dropped"].float().mean()}

    @abstractmethod
    def losses(
        self, vectors: Vectors, batch: Inputs, scale: Tensor, own: Tensor, net: nn.Module
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and parts.

        Args:
            vectors, batch: what `gathered` and `masks` name, of all processes.
            scale: factor on cosines, scalar.
            own: bool, (V, N), the pairs that belong together.
            net: the bare model, for objectives that work with heads of it.
        """

    @abstractmethod
    def scores(self, vectors: Vectors, batch: Inputs, net: nn.Module) -> Tensor:
        """(V, N) scores by which this objective ranks, for validation; V and N may differ."""


class Clip4Clip(PairObjective):
    """Mean pooling and symmetric InfoNCE (CLIP4Clip, Luo et al. 2021, Eq. 5 to 7; L_g)."""

    def losses(
        self, vectors: Vectors, batch: Inputs, scale: Tensor, own: Tensor, net: nn.Module
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One part, `global`."""
        scores = self.scores(vectors, batch, net)
        loss = symmetric_nce(scale * scores, own)
        return loss, {"global": loss, "hits": hits(scores, own)}

    def scores(self, vectors: Vectors, batch: Inputs, net: nn.Module) -> Tensor:
        """Cosine of the mean of normalised frames with the text."""
        return mean_pooled_scores(vectors["frames"], batch["frame_mask"], vectors["texts"])


class LateInteraction(PairObjective):
    """Late interaction over units, with a share of the global contrast: `L = L_LI + w L_g`.

    L_LI is the symmetric InfoNCE on `S = mean_k sum_t softmax_t(c_tk / tau) c_tk`; L_g keeps the global vectors fit
    for a first search.

    Args:
        global_weight: w.
        tau: temperature of the softmax over frames.
    """

    units = True
    gathered = ("frames", "texts", "units")
    masks = ("frame_mask", "group", "unit_mask")

    def __init__(self, global_weight: float = 0.5, tau: float = FRAME_TEMPERATURE) -> None:
        if not (tau > 0 and global_weight >= 0):
            raise UsageError(f"tau must be above 0 and global_weight not below, not {tau} and {global_weight}")
        self.global_weight, self.tau = global_weight, tau
        self._global = Clip4Clip()

    def losses(
        self, vectors: Vectors, batch: Inputs, scale: Tensor, own: Tensor, net: nn.Module
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Parts `late` and `global`."""
        scores = self.scores(vectors, batch, net)
        late = symmetric_nce(scale * scores, own)
        pooled, parts = self._global.losses(vectors, batch, scale, own, net)
        parts = {"late": late, "global": pooled, "hits": hits(scores, own), "global_hits": parts["hits"]}
        return late + self.global_weight * pooled, parts

    def scores(self, vectors: Vectors, batch: Inputs, net: nn.Module) -> Tensor:
        """Late interaction of every video with every text."""
        return unit_scores(vectors["frames"], batch["frame_mask"], vectors["units"], batch["unit_mask"], self.tau)


def hits(scores: Tensor, own: Tensor) -> Tensor:
    """Share of texts whose best video of the batch is their own (R@1 within the batch)."""
    best = scores.detach().argmax(dim=0)
    return own[best, torch.arange(len(best), device=best.device)].float().mean()
