"""SmartCLIP's objective: the first stage of MoVA's training, on images and sentences of their captions.

An image shows more than a sentence describes. In SmartCLIP (Xie et al. 2025, arXiv 2507.22264) the sentence alone
decides which dimensions of the image's vector count, `S = cos(v * m(text), u)`. S is contrasted both ways, and every
dimension that a mask keeps has a price. Its captions are long; each step draws a part of them: here one sentence
(`data.captions: sentence`).

The mask network is the Temporal Mask Network of the MoVA that is trained (preset `smartclip`) with the caption's vector
in the place of a frame, so it is carried over to MoVA as it is (`models/mova/build.py`). SmartCLIP masks the image's
vector and MoVA's temporal mask the caption's: the inner product `<z * m, u> = <z, u * m>` is the same number; only the
norms that it is divided by differ. The query changes: MoVA's is a frame, which the network has not been trained on.

Shape legend: V images, N = V texts, T frames (1 of an image), L tokens, d width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mova.baselines.one_way_mask import OneWayMask
from mova.data.batch import PairVectors
from mova.errors import UsageError
from mova.losses.contrastive import symmetric_nce
from mova.losses.diagnostics import OPEN
from mova.losses.masked_contrast import expected_l0
from mova.models.mova.model import Mova
from mova.scoring.similarity import unit
from mova.train.objectives.base import PairObjective, Tensors
from mova.train.objectives.pairs import hits


@dataclass(frozen=True, eq=False)
class SmartClip(PairObjective):
    """Symmetric InfoNCE on images under the masks of texts, with a price on open dimensions: `L = L_nce + w L_0`.

    `L_0` is the mean probability of a dimension to be on (`losses/masked_contrast.py: expected_l0`). Videos may stand
    where images do: the mean of their frames is masked.

    Raises:
        UsageError: a weight below 0.
    """

    sparsity: float = 0.01
    """w, the weight of the price on open dimensions."""

    reads = ("tokens", "token_mask")

    def __post_init__(self) -> None:
        if not self.sparsity >= 0:
            raise UsageError(f"objective.sparsity must be 0 or more, not {self.sparsity}")

    def losses(self, vectors: PairVectors, positive: Tensor, net: nn.Module) -> tuple[Tensor, Tensors]:
        """Return the parts `one_way` and `sparsity`, and `density`, the share of dimensions that masks keep."""
        scores, probabilities = _masked(vectors, net)
        contrast = symmetric_nce(vectors.scale * scores, positive)
        real = torch.ones_like(probabilities[:, :1], dtype=torch.bool)
        sparsity = expected_l0(probabilities.unsqueeze(1), real)
        density = (probabilities.detach() > OPEN).float().mean()
        parts = {"one_way": contrast, "sparsity": sparsity, "density": density, "hits": hits(scores, positive)}
        return contrast + self.sparsity * sparsity, parts

    def scores(self, vectors: PairVectors, net: nn.Module) -> Tensor:
        """Cosine of every image, under each text's mask, with that text."""
        return _masked(vectors, net)[0]


def _masked(vectors: PairVectors, net: nn.Module) -> tuple[Tensor, Tensor]:
    """Compute scores (V, N) under the masks of the texts, and the masks' probabilities (N, d)."""
    head, texts = _head(net), vectors.texts
    with torch.autocast(texts.device.type, enabled=False):
        frames = unit(vectors.frames.masked_fill(~vectors.frame_mask.unsqueeze(-1), 0.0))
        probabilities = head.probabilities(texts, *vectors.with_tokens())
        scores = head.meet(head.videos(frames, vectors.frame_mask), (unit(texts), head.decide(probabilities)))
    return scores, probabilities


def _head(net: nn.Module) -> OneWayMask:
    """Build SmartCLIP's mask from the model's mask network."""
    if not isinstance(net, Mova) or net.config.masks != "caption":
        raise UsageError(
            "objective smartclip trains the mask of captions; set model.kind to mova and model.preset to smartclip"
        )
    assert net.temporal is not None
    return OneWayMask(net.embedding_dim, hard=net.config.hard, network=net.temporal)
