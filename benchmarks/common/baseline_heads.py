"""A Worlds-tiny backbone with the head of a baseline, and its objective.

Shape legend: V videos, N texts.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from mova.data.batch import PairVectors
from mova.losses.contrastive import symmetric_nce
from mova.models.worlds_tiny.model import WorldsTiny
from mova.train.objectives.pairs import PairObjective


class Headed(nn.Module):
    """A backbone with a baseline's head."""

    def __init__(self, backbone: WorldsTiny, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, **inputs: Tensor) -> dict[str, Any]:
        """The backbone's vectors."""
        found: dict[str, Any] = self.backbone(**inputs)
        return found


class HeadObjective(PairObjective):
    """Symmetric InfoNCE on a head's scores."""

    reads = ("tokens", "token_mask")

    def losses(self, vectors: PairVectors, own: Tensor, net: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
        """One part, `head`."""
        loss = symmetric_nce(vectors.scale * self.scores(vectors, net), own)
        return loss, {"head": loss}

    def scores(self, vectors: PairVectors, net: nn.Module) -> Tensor:
        """(V, N) of the head."""
        head = cast(Headed, net).head
        scores: Tensor = head(vectors.frames, vectors.frame_mask, vectors.texts, *vectors.with_tokens())
        return scores
