"""The rows of an index's tables.

Shape legend: T frames, d width of the model's space.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.errors import IndexMismatchError
from mova.scoring.windows.rule import cell_seconds
from mova.scoring.windows.stretches import sampled_frames
from mova.types import Span

SCHEMA_VERSION, WINDOWS_VERSION = 1, 2
"""Layouts of the tables: of single frames; of windows or stretches of several frames, which have a start and an end."""
EXACT, NEAREST = "exact", "nearest"
"""Which frames are sampled, see `Meta`."""
BATCH_FRAMES = 8192
"""Frames of several videos that are read at a time."""
UNIT_TOLERANCE = 0.02
"""Difference of a squared length from 1 that half precision may cause, with a margin."""


NAMES = {"frame_rate": "frame rate", "window": "frames per window", "stride": "stride in frames"}
"""Names of some settings in messages."""
HASH_SHOWN = 12
"""Characters of a fingerprint in messages."""


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
        window, stride: sampled frames per vector, and from one vector to the next (`mova.scoring.windows.rule`).
        novelty: highest cosine distance of a sampled frame to the vector that is stored for its stretch
            (`mova.scoring.windows.stretches`); 0: every sampled frame is stored.
    """

    model: str
    fingerprint: str
    dim: int
    frame_rate: float
    schema: int = SCHEMA_VERSION
    sampling: str = EXACT
    window: int = 1
    stride: int = 1
    novelty: float = 0.0

    @property
    def step(self) -> float:
        """Seconds from one vector to the next, as they are read."""
        return self.stride / self.frame_rate

    @property
    def has_windows(self) -> bool:
        """Whether a stored row has a start and an end."""
        return self.window > 1 or self.novelty > 0

    def frames_of(self, record: VideoRecord) -> int:
        """Return about how many vectors of a video are read: more than are stored if they stand for stretches."""
        return max(record.frames, ceil(record.duration * self.frame_rate)) if self.novelty else record.frames

    def to_dict(self) -> dict[str, Any]:
        """Return the fields; without those that are not used, as in indexes that were made before they existed."""
        values = asdict(self)
        if self.window == 1:
            del values["window"], values["stride"]
        if not self.novelty:
            del values["novelty"]
        return values

    def require(self, requested: Meta, uri: str) -> None:
        """Raise if vectors made now would differ from the stored ones; the name of the model does not matter.

        Args:
            requested: how vectors would be made now.
            uri: of the index, for the message.

        Raises:
            IndexMismatchError: with the properties that differ.
        """
        if differ := self.differences(requested):
            made = "" if self.model == requested.model else f"the model {self.model!r}, not {requested.model!r}: "
            raise IndexMismatchError(
                f"{uri}: the index was created with {made}{';  '.join(differ)}. Nothing was changed. "
                f"Use the model and the frame rate it was made with, or index into another folder: several indexes "
                f"of one model are searched together (--index A --index B)."
            )

    def differences(self, other: Meta) -> list[str]:
        """Return in words why vectors of two indexes must not be mixed; nothing if they may be."""
        stored = asdict(self)
        return [
            f"{NAMES.get(key, key)} {_brief(stored[key])}, not {_brief(value)}"
            for key, value in asdict(other).items()
            if key not in ("model", "schema") and stored[key] != value
        ]


def _brief(value: object) -> str:
    """Return a value for a message; of a hash its beginning."""
    return repr(value[:HASH_SHOWN] if isinstance(value, str) else value)


@dataclass(frozen=True, eq=False)
class VideoRecord:
    """One indexed path. Paths with equal content share their frames.

    Attributes:
        path: absolute.
        content: hash of the whole file (hexadecimal).
        size: bytes.
        mtime_ns: modification time in nanoseconds.
        duration: seconds.
        frames: stored vectors.
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
        times: float64, (T,), seconds: each vector stands for the time from here to the next.
        vectors: (T, d), L2-normalised; float32 when read, any precision to write.
        windows: float64, (T, 2), start and end in seconds of what each vector sees; None: single frames.
        firsts: (W,), the first frame of each stored row, if a row stands for a stretch of frames.
    """

    times: npt.NDArray[np.float64]
    vectors: npt.NDArray[np.floating[Any]]
    windows: npt.NDArray[np.float64] | None = None
    firsts: npt.NDArray[np.int64] | None = None

    @property
    def stored_rows(self) -> int:
        """Number of rows of the table that these were read from."""
        return len(self.times if self.firsts is None else self.firsts)

    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> StoredFrames:
        """Return some of the frames."""
        windows = None if self.windows is None else self.windows[rows]
        return StoredFrames(self.times[rows], self.vectors[rows], windows)

    def widened(self) -> StoredFrames:
        """Return the same frames with vectors in float32."""
        return StoredFrames(self.times, self.vectors.astype(np.float32), self.windows)

    def sampled(self, meta: Meta) -> StoredFrames:
        """Return the vector of every sampled frame; stretches of an index with a novelty are repeated.

        Raises:
            ValueError: bounds of stretches that are not possible.
        """
        if not meta.novelty or self.windows is None:
            return self
        times, owners = sampled_frames(self.windows, meta.frame_rate)
        return StoredFrames(times, self.vectors[owners], firsts=np.searchsorted(owners, np.arange(len(self.times))))

    def step(self, meta: Meta) -> float:
        """Return how long a vector stands for the video at most where no frame is missing, in seconds.

        Args:
            meta: of the index.
        """
        return meta.step if self.windows is None else cell_seconds(self.times, self.windows)


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
