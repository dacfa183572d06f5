"""The contract that all models share: frames and texts in, comparable vectors out.

A model turns sampled frames into one vector each and texts into a pooled vector and token states, all in one space
of width d. Everything downstream (index, search, align, eval) uses only what stands here.

Shape legend: T frames, H height, W width, C channels, h w model input pixels, N texts, L tokens, S sentences, d width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mova.data.text import split_sentences
from mova.data.video import probe, stream
from mova.models.moments import locate
from mova.types import Frames, SentenceTimeline, Timeline, complement


@dataclass(frozen=True, eq=False)
class VideoEmbedding:
    """One video as a model sees it.

    Attributes:
        frames: float32, (T, d), not normalised.
        times: float64, (T,), seconds.
        duration: seconds.
    """

    frames: Tensor
    times: npt.NDArray[np.float64]
    duration: float

    @property
    def pooled(self) -> Tensor:
        """(d,): mean of the L2-normalised frame vectors, normalised (CLIP4Clip's mean pooling)."""
        unit = torch.nn.functional.normalize(self.frames, dim=-1)
        return torch.nn.functional.normalize(unit.mean(dim=0), dim=-1)


@dataclass(frozen=True, eq=False)
class TextEmbedding:
    """Texts as a model sees them.

    Attributes:
        pooled: float32, (N, d), not normalised.
        tokens: float32, (N, L, d), projected token states.
        mask: bool, (N, L), true where a token is real.
        dropped: int64, (N,), tokens beyond the model's length that were cut off.
    """

    pooled: Tensor
    tokens: Tensor
    mask: Tensor
    dropped: npt.NDArray[np.int64]


class DualEncoder(ABC):
    """Mixin of every model (beside `transformers.PreTrainedModel`).

    Class or instance attributes that a model sets:
        name: how people refer to it (hub name, folder, or registry name).
        frame_rate: frames per second that it is meant to see.
        context: neighbouring sampled frames on either side that a frame's vector depends on (0: none).
        fixed_frame_rate: true where another rate than `frame_rate` would be wrong (motion from neighbours).
        relevance_threshold: cosine above which a sentence is said to be shown, measured on validation data;
            None where it has not been measured (then it comes from background sentences, see `background`).
        background: sentences that say nothing of a video in particular; their scores are the noise floor.
    """

    name: str = "unnamed"
    frame_rate: float = 1.0
    context: int = 0
    fixed_frame_rate: bool = False
    relevance_threshold: float | None = None
    background: Sequence[str] = ()

    @property
    @abstractmethod
    def embedding_dim(self) -> int:
        """Width d of the shared space."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of weights, architecture and preprocessing: equal fingerprints give equal vectors."""

    @abstractmethod
    def encode_frames(self, frames: Frames) -> Tensor:
        """(T, d) float32 vectors of consecutive sampled frames. Ends are padded by repetition where context > 0."""

    @abstractmethod
    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        """Pooled vectors and token states of one or many texts."""
