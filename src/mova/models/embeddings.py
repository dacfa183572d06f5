"""What models make of videos and texts, and what they can look at.

Shape legend: T frames, P dense vectors per frame, C their width, N texts, L tokens, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from mova.data.concat import VideoConcat
from mova.errors import UsageError
from mova.types import Frames

Source = str | Path | Frames | VideoConcat
"""A video that a model can encode: a file, several segments of files, or sampled frames."""


def told(video: Source) -> str | Path:
    """What a person calls it: the file's path, or what it is made of."""
    if isinstance(video, VideoConcat):
        return " + ".join(str(each.path) for each in video.segments)
    return "frames" if isinstance(video, Frames) else video


class VideoFingerprint(NamedTuple):
    """What frame vectors depend on: hashes of the weights and architecture that make them, and of the preprocessing."""

    weights: str
    preprocessing: str


@dataclass(frozen=True, eq=False)
class VideoEmbedding:
    """One video as a model sees it.

    Attributes:
        frames: float32, (T, d), not normalised.
        times: float64, (T,), seconds.
        duration: seconds.
        whole: float32, (d,), the vector of the whole video where a model has its own way to it, not normalised.
    """

    frames: Tensor
    times: npt.NDArray[np.float64]
    duration: float
    whole: Tensor | None = None

    def __post_init__(self) -> None:
        if self.frames.ndim != 2 or len(self.frames) == 0 or self.times.shape != (len(self.frames),):
            raise ValueError(
                "a video needs at least one frame vector (T, d) and as many times, "
                f"not {tuple(self.frames.shape)} and {self.times.shape}"
            )

    @property
    def pooled(self) -> Tensor:
        """(d,), normalised: `whole`, or the mean of the L2-normalised frame vectors (CLIP4Clip's mean pooling)."""
        if self.whole is not None:
            return F.normalize(self.whole, dim=-1)
        unit = F.normalize(self.frames, dim=-1)
        return F.normalize(unit.mean(dim=0), dim=-1)


@dataclass(frozen=True, eq=False)
class DenseVideo:
    """Features from which a model makes the vector of a whole video.

    Attributes:
        dense: float32, (T, P, C), features of the frames that make it.
        chosen: T, which of the sampled frames those are.
        times: float64, of all sampled frames, seconds.
        duration: seconds.
        rounds: `#iter`.
    """

    dense: Tensor
    chosen: list[int]
    times: npt.NDArray[np.float64]
    duration: float
    rounds: int


def wholes_of(videos: Sequence[VideoEmbedding], name: str) -> list[Tensor]:
    """Vectors (d,) of whole videos, for a model called `name` that compares nothing else.

    Raises:
        UsageError: a video has none.
    """
    wholes = [video.whole for video in videos if video.whole is not None]
    if len(wholes) < len(videos):
        raise UsageError(
            f"{name}: compares and classifies vectors of whole videos, and stored ones are of frames alone; "
            "encode the videos with this model (leave --features out), or score frames (--form late)"
        )
    return wholes


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
