"""Objective on rendered Worlds: contrast of frames with sentences, of paragraphs, and factor heads.

Shape legend: V videos, N sentences, T frames, d width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mova.losses.grounding import frame_sentence_nce, late_interaction_scores, paragraph_nce
from mova.train.objectives.base import Encoder, Objective, Tensors


@dataclass(frozen=True, eq=False)
class Grounding(Objective[Tensors, dict[str, Any]]):
    """Frame-sentence contrast both ways, paragraphs by late interaction, and auxiliary factor heads."""

    data = "worlds"
    frame: float = 1.0
    """Weight of the contrast of each frame with sentences."""
    sentence: float = 1.0
    """Weight of the contrast of each sentence with frames."""
    paragraph: float = 0.5
    """Weight of the contrast of videos with paragraphs."""
    factors: float = 0.3
    """Weight of the mean cross-entropy of the factor heads; labels of -1 do not count."""

    def forward(self, batch: Tensors, model: Encoder[Tensors, dict[str, Any]]) -> tuple[Tensor, Tensors]:
        """Return the loss and its parts on a batch of `worlds/batches.py`."""
        outputs = model(batch)
        frames = F.normalize(outputs["frames"].float(), dim=-1)
        texts = F.normalize(outputs["texts"].float(), dim=-1)
        scale = outputs["scale"].float()
        with torch.autocast(frames.device.type, enabled=False):  # bfloat16 would round logits to steps of up to 0.4
            cosines = frames @ texts.T
        to_sentence, to_frame = frame_sentence_nce(cosines, scale, batch["positive"], batch["truth"])
        parts = {"frame": to_sentence, "sentence": to_frame}
        if self.paragraph:
            videos = len(batch["paragraphs"])
            scores = late_interaction_scores(cosines, batch["video"], batch["paragraphs"], videos)
            parts["paragraph"] = paragraph_nce(scores, scale, batch["paragraph_truth"])
        if self.factors:
            losses = [
                F.cross_entropy(logits.float(), batch[f"label_{name}"], ignore_index=-1)
                for name, logits in outputs["factors"].items()
            ]
            parts["factors"] = torch.stack(losses).mean()
        return torch.stack([getattr(self, name) * part for name, part in parts.items()]).sum(), parts
