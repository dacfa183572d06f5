"""An example to search with: a moment of a video (`film.mp4@1:23`), or a picture.

The vector of a moment of an indexed video is the stored one of its nearest frame: neither the file nor the model is
opened. Other files are decoded around the time, with the neighbors that the model needs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from mova.errors import UsageError
from mova.remote.objects import argument
from mova.utils.files import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from mova.models.embeddings import VideoEmbedding
    from mova.models.encoder import DualEncoder

_F32 = npt.NDArray[np.float32]
_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")
"""h:mm:ss, m:ss, or seconds, with decimals."""


@dataclass(frozen=True)
class Example:
    """A moment of a video, or a picture.

    Attributes:
        path: file.
        time: seconds from the start of the video; 0 for a picture.

    Raises:
        UsageError: a time that is negative or not finite.
    """

    path: Path
    time: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.time) and self.time >= 0):
            raise UsageError(f"{self.path}: the time of an example must be 0 s or later, not {self.time}")

    @classmethod
    def of(cls, value: object) -> Example:
        """Return an example as it is, and that which a text or path names (`parse`).

        Example:
            >>> Example.of(Path("film.mp4@83")).time
            83.0

        Raises:
            UsageError: something else, or see `parse`.
        """
        if isinstance(value, Example):
            return value
        if not isinstance(value, str | Path):
            raise UsageError(
                f"an example is a path, such as film.mp4@1:23, or an Example, not {type(value).__name__}; with a "
                "picture in memory, search by index.search(picture)"
            )
        return cls.parse(str(value))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `FILE@TIME` or the path of a picture. TIME is h:mm:ss, m:ss or seconds.

        Example:
            >>> Example.parse("film.mp4@1:02:03.5").time, Example.parse("film.mp4@83").time
            (3723.5, 83.0)

        Raises:
            UsageError: there is no such file, or a video without a time.
        """
        name, at, time = text.rpartition("@")
        match = _TIME.fullmatch(time) if at else None
        if match is not None and name and not Path(text).exists():
            hours, minutes, seconds = (float(part or 0) for part in match.groups())
            example = cls(Path(name), 3600 * hours + 60 * minutes + seconds)
        else:
            example = cls(Path(text))
            if example.path.suffix.lower() not in IMAGE_SUFFIXES and example.path.is_file():
                raise UsageError(f"{text}: name the moment of the video, such as {text}@1:23, or pass a picture")
        return example

    @property
    def place(self) -> str | Path:
        """The path, or the URI of an object."""
        return argument(self.path)

    @property
    def name(self) -> str:
        """The example as it is printed and parsed."""
        path = str(self.place)
        return path if self.path.suffix.lower() in IMAGE_SUFFIXES else f"{path}@{self.time:g}"


def stored_vector(example: Example, stored: VideoEmbedding | None) -> _F32 | None:
    """Return the stored unit vector (d,) at an example's time, or None if no frame is stored within a sampling step.

    Args:
        example: a moment of the video.
        stored: the stored frames of the video (`Index.stored`), if any.
    """
    if stored is None or not len(stored.times):
        return None
    nearest = int(np.abs(stored.times - example.time).argmin())
    if abs(stored.times[nearest] - example.time) > stored.step:
        return None
    return _unit(stored.frames[nearest].float().cpu().numpy())


def encode_example(model: DualEncoder, example: Example, rate: float) -> _F32:
    """Decode the frames around an example's time and return the unit vector (d,) of the nearest.

    Args:
        model: the model of the index.
        example: a moment of any video, or a picture.
        rate: sampled frames per second of the index.

    Raises:
        UsageError: no such file, or a time after the end of the video.
        VideoError: the file cannot be read.
    """
    import torch

    from mova.video.probe import probe

    path = example.place
    if isinstance(path, Path) and not path.exists():
        raise UsageError(f"{example.path}: no such file")
    if example.path.suffix.lower() in IMAGE_SUFFIXES:
        return _nearest(model.encode_video(path, rate), 0.0)
    duration = probe(path).duration
    if example.time > duration:
        raise UsageError(f"{path}: is {duration:.1f} s long, so that it shows nothing at {example.time:g} s")
    around = model.window.seconds(rate) + model.context / rate
    start = max(0.0, min(example.time, duration - 1 / rate) - around)
    with torch.inference_mode():
        return _nearest(model.encode_video(path, rate, start, example.time + around), example.time)


def _nearest(video: VideoEmbedding, time: float) -> _F32:
    return _unit(video.frames[int(np.abs(video.times - time).argmin())].float().cpu().numpy())


def _unit(vector: npt.NDArray[np.floating]) -> _F32:
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)
