"""The rows of an index's tables, and their conversion to and from Arrow.

Shape legend: T frames, d width of the model's space.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mova.types import Span

SCHEMA_VERSION = 1
BLOCK = 256
"""Values per SQL condition."""
UNIT_TOLERANCE = 0.02
"""Difference of a squared length from 1 that half precision may cause, with a margin."""
GAPS = pa.field("gaps", pa.list_(pa.float64()))
"""Column of `videos`: start and end of each gap in turn, seconds. Null in indexes that were made before it existed."""


@dataclass(frozen=True)
class Meta:
    """The model and settings of an index. Vectors made with others must never be mixed in.

    Attributes:
        model: name that loads the model.
        fingerprint: hash of its weights, architecture and preprocessing.
        dim: width d of its space.
        frame_rate: sampled frames per second.
        schema: version of the tables' layout.
    """

    model: str
    fingerprint: str
    dim: int
    frame_rate: float
    schema: int = SCHEMA_VERSION


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


def schemas(meta: Meta) -> dict[str, pa.Schema]:
    """Return the layouts of the tables by name, in the order in which they are created."""
    frames = [("video", pa.string()), ("time", pa.float64()), ("vector", pa.list_(pa.float16(), meta.dim))]
    videos = [
        ("path", pa.string()),
        ("content", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("duration", pa.float64()),
        ("frames", pa.int64()),
        ("mean", pa.list_(pa.float32(), meta.dim)),
    ]
    metadata = {"mova": json.dumps(asdict(meta))}
    required = {
        name: [pa.field(key, kind, nullable=False) for key, kind in fields]
        for name, fields in (("videos", videos), ("frames", frames))
    }
    required["videos"].append(GAPS)
    return {name: pa.schema(fields, metadata=metadata) for name, fields in required.items()}


def records_table(records: Sequence[VideoRecord], schema: pa.Schema) -> pa.Table:
    """Return records as rows of `videos`."""
    columns = {
        "mean": _vectors(np.stack([record.mean for record in records])),
        GAPS.name: pa.array([[bound for gap in r.gaps for bound in (gap.start, gap.end)] for r in records], GAPS.type),
    }
    for name in schema.names:
        if name not in columns:
            columns[name] = pa.array([getattr(record, name) for record in records], schema.field(name).type)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def records_of(table: pa.Table) -> dict[str, VideoRecord]:
    """Return the rows of `videos` by path, in the order of the table."""
    means = vectors_of(table["mean"])
    rows = table.drop_columns(["mean"]).to_pylist()
    gaps = [_spans(row.pop(GAPS.name, None) or ()) for row in rows]
    return {
        row["path"]: VideoRecord(**row, mean=mean, gaps=spans)
        for row, mean, spans in zip(rows, means, gaps, strict=True)
    }


def frames_table(contents: Sequence[str], parts: Sequence[StoredFrames], schema: pa.Schema) -> pa.Table:
    """Return frames of one or several contents as rows of `frames`; vectors are stored in half precision."""
    vectors = np.concatenate([part.vectors for part in parts]).astype(np.float16, copy=False)
    columns = [
        pa.array(np.repeat(np.array(contents, dtype=object), [len(part.times) for part in parts])),
        pa.array(np.concatenate([part.times for part in parts])),
        _vectors(vectors),
    ]
    return pa.table(columns, schema=schema)


def vectors_of(column: pa.ChunkedArray) -> npt.NDArray[np.floating[Any]]:
    """Return a column of vectors as an array (rows, d)."""
    values: npt.NDArray[np.floating[Any]] = column.combine_chunks().flatten().to_numpy()
    return values.reshape(-1, column.type.list_size)


def conditions(column: str, values: Iterable[str]) -> Iterator[str]:
    """Yield SQL conditions that together match the values, `BLOCK` at a time."""
    quoted = ["'" + value.replace("'", "''") + "'" for value in sorted(values)]
    for start in range(0, len(quoted), BLOCK):
        yield f"{column} IN ({', '.join(quoted[start : start + BLOCK])})"


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


def _vectors(rows: npt.NDArray[np.floating[Any]]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def _spans(bounds: Sequence[float]) -> tuple[Span, ...]:
    """Return the spans of a list of starts and ends."""
    return tuple(Span(start, end) for start, end in zip(bounds[::2], bounds[1::2], strict=True))
