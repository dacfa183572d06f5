"""Objectives on pairs of video and text: their base class, and those without masks.

Shape legend: V videos, N texts (V = N in a batch), T frames, K units per text, d width.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mova.data.batch import PairBatch, PairVectors
from mova.distributed import gather_with_gradient
from mova.errors import UsageError
from mova.losses.contrastive import symmetric_nce
from mova.losses.global_contrast import mean_pooled_scores, unit_scores
from mova.scoring.similarity import FRAME_TEMPERATURE
from mova.train.objectives.base import Encoder, Objective, Tensors

OPTIONAL = ("tokens", "token_mask", "units", "unit_mask")
"""Fields of `PairVectors` that only some objectives read."""
LARGEST_SCALE = 100.0
"""CLIP's bound on the learned factor of cosines (Radford et al. 2021, section 2.5)."""


class PairObjective(Objective[PairBatch, PairVectors]):
    """Contrast of videos and texts over the batches of all processes; every text of a video is a match.

    Class attributes:
        reads: the optional fields of `PairVectors` that the losses read.
    """

    data = "manifest"
    reads: ClassVar[tuple[str, ...]] = ()

    def forward(self, batch: PairBatch, model: Encoder[PairBatch, PairVectors]) -> tuple[Tensor, Tensors]:
        """See `Objective`. Every process has the same loss, that of all their pairs together."""
        vectors = _gathered(self.select(model(batch)))
        positive = vectors.group[:, None] == vectors.group
        loss, parts = self.losses(vectors, positive, model.net)
        return loss, {**parts, "scale": vectors.scale.detach(), "dropped_tokens": batch.dropped.float().mean()}

    def select(self, vectors: PairVectors) -> PairVectors:
        """Drop the optional fields that the losses do not read."""
        unread: dict[str, Any] = dict.fromkeys(set(OPTIONAL) - set(self.reads))
        return replace(vectors, **unread)

    @abstractmethod
    def losses(self, vectors: PairVectors, positive: Tensor, net: nn.Module) -> tuple[Tensor, Tensors]:
        """Return the loss and its parts.

        Args:
            vectors: of all processes, in float32.
            positive: bool, (V, N), true where video and text match.
            net: the model without wrappers, for objectives that use its heads.
        """

    @abstractmethod
    def scores(self, vectors: PairVectors, net: nn.Module) -> Tensor:
        """Return the scores (V, N) by which this objective ranks, for validation; V and N may differ."""


def _gathered(vectors: PairVectors) -> PairVectors:
    """Gather the rows of all processes in float32, and return the bounded scale."""

    def gather(value: Tensor) -> Tensor:
        return gather_with_gradient(value.float() if value.is_floating_point() else value)

    rows = {name: gather(value) for name, value in vectors.tensors().items() if name != "scale"}
    return replace(vectors, **rows, scale=vectors.scale.float().clamp(max=LARGEST_SCALE))


@dataclass(frozen=True, eq=False)
class Clip4Clip(PairObjective):
    """Mean pooling and symmetric InfoNCE (CLIP4Clip, Luo et al. 2021, Eq. 5 to 7; L_g)."""

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
    """Late interaction over units plus the weighted global contrast: `L = L_LI + w L_g`.

    L_LI is the symmetric InfoNCE on `S = mean_k sum_t softmax_t(c_tk / tau) c_tk`; L_g keeps the global vectors usable
    for a first search.

    Raises:
        UsageError: a number out of its range.
    """

    global_weight: float = 0.5
    """w, the weight of the global contrast."""
    tau: float = FRAME_TEMPERATURE
    """Temperature of the softmax over frames."""

    units = True
    reads = ("units", "unit_mask")

    def __post_init__(self) -> None:
        tau, weight = self.tau, self.global_weight
        if not (tau > 0 and weight >= 0):
            raise UsageError(f"tau must be above 0 and global_weight 0 or more, not {tau} and {weight}")

    def losses(self, vectors: PairVectors, positive: Tensor, net: nn.Module) -> tuple[Tensor, Tensors]:
        """Return the loss, and as parts `late`, `global` and the hits of both."""
        scores = self.scores(vectors, net)
        late = symmetric_nce(vectors.scale * scores, positive)
        pooled, parts = Clip4Clip().losses(vectors, positive, net)
        parts = {"late": late, "global": pooled, "hits": hits(scores, positive), "global_hits": parts["hits"]}
        return late + self.global_weight * pooled, parts

    def scores(self, vectors: PairVectors, net: nn.Module) -> Tensor:
        """Return the late interaction of every video with every text."""
        return unit_scores(vectors.frames, vectors.frame_mask, *vectors.with_units(), self.tau)


def hits(scores: Tensor, positive: Tensor) -> Tensor:
    """Return the share of texts whose best video of the batch matches (R@1 within the batch)."""
    best = scores.detach().argmax(dim=0)
    return positive[best, torch.arange(len(best), device=best.device)].float().mean()
