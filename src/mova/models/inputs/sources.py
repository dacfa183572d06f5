"""Anything that is a video, as a source that models read: a path, frames with times, or segments of files.

Shape legend: T frames.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mova.data.concat import VideoConcat
from mova.errors import UsageError, VideoError, refuse_url
from mova.models.embeddings import Source, VideoEmbedding
from mova.models.inputs.pixels import is_array, is_pil, pixels_of
from mova.remote.objects import uri_of
from mova.types import Frames
from mova.utils.files import IMAGE_SUFFIXES, SUFFIXES


class Clock(NamedTuple):
    """The times of frames in memory.

    Attributes:
        fps: frames per second of the frames.
        times: (T,) seconds, instead of `fps`.
        otherwise: frames per second that count if neither is given; None: an error.
    """

    fps: float | None = None
    times: npt.ArrayLike | None = None
    otherwise: float | None = None


@contextmanager
def opened(video: Any, clock: Clock) -> Iterator[Source]:
    """Provide a video as a source inside the `with` block; the copy of an open file is deleted after it.

    Args:
        video: see `mova.models.inputs.reading.VideoReading.encode_video`.
        clock: the times of frames in memory.

    Raises:
        UsageError: a URL, another type, frames that are malformed, or frames in memory without times.
        VideoError: an open file is empty or cannot be read.
    """
    if isinstance(video, VideoConcat) or not hasattr(video, "read"):  # segments of files have a method of that name
        yield _source(video, clock)
        return
    name = file_name(video) or "the open file"
    path = _path_of(video)
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="mova-") as folder:
        copy = Path(folder) / ("video" + Path(name).suffix[:12])
        _copy(video, copy, name)
        try:
            yield copy
        except VideoError as error:
            if error.path == str(copy):
                raise type(error)(name, error.cause) from error
            raise


def name_of(video: Any) -> str:
    """Return the name of a video for people; empty if it has none.

    >>> name_of("film.mp4"), name_of(np.zeros((2, 4, 4, 3), np.uint8))
    ('film.mp4', '')
    """
    if isinstance(video, str | os.PathLike):
        return os.fspath(video)
    return file_name(video) or (str(video.filename) if getattr(video, "filename", None) else "")


def file_name(video: Any) -> str:
    """Return the path of an open file, if it has one."""
    name = getattr(video, "name", None)
    return name if hasattr(video, "read") and isinstance(name, str) else ""


def is_one_video(value: Any) -> bool:
    """Return whether a value is one video, and not a list of several. A list of pictures is several.

    >>> is_one_video("film.mp4"), is_one_video(["a.mp4", "b.mp4"]), is_one_video(np.zeros((2, 4, 4, 3), np.uint8))
    (True, False, True)
    """
    if isinstance(value, str | os.PathLike | Frames | VideoConcat | VideoEmbedding) or hasattr(value, "read"):
        return True
    if is_array(value):
        return not isinstance(value, np.ndarray) or value.dtype.kind not in "OUS"
    return is_pil(value) or not isinstance(value, Iterable)


def looks_like_a_file(text: str) -> bool:
    """Return whether a text is the name of a video or picture that exists: it is probably not meant as a text.

    >>> looks_like_a_file("film.mp4"), looks_like_a_file("a dog")
    (True, False)
    """
    return Path(text[-255:]).suffix.lower() in SUFFIXES | IMAGE_SUFFIXES and os.path.isfile(text)


def _source(video: Any, clock: Clock) -> Source:
    if isinstance(video, str | os.PathLike):
        uri = uri_of(video)
        if uri is not None:
            return uri
        refuse_url(video)
        return video if isinstance(video, str) else Path(video)
    if isinstance(video, Frames | VideoConcat):
        return video
    pixels = pixels_of(video)
    return Frames(pixels, _times(len(pixels), clock))


def _times(count: int, clock: Clock) -> npt.NDArray[np.float64]:
    """Return the times of `count` frames, (T,) seconds."""
    if clock.times is not None:
        try:
            times = np.asarray(clock.times, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UsageError(f"times must be seconds, one number per frame ({error})") from error
        if times.shape != (count,):
            raise UsageError(f"times must be {count} seconds, one per frame, not of the shape {times.shape}")
        if not np.isfinite(times).all() or np.any(np.diff(times) < 0):
            raise UsageError("times must be finite seconds that do not decrease")
        return times
    if count == 1:
        return np.zeros(1)
    fps = clock.otherwise if clock.fps is None else clock.fps
    if fps is None:
        raise UsageError(
            f"{count} frames have no times of their own; pass fps=... (frames per second), or times=... (seconds)"
        )
    if not (np.isfinite(fps) and fps > 0):
        raise UsageError(f"frames per second must be above 0, not {fps}")
    return np.arange(count) / fps


def _path_of(file: Any) -> str | None:
    """Return the path of an open file if that is surely the same file."""
    name = file_name(file)
    try:
        same = bool(name) and os.path.samestat(os.fstat(file.fileno()), os.stat(name))
    except (OSError, ValueError, AttributeError, io.UnsupportedOperation):
        return None
    return name if same and not isinstance(file, io.TextIOBase) else None


def _copy(file: Any, target: Path, name: str) -> None:
    """Copy an open file, from its beginning if it can be rewound; its position stays."""
    if isinstance(file, io.TextIOBase):
        raise UsageError(f"{name}: is open as text; open it with open(path, 'rb')")
    try:
        position = file.tell() if file.seekable() else None
        if position is not None:
            file.seek(0)
    except (OSError, AttributeError):
        position = None
    try:
        with target.open("wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
    except TypeError as error:
        raise UsageError(f"{name}: does not give bytes; open it with open(path, 'rb')") from error
    except (OSError, ValueError) as error:
        raise VideoError(name, f"cannot be read ({error})") from error
    finally:
        if position is not None:
            file.seek(position)
    if not target.stat().st_size:
        raise VideoError(name, "the open file is empty (0 bytes)")
