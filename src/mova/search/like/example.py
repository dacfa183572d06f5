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
from mova.utils.files import IMAGE_SUFFIXES, SUFFIXES, surely_gone

if TYPE_CHECKING:
    from mova.models.embeddings import VideoEmbedding
    from mova.models.encoder import DualEncoder
    from mova.search.storage.records import VideoRecord

_F32 = npt.NDArray[np.float32]
KNOWN = SUFFIXES | IMAGE_SUFFIXES
"""Suffixes of files that an example may be of."""
_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")
"""h:mm:ss, m:ss, or seconds, with decimals."""


@dataclass(frozen=True)
class Example:
    """A moment of a video, or a picture.

    Attributes:
        path: file.
        time: seconds from the start of the video; 0 for a picture.

    Raises:
        UsageError: a time that is negative or not finite, or a time on a picture.
    """

    path: Path
    time: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.time) and self.time >= 0):
            raise UsageError(f"{self.path}: the time of an example must be 0 s or later, not {self.time}")
        if self.time and self.is_picture:
            raise _no_moment(f"{self.path}@{self.time:g}", str(self.path), f"{self.time:g}")

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
                f"an example is a path, such as film.mp4@1:23, a picture or a vector (d,), not {type(value).__name__}"
            )
        return cls.parse(str(value))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `FILE@TIME` or the path of a picture. TIME is h:mm:ss, m:ss or seconds.

        Example:
            >>> Example.parse("film.mp4@1:02:03.5").time, Example.parse("film.mp4@83").time
            (3723.5, 83.0)

        Raises:
            UsageError: an empty text, a video without a time, a picture with one, or something else behind the @.
        """
        if not text.strip():
            raise UsageError("the example is empty; name a moment of a video, such as film.mp4@1:23, or a picture")
        name, at, time = text.rpartition("@")
        match = _TIME.fullmatch(time) if at else None
        if at and not Path(text).exists():
            if match is not None and name:
                hours, minutes, seconds = (float(part or 0) for part in match.groups())
                return cls(Path(name), 3600 * hours + 60 * minutes + seconds)
            if match is not None or _is_file(name, time):
                raise _no_moment(text, name, time)
        example = cls(Path(text))
        if not example.is_picture and example.path.is_file():
            raise UsageError(f"{text}: name the moment of the video, such as {text}@1:23, or pass a picture")
        return example

    @property
    def is_picture(self) -> bool:
        """Whether the path is that of a picture, by its suffix."""
        return self.path.suffix.lower() in IMAGE_SUFFIXES

    @property
    def place(self) -> str | Path:
        """The path, or the URI of an object."""
        return argument(self.path)

    @property
    def name(self) -> str:
        """The example as it is printed and parsed."""
        path = str(self.place)
        return path if self.is_picture else f"{path}@{self.time:g}"


def _no_moment(text: str, name: str, time: str) -> UsageError:
    """Return the error of an example that names no moment, although it has an @."""
    if Path(name).suffix.lower() in IMAGE_SUFFIXES:
        return UsageError(f"{text}: is a picture, which has no time; omit @{time}")
    problem, shown = (f"{time!r} is not a time", name) if name else ("names no file before the @", "film.mp4")
    return UsageError(f"{text}: {problem}; name a moment as {shown}@1:23, or in seconds as {shown}@83")


def _is_file(name: str, time: str) -> bool:
    """Return whether what stands before the last @ is a file, and what stands behind it was meant as a time."""
    is_file = Path(name).suffix.lower() in KNOWN or Path(name).is_file()
    return bool(name) and is_file and "/" not in time and Path(time).suffix.lower() not in KNOWN


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


def require_within(example: Example, own: VideoRecord | None) -> None:
    """Raise if an example is a moment of an indexed file that is gone, and no vector of that time is stored.

    Raises:
        UsageError: it is.
    """
    if own is None or not surely_gone(own.path):
        return
    if example.time > own.duration:
        raise _too_late(example, own.duration)
    raise UsageError(
        f"{example.place}: no such file any more, and the index has no frame at {example.time:g} s; name another time"
    )


def _too_late(example: Example, duration: float) -> UsageError:
    return UsageError(f"{example.place}: is {duration:.1f} s long, so that it shows nothing at {example.time:g} s")


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
    if example.is_picture:
        return _nearest(model.encode_video(path, rate), 0.0)
    duration = probe(path).duration
    if example.time > duration:
        raise _too_late(example, duration)
    around = model.window.seconds(rate) + model.context / rate
    start = max(0.0, min(example.time, duration - 1 / rate) - around)
    with torch.inference_mode():
        return _nearest(model.encode_video(path, rate, start, example.time + around), example.time)


def _nearest(video: VideoEmbedding, time: float) -> _F32:
    return _unit(video.frames[int(np.abs(video.times - time).argmin())].float().cpu().numpy())


def _unit(vector: npt.NDArray[np.floating]) -> _F32:
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)
