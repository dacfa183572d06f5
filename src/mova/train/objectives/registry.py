"""Objectives by name: what a recipe's `objective.kind` means. Each sums pure losses and names its parts.

To add one: a class with `forward(batch, model)` as `train/objectives/base.py` says (for pairs, a `PairObjective` of
`train/objectives/pairs.py`), and a line in `OBJECTIVES`.

Shape legend: V videos, N texts (V = N in a batch), T frames, K units a text, d width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mova.errors import UsageError
from mova.losses.grounding import frame_sentence_nce, late_interaction_scores, paragraph_nce
from mova.train.objectives.base import Encoder, Inputs, Objective
from mova.train.objectives.gexia import Classification, Vtc
from mova.train.objectives.mova import Modular
from mova.train.objectives.pairs import Clip4Clip, LateInteraction
from mova.train.objectives.smartclip import SmartClip
from mova.train.objectives.synvita import Synvita


class Grounding(Objective):
    """Frame-sentence contrast both ways, paragraphs by late interaction, and auxiliary factor heads.

    Args:
        frame, sentence: weights of frame-to-sentence and sentence-to-frame contrast.
        paragraph: weight of the video-paragraph contrast.
        factors: weight of the mean cross-entropy of the factor heads (labels of -1 do not count).
    """

    data = "worlds"

    def __init__(self, frame: float = 1.0, sentence: float = 1.0, paragraph: float = 0.5, factors: float = 0.3) -> None:
        self.weights = {"frame": frame, "sentence": sentence, "paragraph": paragraph, "factors": factors}

    def forward(self, batch: Inputs, model: Encoder) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective`; a batch is one of `worlds/batches.py`."""
        outputs: dict[str, Any] = dict(model(batch))
        frames = F.normalize(outputs["frames"].float(), dim=-1)
        texts = F.normalize(outputs["texts"].float(), dim=-1)
        scale = outputs["scale"].float()
        with torch.autocast(frames.device.type, enabled=False):  # bfloat16 would round logits to steps of up to 0.4
            cosines = frames @ texts.T
        to_sentence, to_frame = frame_sentence_nce(cosines, scale, batch["positive"], batch["truth"])
        parts = {"frame": to_sentence, "sentence": to_frame}
        if self.weights["paragraph"]:
            videos = len(batch["paragraphs"])
            scores = late_interaction_scores(cosines, batch["video"], batch["paragraphs"], videos)
            parts["paragraph"] = paragraph_nce(scores, scale, batch["paragraph_truth"])
        if self.weights["factors"]:
            losses = [
                F.cross_entropy(logits.float(), batch[f"label_{name}"], ignore_index=-1)
                for name, logits in outputs["factors"].items()
            ]
            parts["factors"] = torch.stack(losses).mean()
        return torch.stack([self.weights[name] * part for name, part in parts.items()]).sum(), parts


OBJECTIVES: dict[str, type[Objective]] = {
    "grounding": Grounding,
    "clip4clip": Clip4Clip,
    "late_interaction": LateInteraction,
    "smartclip": SmartClip,
    "mova": Modular,
    "vtc": Vtc,
    "classification": Classification,
    "synvita": Synvita,
}


def build_objective(settings: Mapping[str, Any]) -> Objective:
    """The objective of a recipe's section; its other keys are arguments.

    Raises:
        UsageError: unknown kind or argument.
    """
    options = dict(settings)
    kind = options.pop("kind")
    if kind not in OBJECTIVES:
        raise UsageError(f"objective.kind: {kind!r} is not known; there are {', '.join(OBJECTIVES)}")
    try:
        return OBJECTIVES[kind](**options)
    except TypeError as error:
        raise UsageError(f"objective {kind}: {error}") from error
