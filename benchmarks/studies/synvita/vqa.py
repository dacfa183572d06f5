"""A noisy stand-in for VQAScore: small image-text models asked whether a frame shows a caption, four frames a video.

P(Yes) of a frame and a text is a logistic function of their cosine, fitted on single frames of real videos with a
sentence that is true of them and with another frame's: like the VQA models of the paper it has seen images and
sentences, and never a hard negative, a generated video or the truth. A caption of several sentences is asked about as
one text.

Shape legend: N frames or videos, V videos, T samples a video, d shared width.
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
    """One model: P(Yes) = sigmoid(slope * cosine + offset)."""

    model: WorldsTiny
    slope: float
    offset: float

    @classmethod
    def fitted(cls, model: WorldsTiny, frames: Tensor, sentences: Sequence[str]) -> Vqa:
        """A model calibrated on single real frames (N, d) and what they show; the next frame's sentence is wrong."""
        others = [*sentences[1:], sentences[0]]
        cosines = np.concatenate([_cosines(model, frames[:, None], texts) for texts in (sentences, others)])
        fit = LogisticRegression(C=1e4).fit(cosines, np.repeat([1, 0], len(sentences)))
        return cls(model, float(fit.coef_[0, 0]), float(fit.intercept_[0]))

    def scores(self, frames: Tensor, captions: Sequence[str]) -> Array:
        """(V,): mean of P(Yes) over four uniform frames of (V, T, d), each video with its caption."""
        shown = frames[:, torch.from_numpy(uniform(frames.shape[1]))]
        logits = self.slope * _cosines(self.model, shown, captions) + self.offset
        return (1 / (1 + np.exp(-logits))).mean(axis=1)


def uniform(samples: int, frames: int = FRAMES) -> npt.NDArray[np.int64]:
    """Middles of `frames` equal parts of a video."""
    return ((np.arange(frames) + 0.5) * samples / frames).astype(np.int64)


@torch.no_grad()
def _cosines(model: WorldsTiny, frames: Tensor, captions: Sequence[str]) -> Array:
    """(N, T) of frames (N, T, d), each row with its text."""
    texts = torch.cat([model.encode_text(captions[i : i + 256]).pooled for i in range(0, len(captions), 256)])
    return (F.normalize(frames, dim=-1) * F.normalize(texts, dim=-1)[:, None]).sum(-1).double().numpy()
