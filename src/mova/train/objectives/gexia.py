"""GEXIA's objectives: contrast of one vector per video with one per text, and classification of videos.

Shape legend: V videos, N texts (V = N in a batch), Y classes, d width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mova.data.batch import PairVectors
from mova.errors import UsageError
from mova.models.gexia.model import Gexia
from mova.train.objectives.base import Encoder, Objective, Tensors
from mova.train.objectives.pairs import Clip4Clip


@dataclass(frozen=True, eq=False)
class Vtc(Clip4Clip):
    """`L_VTC = (L_v2t + L_t2v) / 2` on cosines over a learnable tau (Wang et al. 2024, arXiv 2412.07704, section 3.2).

    It is the symmetric InfoNCE of `Clip4Clip` with one vector per video, so there is nothing to pool. The pairs of a
    batch are of one granularity.
    """

    def losses(self, vectors: PairVectors, positive: Tensor, net: nn.Module) -> tuple[Tensor, Tensors]:
        """Return the loss, and as parts `vtc` and `hits`."""
        loss, parts = super().losses(vectors, positive, net)
        return loss, {"vtc": loss, "hits": parts["hits"]}


@dataclass(frozen=True, eq=False)
class Classification(Objective[Tensors, Tensors]):
    """A linear head on the video branch: cross-entropy, or binary cross-entropy if videos have several labels.

    Batches hold `classes`, bool (V, Y).
    """

    data = "labels"

    def forward(self, batch: Tensors, model: Encoder[Tensors, Tensors]) -> tuple[Tensor, Tensors]:
        """Return the loss, and as parts the loss by its name and the accuracy of the top class.

        Raises:
            UsageError: the model is not a GEXIA.
        """
        if not isinstance(model.net, Gexia):
            raise UsageError("objective classification trains the head of a GEXIA model; set model.kind to gexia")
        logits, classes = model(batch)["logits"].float(), batch["classes"]
        if model.net.config.multiple_labels:
            name, loss = "binary_cross_entropy", F.binary_cross_entropy_with_logits(logits, classes.float())
        else:
            name, loss = "cross_entropy", F.cross_entropy(logits, classes.int().argmax(dim=1))
        rows = torch.arange(len(logits), device=logits.device)
        return loss, {name: loss, "accuracy": classes[rows, logits.detach().argmax(dim=1)].float().mean()}
