"""A snapshot of an index that is searched without LanceDB: memory-mapped vectors and times, and the records.

The folder `snapshot` of a local index, or of what is kept of a remote one in the user's cache, holds

- `frames-ID.f16`: the vectors of all contents one after the other, half precision, (rows, d), if they cannot be read
  from local files of the tables (`table_rows.py`); like the next four only appended to; the frames of one content are
  in the order of the tables, usually that of time,
- `times-ID.f64`: their times in seconds, (rows,),
- `windows-ID.f64`: start and end in seconds of what each vector stands for, (rows, 2), if that is several frames,
- `codes-ID.i8` and `scales-ID.f32`: the vectors as 8-bit integers, (rows, d), and (rows, 2); see `codes.py`,
- `videos-ID.safetensors`: one record per path, and the first row of its frames,
- `snapshot.json`: names and sizes of these files, the places of vectors in the files of the tables, the model and
  settings, and the state of the tables.

A snapshot that does not have the present state of the tables is not used. Rows of contents that were removed stay until
the files are rewritten.

Shape legend: T frames, R rows, S sentences, d width of the model's space.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from mova.search.cold.codes import Bounds, Codes, highest, scan, scan_together
from mova.search.cold.halves import widened
from mova.search.cold.state import SNAPSHOT_FOLDER as FOLDER
from mova.search.cold.state import SNAPSHOT_NAME as NAME
from mova.search.cold.state import files_changed, model_state, read_signed, same_model, tables_state
from mova.search.cold.table_rows import TableRows
from mova.search.storage.damage import FixedState, IndexDamagedError, guarded
from mova.search.storage.records import Meta, StoredFrames, VideoRecord, impossible, unit_length
from mova.types import Span
from mova.utils.hashing import content_hash

FORMAT = 3
ROW_FILES = {
    "frames": ("f16", np.float16),
    "times": ("f64", np.float64),
    "codes": ("i8", np.int8),
    "scales": ("f32", np.float32),
    "windows": ("f64", np.float64),
}
"""Suffix and type of the files that have an entry per row, by their keys in `snapshot.json`."""
EXTENTS = "extents"
"""Key of the places of vectors in the files of the tables, without a file of `frames`."""
CODED_ROWS = 4096
"""Rows from which the codes are scanned; fewer vectors are widened and compared as fast."""
EXACT_ROWS = 16_384
"""Rows up to which all cosines of several queries are computed at once: most searches ask for a large part of them."""
AHEAD = 1 << 23
"""Values that are kept for queries that are compared at once."""
MOST_PRODUCTS = 1 << 21
"""Cosines of several queries that are in memory at once, while the best ones of each content are found."""
BLOCK_ROWS = 16_384
"""Rows that are widened to float32 at a time, so that memory does not grow with the number of candidates."""

_F32 = npt.NDArray[np.float32]


class Remote(Protocol):
    """The tables of an index that are not in a local folder."""

    uri: str

    @property
    def connection(self) -> Any:
        """Of LanceDB."""

    def state(self) -> str | None:
        """Return what changes with every write to the tables."""


class Snapshot(FixedState):
    """The interface of `mova.search.storage.store.Store` that a search needs, on the files of a snapshot."""

    exists = mapped = True
    connection: Any = None
    _ahead: Mapping[bytes, Bounds] = {}
    _ahead_exact: Mapping[bytes, _F32] = {}

    def __init__(self, folder: Path, document: dict[str, Any], remote: Remote | None = None) -> None:
        self.uri = str(folder)
        self.folder: Path | None = folder
        self.kept = folder
        if remote is not None:
            self.uri, self.folder, self.connection = remote.uri, None, remote.connection
        self.document = document
        self.meta = Meta(**document["meta"])
        files = folder / FOLDER
        rows = int(document["rows"])
        shapes = {key: row_shape(key, rows, self.meta.dim) for key in ROW_FILES if key in document}
        maps = {key: _mapped(files / document[key], ROW_FILES[key][1], shape) for key, shape in shapes.items()}
        if EXTENTS in document:
            self.vectors: TableRows | npt.NDArray[np.float16] = TableRows(folder, document[EXTENTS], self.meta.dim)
        else:
            self.vectors = maps["frames"]
        if len(self.vectors) != rows:
            raise ValueError(f"{folder}: {len(self.vectors)} vectors, not {rows}")
        self.times, self.windows = maps["times"], maps.get("windows")
        self.codes = Codes(maps["codes"], maps["scales"])
        videos = files / document["videos"]
        if content_hash(videos) != document["videos_hash"]:
            raise ValueError(f"{videos} was changed")
        self._records, self.first_rows = read_videos(videos)
        for record in self._records.values():
            if impossible(record) or not 0 <= self.first_rows[record.content] <= rows - record.frames:
                raise ValueError(f"{videos}: has a record that is not possible")
        self._last: tuple[bytes, Bounds] | None = None

    @classmethod
    def open(cls, folder: Path, last: Snapshot | None = None, remote: Remote | None = None) -> Self | None:
        """Return the snapshot of an index, or None if it has none in the present state of its tables.

        Args:
            folder: a local index, or what is kept of a remote one.
            last: a snapshot of the same index that was opened before; returned again if it is still the present one.
            remote: the tables, if they are not in the folder.
        """
        document = read_signed(folder / FOLDER / NAME)
        if document is None or document.get("format") != FORMAT:
            return None
        if document.get("state") != (tables_state(folder) if remote is None else remote.state()):
            return None
        if isinstance(last, cls) and last.document == document:
            return last
        try:
            return cls(folder, document, remote)
        except (OSError, ValueError, TypeError, LookupError):  # removed by a writer just now, or damaged
            return None

    def is_of(self, model: object) -> bool:
        """Return whether the index was made with a model (`same_model`), and a local model's files did not change."""
        state = model_state(self.meta.model)
        return same_model(model, self.meta.model) and not files_changed(state, self.document["model_state"])

    def restricted(self, records: Mapping[str, VideoRecord]) -> Snapshot:
        """Return the snapshot of an index that has only these of its records; the files are shared."""
        part = Snapshot.__new__(Snapshot)
        shared = ("uri", "folder", "kept", "document", "meta", "vectors", "times", "windows", "codes", "first_rows")
        part.__dict__.update({name: getattr(self, name) for name in shared})
        part._records, part._last = dict(records), None
        return part

    def records(self) -> dict[str, VideoRecord]:
        """Return the records of all indexed paths, in order of path."""
        return self._records

    def count_frames(self) -> int:
        """Return the number of stored frames."""
        return self._live_count

    @guarded
    def fetch(self, contents: Sequence[str]) -> dict[str, StoredFrames]:
        """Return the stored frames of contents, by content; contents that are not stored are left out."""
        frames = {}
        for content in contents:
            if content in self._bounds:
                start, stop = self._bounds[content]
                vectors = widened(self.vectors[start:stop])
                if not unit_length(vectors):
                    raise IndexDamagedError(self.uri, "stored vectors are not of unit length")
                windows = None if self.windows is None else np.array(self.windows[start:stop])
                part = StoredFrames(np.array(self.times[start:stop]), vectors, windows)
                if np.any(np.diff(part.times) < 0):
                    part = part[np.argsort(part.times, kind="stable")]
                frames[content] = part.sampled(self.meta)
        return frames

    @guarded
    def nearest(self, query: _F32, limit: int, *, exact: bool = True) -> tuple[list[str], _F32]:
        """Return the contents of the frames nearest to a unit vector (d,), and their cosines, best first.

        Every frame is scanned, so the answer is always exact.
        """
        limit = min(limit, self.count_frames())
        rows, cosines = self._candidates(query, limit)
        near = np.argsort(-cosines, kind="stable")[:limit]
        if not np.all(np.abs(cosines[near]) < 1.1):  # NaN, too
            raise IndexDamagedError(self.uri, "stored vectors are not of unit length")
        owners = np.searchsorted(self._starts, rows[near], side="right") - 1
        return [self._parts[i][2] for i in owners.tolist()], cosines[near]

    def _candidates(self, query: _F32, limit: int) -> tuple[npt.NDArray[np.int64], _F32]:
        """Return rows among which are the `limit` rows nearest to a unit vector (d,), in order, and their cosines."""
        count = self.count_frames()
        if count < CODED_ROWS or 4 * limit >= count:
            return self._live_rows, self._cosines(self._live_rows, query)
        bounds = self._bounded(query)
        near = np.sort(highest(bounds.estimate, limit))
        known = self._cosines(near, query)
        least = float(known.min())
        if not np.isfinite(least):
            raise IndexDamagedError(self.uri, "stored vectors are not of unit length")
        rows = np.flatnonzero(bounds.upper >= least)
        places = np.searchsorted(near, rows)
        scored = near[np.minimum(places, len(near) - 1)] == rows
        cosines = np.empty(len(rows), np.float32)
        cosines[scored], cosines[~scored] = known[places[scored]], self._cosines(rows[~scored], query)
        return rows, cosines

    def _bounded(self, query: _F32) -> Bounds:
        """Return bounds of the cosines of all rows, without those of removed contents; kept until the next query."""
        key, last = query.tobytes(), self._last  # another thread may replace it at any time
        if key in self._ahead:
            return self._ahead[key]
        if last is not None and last[0] == key:
            return last[1]
        bounds = self._without_holes(scan(self.codes, query))
        self._last = key, bounds
        return bounds

    def _without_holes(self, bounds: Bounds) -> Bounds:
        for start, stop in self._holes:
            bounds.estimate[start:stop] = bounds.upper[start:stop] = -np.inf
        return bounds

    @guarded
    def look_ahead(self, queries: _F32) -> None:
        """Compare several unit vectors (n, d) with all frames at once: `nearest` is then quick for each of them.

        What was kept for earlier vectors is dropped, unless these are among them. `AHEAD` limits how much is kept;
        further vectors are left out.
        """
        rows = self.count_frames()
        kept = len(self.vectors) if rows >= CODED_ROWS else rows
        queries = queries[: AHEAD // max(1, kept)]
        keys = [query.tobytes() for query in queries]
        if keys and all(key in self._ahead or key in self._ahead_exact for key in keys):
            return
        self._ahead, self._ahead_exact = {}, {}
        if not keys:
            return
        if rows < EXACT_ROWS:
            cosines = queries @ widened(self.vectors[self._live_rows]).T
            self._ahead_exact = dict(zip(keys, cosines, strict=True))
        if rows >= CODED_ROWS:
            found = scan_together(self.codes, queries)
            self._ahead = dict(zip(keys, map(self._without_holes, found), strict=True))

    @guarded
    def best_cosines(self, queries: _F32) -> tuple[list[str], _F32]:
        """Return all contents, and the highest cosine (contents, n) of each with unit vectors (n, d).

        Every vector is read once. This is the quickest way for many vectors of which every content must be known.
        """
        stops = np.array([stop for _, stop, _ in self._parts], dtype=np.int64)
        best = np.full((len(stops), len(queries)), -np.inf, np.float32)
        block = min(BLOCK_ROWS, max(MOST_PRODUCTS // max(1, len(queries)), 64))
        for low in range(0, len(self.vectors), block):
            high = min(low + block, len(self.vectors))
            first, last = np.searchsorted(stops, low, side="right"), np.searchsorted(self._starts, high)
            if first == last:
                continue
            vectors = widened(self.vectors[low:high])
            edges = np.clip(np.stack([self._starts[first:last], stops[first:last]], axis=1), low, high).ravel() - low
            cosines = vectors @ queries.T  # also of removed contents, between the second edge of a pair and the next
            highest_of = np.maximum.reduceat(cosines, edges[: len(edges) - (edges[-1] == high - low)], axis=0)[::2]
            np.maximum(best[first:last], highest_of, out=best[first:last])
        if not np.all(np.abs(best) < 1.1):  # NaN, too
            raise IndexDamagedError(self.uri, "stored vectors are not of unit length")
        return [content for _, _, content in self._parts], best

    def _cosines(self, rows: npt.NDArray[np.int64], query: _F32) -> _F32:
        """Return the cosines of a unit vector (d,) with some rows."""
        if rows is self._live_rows and (known := self._ahead_exact.get(query.tobytes())) is not None:
            return known
        cosines = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            np.einsum("td,d->t", widened(self.vectors[rows[part]]), query, out=cosines[part])  # without threads of BLAS
        return cosines

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
    def _live_count(self) -> int:
        return sum(stop - start for start, stop, _ in self._parts)

    @cached_property
    def _live_rows(self) -> npt.NDArray[np.int64]:
        """Rows of contents that are still indexed, in order."""
        return np.concatenate([np.arange(start, stop) for start, stop, _ in self._parts] or [np.empty(0, np.int64)])

    @cached_property
    def _holes(self) -> list[tuple[int, int]]:
        """First row, and row after the last, of stretches of removed contents."""
        edges = [0, *(edge for start, stop, _ in self._parts for edge in (start, stop)), len(self.vectors)]
        return [(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if start < stop]


def row_shape(key: str, rows: int, dim: int) -> tuple[int, ...]:
    """Return the shape of a file of `ROW_FILES`.

    Example:
        >>> row_shape("codes", 10, 512), row_shape("times", 10, 512)
        ((10, 512), (10,))
    """
    widths = {"frames": (dim,), "times": (), "codes": (dim,), "scales": (2,), "windows": (2,)}
    return (rows, *widths[key])


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
