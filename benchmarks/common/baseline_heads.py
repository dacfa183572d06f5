"""A Worlds-tiny backbone with the head of a baseline, and its objective.

Shape legend: V videos, N texts.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from mova.data.batch import PairVectors
from mova.losses.contrastive import symmetric_nce
from mova.models.worlds_tiny.model import WorldsTiny
from mova.train.objectives.base import PairObjective


class Headed(nn.Module):
    """A backbone with the head of a baseline."""

    def __init__(self, backbone: WorldsTiny, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, **inputs: Tensor) -> dict[str, Any]:
        """Return the vectors of the backbone."""
        vectors: dict[str, Any] = self.backbone(**inputs)
        return vectors


class HeadObjective(PairObjective):
    """Symmetric InfoNCE on the scores of a head."""

    reads = ("tokens", "token_mask")

    def losses(self, vectors: PairVectors, own: Tensor, net: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its only part, `head`."""
        loss = symmetric_nce(vectors.scale * self.scores(vectors, net), own)
        return loss, {"head": loss}

    def scores(self, vectors: PairVectors, net: nn.Module) -> Tensor:
        """Return the scores of the head, (V, N)."""
        head = cast(Headed, net).head
        scores: Tensor = head(vectors.frames, vectors.frame_mask, vectors.texts, *vectors.with_tokens())
        return scores
