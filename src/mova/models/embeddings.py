"""Video and text embeddings, and the sources of video that models accept.

Shape legend: T frames, P dense vectors per frame, C their width, N texts, L tokens, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from mova.data.concat import VideoConcat
from mova.errors import UsageError
from mova.types import Frames

Source = str | Path | Frames | VideoConcat
"""A video that a model can encode: a file, several segments of files, or sampled frames."""


def display_name(video: Source) -> str | Path:
    """Return the display name of a video source: the path of a file, or its parts.

    >>> display_name("film.mp4")
    'film.mp4'
    """
    if isinstance(video, VideoConcat):
        return " + ".join(str(segment.path) for segment in video.segments)
    return "frames" if isinstance(video, Frames) else video


class VideoFingerprint(NamedTuple):
    """Hashes of all that frame vectors depend on: weights and architecture, and preprocessing.

    >>> import mova
    >>> mova.load("mova-worlds-tiny").video_fingerprint().preprocessing
    '64 pixels, 2.0 fps'
    """

    weights: str
    preprocessing: str


@dataclass(frozen=True, eq=False)
class VideoEmbedding:
    """The vectors of one video.

    Attributes:
        frames: float32, (T, d), not normalized.
        times: float64, (T,), seconds.
        duration: seconds.
        whole: float32, (d,), not normalized: the vector of the whole video, if the model has one.
        step: seconds between frames if they were sampled at a rate; where more is missing, there are no pictures.
        windows: float64, (T, 2), start and end in seconds of what each vector sees, for encoders of windows of several
            frames; each vector then stands for the time from its entry of `times` to the next
            (`mova.scoring.windows.rule`), and `step` is how long that is at most. None: single frames.

    >>> import torch, numpy as np
    >>> video = VideoEmbedding(torch.eye(2), np.array([0.5, 1.5]), duration=2.0)
    >>> video.pooled
    tensor([0.7071, 0.7071])
    """

    frames: Tensor
    times: npt.NDArray[np.float64]
    duration: float
    whole: Tensor | None = None
    step: float | None = None
    windows: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.windows is not None and self.windows.shape != (len(self.frames), 2):
            raise ValueError(f"windows must be ({len(self.frames)}, 2), not {self.windows.shape}")
        if self.frames.ndim != 2 or len(self.frames) == 0 or self.times.shape != (len(self.frames),):
            raise ValueError(
                "a video needs at least one frame vector (T, d) and as many times, "
                f"not {tuple(self.frames.shape)} and {self.times.shape}"
            )

    @property
    def pooled(self) -> Tensor:
        """(d,), normalized: `whole`, or the mean of the L2-normalized frame vectors (CLIP4Clip's mean pooling)."""
        if self.whole is not None:
            return F.normalize(self.whole, dim=-1)
        unit = F.normalize(self.frames, dim=-1)
        return F.normalize(unit.mean(dim=0), dim=-1)


@dataclass(frozen=True, eq=False)
class DenseVideo:
    """Features from which a model makes the vector of a whole video.

    Attributes:
        dense: float32, (T, P, C), features of the frames that are used.
        chosen: T indices of those frames among the sampled ones.
        times: float64, of all sampled frames, seconds.
        duration: seconds.
        rounds: `#iter`.

    >>> import torch
    >>> video = DenseVideo(torch.zeros(2, 5, 8), chosen=[0, 3], times=np.arange(4.0), duration=4.0, rounds=1)
    >>> video.times[video.chosen]
    array([0., 3.])
    """

    dense: Tensor
    chosen: list[int]
    times: npt.NDArray[np.float64]
    duration: float
    rounds: int


def wholes_of(videos: Sequence[VideoEmbedding], name: str) -> list[Tensor]:
    """Return the vectors (d,) of whole videos, for the model `name`, which compares only those.

    Raises:
        UsageError: a video has no such vector.

    >>> import torch
    >>> frames = VideoEmbedding(torch.eye(2), np.array([0.5, 1.5]), duration=2.0)
    >>> wholes_of([frames], "mova-gexia")
    Traceback (most recent call last):
        ...
    mova.errors.UsageError: mova-gexia: compares and classifies vectors of whole videos, but ...
    """
    wholes = [video.whole for video in videos if video.whole is not None]
    if len(wholes) < len(videos):
        raise UsageError(
            f"{name}: compares and classifies vectors of whole videos, but stored vectors are of single frames; "
            "encode the videos with this model (leave --features out), or score frames (--form late)"
        )
    return wholes


@dataclass(frozen=True, eq=False)
class TextEmbedding:
    """The vectors of texts.

    Attributes:
        pooled: float32, (N, d), not normalized.
        tokens: float32, (N, L, d), projected token states.
        mask: bool, (N, L), true where a token is real.
        dropped: int64, (N,), number of tokens cut off beyond the model's length.

    >>> import mova
    >>> texts = mova.load("mova-worlds-tiny").encode_text(["two balls", "a small orange crescent"])
    >>> texts.pooled.shape, texts.mask.sum(dim=1).tolist(), texts.dropped
    (torch.Size([2, 192]), [2, 4], array([0, 0]))
    """

    pooled: Tensor
    tokens: Tensor
    mask: Tensor
    dropped: npt.NDArray[np.int64]

    def merge_parts(self, counts: Sequence[int]) -> TextEmbedding:
        """Merge consecutive texts that are parts of longer ones, each with the mean of its parts' unit vectors.

        A text of one part keeps its vector as it is. Token states of the parts follow each other.

        Args:
            counts: number of parts of each text; they add up to N.

        >>> texts = TextEmbedding(torch.eye(3), torch.zeros(3, 2, 3), torch.ones(3, 2).bool(), np.zeros(3, np.int64))
        >>> texts.merge_parts([1, 2]).pooled
        tensor([[1.0000, 0.0000, 0.0000],
                [0.0000, 0.7071, 0.7071]])
        """
        rows = list(range(len(self.pooled)))
        groups = [rows[end - count : end] for count, end in zip(counts, accumulate(counts), strict=True)]
        states = [torch.cat([self.tokens[i, self.mask[i]] for i in group]) for group in groups]
        tokens, mask = pad_sequence(states, batch_first=True), pad_sequence([torch.ones(len(s)) for s in states], True)
        unit = F.normalize(self.pooled, dim=-1)
        pooled = [
            self.pooled[group[0]] if len(group) == 1 else F.normalize(unit[group].mean(dim=0), dim=-1)
            for group in groups
        ]
        dropped = np.array([self.dropped[group].sum() for group in groups], dtype=np.int64)
        return TextEmbedding(torch.stack(pooled), tokens, mask.bool().to(self.mask.device), dropped)

    def unit_vectors(self) -> npt.NDArray[np.float32]:
        """Return the pooled vectors as unit vectors in NumPy, float32 (N, d)."""
        vectors: npt.NDArray[np.float32] = F.normalize(self.pooled.detach().float(), dim=-1).cpu().numpy()
        return vectors
