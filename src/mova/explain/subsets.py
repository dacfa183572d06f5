"""The parts of a caption that each frame selects: figure 4 of the MoVA paper, for any model.

If the model selects caption units itself (a MoVA with masks over units), its own weights are used. For any other model
the weights are a softmax of the frame's cosines with the sentences, with the model's relevance threshold as the score
of "none": a frame whose cosines are all below it selects nothing.

Shape legend: T sampled frames, F shown frames, K units (sentences) of the caption, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mova.explain.keyframes import PICTURE_PIXELS, choose_frames, read_pictures
from mova.models.background_captions import relevance_threshold
from mova.models.encoder import DualEncoder
from mova.scoring.similarity import FRAME_TEMPERATURE, cosine
from mova.types import Pixels

Rule = Literal["unit masks", "softmax of cosines"]
STRONGEST = 3
"""Number of units listed per frame."""


@dataclass(frozen=True, eq=False)
class Subsets:
    """The units of a caption that every sampled frame of a video selects, and the frames to show.

    Attributes:
        video, model: names.
        sentences: the K units.
        rule: how the weights are computed.
        threshold: the cosine that represents "none"; None for the model's own weights.
        duration: seconds.
        times: (T,) seconds.
        weights: float32, (T, K + 1); rows sum to 1, the last column is "none of the caption".
        frame_indices: F indices of the frames in the picture, in order.
        pictures: uint8, (F, H, W, 3).
        step: seconds between sampled frames, where it is known: where more is missing, there are no pictures.
    """

    video: str
    model: str
    sentences: tuple[str, ...]
    rule: Rule
    threshold: float | None
    duration: float
    times: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float32]
    frame_indices: tuple[int, ...]
    pictures: Pixels
    step: float | None = None

    def strongest(self, frame: int) -> list[int]:
        """Return the units with the greatest weights in frame `frame` of T, at most `STRONGEST`; ties by index."""
        order = np.argsort(-self.weights[frame, :-1], kind="stable")
        return [int(unit) for unit in order[:STRONGEST]]

    def to_json(self) -> dict[str, Any]:
        """Return the document that `mova explain --method subsets --json` prints."""
        frames = [
            {
                "time": round(float(self.times[t]), 3),
                "strongest": [
                    {"sentence": k, "weight": round(float(self.weights[t, k]), 6)} for k in self.strongest(t)
                ],
                "none": round(float(self.weights[t, -1]), 6),
            }
            for t in self.frame_indices
        ]
        return {
            "video": self.video,
            "model": self.model,
            "method": "subsets",
            "rule": self.rule,
            "threshold": None if self.threshold is None else round(self.threshold, 6),
            "sentences": list(self.sentences),
            "frames": frames,
            "times": [round(float(time), 3) for time in self.times],
            "weights": [[round(float(weight), 6) for weight in row] for row in self.weights],
        }


@torch.no_grad()
def select_subsets(model: DualEncoder, video: str | Path, sentences: Sequence[str], count: int) -> Subsets:
    """Compute which sentences of a caption the frames of a video select.

    Args:
        model: any dual encoder.
        video: a file.
        sentences: the caption's units.
        count: maximum number of frames to show.

    Raises:
        UsageError: no sentence, or `count` is below 1.
        VideoError: the file cannot be read.
        ModelError: the model has no threshold and nothing to estimate one from.
    """
    units = model.encode_sentences(list(sentences)).pooled
    encoded = model.encode_video(video)
    relevance = model.relevance(units, encoded).cpu().numpy()
    chosen = choose_frames(relevance, encoded.times, count)
    threshold = None if model.selects_units else relevance_threshold(model, encoded)
    return Subsets(
        video=str(video),
        model=model.name,
        sentences=tuple(sentences),
        rule="unit masks" if model.selects_units else "softmax of cosines",
        threshold=threshold,
        duration=encoded.duration,
        times=encoded.times,
        weights=subset_weights(model, encoded.frames, units, threshold).cpu().numpy(),
        frame_indices=tuple(chosen),
        pictures=read_pictures(video, encoded.times, chosen, PICTURE_PIXELS, model.decoder),
        step=encoded.step,
    )


def subset_weights(model: DualEncoder, frames: Tensor, units: Tensor, threshold: float | None) -> Tensor:
    """Compute how much of each unit every frame selects.

    Args:
        model: provides the weights if `threshold` is None.
        frames: (T, d).
        units: (K, d).
        threshold: cosine that represents "none": `softmax([c_t1 .. c_tK, threshold] / 0.1)`.

    Returns:
        float32, (T, K + 1), rows sum to 1; the last column is "none of the caption".
    """
    units = units.to(frames.device)
    if threshold is None:
        return model.unit_weights(frames, units)
    cosines = cosine(frames, units)
    none = cosines.new_full((len(frames), 1), threshold)
    return (torch.cat([cosines, none], dim=1) / FRAME_TEMPERATURE).softmax(dim=1)
