"""A snapshot of an index that is searched without LanceDB: memory-mapped vectors and times, and the records.

The folder `snapshot` of a local index holds

- `frames-ID.f16`: the vectors of all contents one after the other, half precision, (rows, d); only appended to; the
  frames of one content are in the order of the tables, usually that of time,
- `times-ID.f64`: their times in seconds, (rows,),
- `videos-ID.safetensors`: one record per path, and the first row of its frames,
- `snapshot.json`: names and sizes of these files, the model and settings, and the state of the tables.

A snapshot that does not have the present state of the tables is not used. Rows of contents that were removed stay until
the files are rewritten.

Shape legend: T frames, R rows, S sentences, d width of the model's space.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mova.search.cold.state import SNAPSHOT_FOLDER as FOLDER
from mova.search.cold.state import SNAPSHOT_NAME as NAME
from mova.search.cold.state import model_state, read_signed, same_model, tables_state
from mova.search.storage.damage import IndexDamagedError, guarded
from mova.search.storage.records import Meta, StoredFrames, VideoRecord, impossible, unit_length
from mova.types import Span
from mova.utils.hashing import content_hash

FORMAT = 1
BLOCK_ROWS = 1024
"""Rows that are widened to float32 at a time: they stay in the processor's cache."""
CACHED_BYTES = 1 << 30
"""Largest float32 copy of all vectors that is kept between searches of one process."""

_F32 = npt.NDArray[np.float32]


class Snapshot:
    """The interface of `mova.search.storage.store.Store` that a search needs, on the files of a snapshot."""

    exists = True

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        self.uri = str(folder)
        self.folder = folder
        self.document = document
        self.meta = Meta(**document["meta"])
        files = folder / FOLDER
        shape = (int(document["rows"]), self.meta.dim)
        self.vectors = _mapped(files / document["frames"], np.float16, shape)
        self.times = _mapped(files / document["times"], np.float64, shape[:1])
        videos = files / document["videos"]
        if content_hash(videos) != document["videos_hash"]:
            raise ValueError(f"{videos} was changed")
        self._records, self.first_rows = read_videos(videos)
        for record in self._records.values():
            if impossible(record) or not 0 <= self.first_rows[record.content] <= shape[0] - record.frames:
                raise ValueError(f"{videos}: has a record that is not possible")
        self._searches = 0

    @classmethod
    def open(cls, folder: Path, last: Snapshot | None = None) -> Self | None:
        """Return the snapshot of an index, or None if it has none in the present state of its tables.

        Args:
            folder: a local index.
            last: a snapshot of the same index that was opened before; returned again if it is still the present one.
        """
        document = read_signed(folder / FOLDER / NAME)
        if document is None or document.get("format") != FORMAT or document.get("state") != tables_state(folder):
            return None
        if isinstance(last, cls) and last.document == document:
            return last
        try:
            return cls(folder, document)
        except (OSError, ValueError, TypeError, LookupError):  # removed by a writer just now, or damaged
            return None

    def is_of(self, model: object) -> bool:
        """Return whether the index was made with a model (`same_model`), and a local model's files are the same."""
        return same_model(model, self.meta.model) and self.document["model_state"] == model_state(self.meta.model)

    def records(self) -> dict[str, VideoRecord]:
        """Return the records of all indexed paths, in order of path."""
        return self._records

    def count_frames(self) -> int:
        """Return the number of stored frames."""
        return int(sum(stop - start for start, stop, _ in self._parts))

    def require_complete(self, rows: int) -> None:
        """Raise: no other process changes a snapshot.

        Raises:
            IndexDamagedError: always.
        """
        raise IndexDamagedError(self.uri, f"stored frames are missing, only {rows} are left")

    def require_removed(self, record: VideoRecord) -> None:
        """Raise, likewise.

        Raises:
            IndexDamagedError: always.
        """
        raise IndexDamagedError(self.uri, f"the stored frames of {record.path} are not complete")

    @guarded
    def fetch(self, contents: Sequence[str]) -> dict[str, StoredFrames]:
        """Return the stored frames of contents, by content; contents that are not stored are left out."""
        frames = {}
        for content in contents:
            if content in self._bounds:
                start, stop = self._bounds[content]
                vectors = self.vectors[start:stop]
                if not unit_length(vectors):
                    raise IndexDamagedError(self.uri, "stored vectors are not of unit length")
                order = np.argsort(self.times[start:stop], kind="stable")
                frames[content] = StoredFrames(self.times[start:stop][order], vectors[order].astype(np.float32))
        return frames

    @guarded
    def nearest(self, query: _F32, limit: int, *, exact: bool = True) -> tuple[list[str], _F32]:
        """Return the contents of the frames nearest to a unit vector (d,), and their cosines, best first.

        Every frame is scanned, so the answer is always exact.
        """
        cosines = self._cosines(query)
        limit = min(limit, len(self._live_rows))
        near = np.argpartition(-cosines, limit - 1)[:limit] if limit < len(cosines) else np.arange(len(cosines))
        near = near[np.argsort(-cosines[near], kind="stable")]
        if not np.all(np.abs(cosines[near]) < 1.1):  # NaN, too
            raise IndexDamagedError(self.uri, "stored vectors are not of unit length")
        owners = np.searchsorted(self._starts, self._live_rows[near], side="right") - 1
        return [self._parts[i][2] for i in owners.tolist()], cosines[near]

    @cached_property
    def _bounds(self) -> dict[str, tuple[int, int]]:
        """Content -> its first row, and the row after its last."""
        return {
            record.content: (first, first + record.frames)
            for record in self._records.values()
            for first in (self.first_rows[record.content],)
        }

    @cached_property
    def _parts(self) -> list[tuple[int, int, str]]:
        """First row, row after the last, and content, in order of rows."""
        return sorted((start, stop, content) for content, (start, stop) in self._bounds.items())

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        return np.array([start for start, _, _ in self._parts], dtype=np.int64)

    @cached_property
    def _live_rows(self) -> npt.NDArray[np.int64]:
        """Rows of contents that are still indexed, in order."""
        return np.concatenate([np.arange(start, stop) for start, stop, _ in self._parts] or [np.empty(0, np.int64)])

    def _cosines(self, query: _F32) -> _F32:
        """Return the cosines (live rows,) of a unit vector (d,) with all frames."""
        self._searches += 1
        rows, dim = self.vectors.shape
        if self._searches > 1 and rows * dim * 4 <= CACHED_BYTES:
            scores = self._wide @ query
        else:
            scores = np.empty(rows, dtype=np.float32)
            for start in range(0, rows, BLOCK_ROWS):
                block = self.vectors[start : start + BLOCK_ROWS].astype(np.float32)
                np.matmul(block, query, out=scores[start : start + len(block)])
        return scores if len(self._live_rows) == rows else scores[self._live_rows]

    @cached_property
    def _wide(self) -> _F32:
        """All vectors (R, d) in float32."""
        return self.vectors.astype(np.float32)


