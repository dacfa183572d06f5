"""The rows of an index's tables.

Shape legend: T frames, d width of the model's space.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.errors import IndexMismatchError
from mova.types import Span

SCHEMA_VERSION = 1
EXACT, NEAREST = "exact", "nearest"
"""Which frames are sampled, see `Meta`."""
BATCH_FRAMES = 8192
"""Frames of several videos that are read at a time."""
UNIT_TOLERANCE = 0.02
"""Difference of a squared length from 1 that half precision may cause, with a margin."""


@dataclass(frozen=True)
class Meta:
    """The model and settings of an index. Vectors made with others must never be mixed in.

    Attributes:
        model: name that loads the model.
        fingerprint: hash of its weights, architecture and preprocessing.
        dim: width d of its space.
        frame_rate: sampled frames per second.
        schema: version of the tables' layout.
        sampling: "exact": the frames on display at the sampling times; "nearest": frames near them that cost less to
            decode (`mova.video.reader.SLACK`).
    """

    model: str
    fingerprint: str
    dim: int
    frame_rate: float
    schema: int = SCHEMA_VERSION
    sampling: str = EXACT

    def require(self, requested: Meta, uri: str) -> None:
        """Raise if vectors made now would differ from the stored ones; the name of the model does not matter.

        Args:
            requested: how vectors would be made now.
            uri: of the index, for the message.

        Raises:
            IndexMismatchError: with the properties that differ.
        """
        stored = asdict(self)
        differ = [
            f"{key.replace('_', ' ')} {stored[key]!r}, not {value!r}"
            for key, value in asdict(requested).items()
            if key != "model" and stored[key] != value
        ]
        if differ:
            names = f" (model {self.model!r}, requested: {requested.model!r})"
            raise IndexMismatchError(
                f"{uri}: the index was created with {';  '.join(differ)}{names}. Nothing was changed. "
                f"Use the model and the frame rate it was made with, or index into another folder."
            )


@dataclass(frozen=True, eq=False)
class VideoRecord:
    """One indexed path. Paths with equal content share their frames.

    Attributes:
        path: absolute.
        content: hash of the whole file (hexadecimal).
        size: bytes.
        mtime_ns: modification time in nanoseconds.
        duration: seconds.
        frames: sampled frames stored.
        mean: float32, (d,), mean of the normalised frame vectors (CLIP4Clip's pooling before normalisation).
        gaps: stretches without pictures.

    >>> record = VideoRecord("/films/a.mp4", "0123", size=9, mtime_ns=0, duration=60.0, frames=60, mean=np.zeros(8))
    >>> record.duration, record.gaps
    (60.0, ())
    """

    path: str
    content: str
    size: int
    mtime_ns: int
    duration: float
    frames: int
    mean: npt.NDArray[np.float32]
    gaps: tuple[Span, ...] = ()


@dataclass(frozen=True, eq=False)
class StoredFrames:
    """The frames of one content, in order of time.

    Attributes:
        times: float64, (T,), seconds.
        vectors: (T, d), L2-normalised; float32 when read, any precision to write.
    """

    times: npt.NDArray[np.float64]
    vectors: npt.NDArray[np.floating[Any]]


def unit_length(vectors: npt.NDArray[np.floating[Any]]) -> bool:
    """Return whether all vectors (T, d), stored in half precision, are finite and of unit length."""
    squares = np.einsum("td,td->t", vectors, vectors, dtype=np.float32)
    return bool(np.all(np.abs(squares - 1) < UNIT_TOLERANCE))


def impossible(record: VideoRecord) -> str | None:
    """Return what cannot be right in a record, if anything."""
    finite = np.isfinite(record.duration) and record.duration > 0 and np.all(np.isfinite(record.mean))
    if finite and record.frames > 0 and record.path and record.content:
        return None
    return f"the record of {record.path!r} has values that are not possible"
