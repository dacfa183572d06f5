"""A noisy substitute for VQAScore: small image-text models score captions on four frames per video.

P(Yes) of a frame and a text is a logistic function of their cosine, fitted on single frames of real videos with a true
sentence and with the sentence of another frame. Like the VQA models of the paper, it was trained on images and
sentences and never on hard negatives, generated videos or ground truth. A caption of several sentences is scored as one
text.

Shape legend: N frames or videos, V videos, T samples per video, d shared width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from mova.models.worlds_tiny.model import WorldsTiny

FRAMES = 4

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Vqa:
    """A model with P(Yes) = sigmoid(slope * cosine + offset)."""

    model: WorldsTiny
    slope: float
    offset: float

    @classmethod
    def fitted(cls, model: WorldsTiny, frames: Tensor, sentences: Sequence[str]) -> Vqa:
        """Calibrate a model on real frames (N, d) with their sentences; the next frame's sentence is the false one."""
        shifted = [*sentences[1:], sentences[0]]
        cosines = np.concatenate([_cosines(model, frames[:, None], texts) for texts in (sentences, shifted)])
        fit = LogisticRegression(C=1e4).fit(cosines, np.repeat([1, 0], len(sentences)))
        return cls(model, float(fit.coef_[0, 0]), float(fit.intercept_[0]))

    def scores(self, frames: Tensor, captions: Sequence[str]) -> Array:
        """Return the mean of P(Yes) over four uniform frames of (V, T, d), each video with its caption, (V,)."""
        sampled = frames[:, torch.from_numpy(uniform(frames.shape[1]))]
        logits = self.slope * _cosines(self.model, sampled, captions) + self.offset
        return (1 / (1 + np.exp(-logits))).mean(axis=1)


def uniform(samples: int, frames: int = FRAMES) -> npt.NDArray[np.int64]:
    """Return the middle indices of `frames` equal parts of a video."""
    return ((np.arange(frames) + 0.5) * samples / frames).astype(np.int64)


@torch.no_grad()
def _cosines(model: WorldsTiny, frames: Tensor, captions: Sequence[str]) -> Array:
    """Return cosines (N, T) of frames (N, T, d), each row with its text."""
    texts = torch.cat([model.encode_text(captions[i : i + 256]).pooled for i in range(0, len(captions), 256)])
    return (F.normalize(frames, dim=-1) * F.normalize(texts, dim=-1)[:, None]).sum(-1).double().numpy()