def _mapped(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return the content of a file as an array; an empty file cannot be mapped."""
    return np.memmap(path, dtype=dtype, mode="r", shape=shape) if shape[0] else np.empty(shape, dtype)


def write_videos(path: Path, records: Sequence[VideoRecord], first_rows: dict[str, int], dim: int) -> None:
    """Write the records, and the first row of each content, as safetensors.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.numpy import save

    bounds = [[gap.start, gap.end] for record in records for gap in record.gaps]
    tensors = {
        "size": np.array([record.size for record in records], dtype=np.int64),
        "mtime_ns": np.array([record.mtime_ns for record in records], dtype=np.int64),
        "duration": np.array([record.duration for record in records], dtype=np.float64),
        "frames": np.array([record.frames for record in records], dtype=np.int64),
        "first_row": np.array([first_rows[record.content] for record in records], dtype=np.int64),
        "mean": np.array([record.mean for record in records], dtype=np.float32).reshape(len(records), dim),
        "gaps": np.array([len(record.gaps) for record in records], dtype=np.int64),
        "gap_bounds": np.array(bounds, dtype=np.float64).reshape(-1, 2),
    }
    names = {
        "paths": json.dumps([record.path for record in records]),
        "contents": json.dumps([record.content for record in records]),
    }
    path.write_bytes(save(tensors, names))


def read_videos(path: Path) -> tuple[dict[str, VideoRecord], dict[str, int]]:
    """Return what `write_videos` wrote: the records by path, and the first row of each content.

    Raises:
        OSError, ValueError, KeyError: the file cannot be read, or is not as it was written.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = file.metadata()
            columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} was changed") from error
    paths, contents = json.loads(names["paths"]), json.loads(names["contents"])
    stops = np.cumsum(columns["gaps"])
    bounds = columns["gap_bounds"].tolist()
    plain = {name: columns[name].tolist() for name in ("size", "mtime_ns", "duration", "frames", "first_row")}
    records, first_rows = {}, {}
    for i, (name, content) in enumerate(zip(paths, contents, strict=True)):
        gaps = tuple(Span(*pair) for pair in bounds[int(stops[i] - columns["gaps"][i]) : int(stops[i])])
        size, mtime, duration = (plain[key][i] for key in ("size", "mtime_ns", "duration"))
        frames, mean = plain["frames"][i], columns["mean"][i]
        records[name] = VideoRecord(name, content, size, mtime, duration, frames, mean, gaps)
        first_rows[content] = plain["first_row"][i]
    return records, first_rows
