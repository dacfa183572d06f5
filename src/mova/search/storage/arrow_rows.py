"""Conversion of an index's rows to and from Arrow, and the layouts of its tables.

Shape legend: T frames, d width of the model's space.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mova.errors import IndexMismatchError
from mova.search.storage.records import SCHEMA_VERSION, WINDOWS_VERSION, Meta, StoredFrames, VideoRecord
from mova.types import Span

BLOCK = 256
"""Values per SQL condition."""
GAPS = pa.field("gaps", pa.list_(pa.float64()))
"""Column of `videos`: start and end of each gap in turn, seconds. Null in indexes that were made before it existed."""
RENAMED = "mova.model"
"""Key in the metadata of the column `video` of `frames`: the present name of the model, if it was moved."""
WINDOW = ("start", "end")
"""Columns of `frames`, in seconds, in indexes of windows or stretches of several frames."""


def schemas(meta: Meta) -> dict[str, pa.Schema]:
    """Return the layouts of the tables by name, in the order in which they are created."""
    frames = [("video", pa.string()), ("time", pa.float64()), ("vector", pa.list_(pa.float16(), meta.dim))]
    frames += [(name, pa.float64()) for name in WINDOW if meta.has_windows]
    videos = [
        ("path", pa.string()),
        ("content", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("duration", pa.float64()),
        ("frames", pa.int64()),
        ("mean", pa.list_(pa.float32(), meta.dim)),
    ]
    metadata = {"mova": json.dumps(meta.to_dict()), "mova.made": uuid.uuid4().hex}
    required = {
        name: [pa.field(key, kind, nullable=False) for key, kind in fields]
        for name, fields in (("videos", videos), ("frames", frames))
    }
    required["videos"].append(GAPS)
    return {name: pa.schema(fields, metadata=metadata) for name, fields in required.items()}


def meta_of(schema: pa.Schema, uri: str) -> Meta:
    """Return the model and settings in the layout of `frames`.

    Args:
        schema: the layout.
        uri: of the index, for messages.

    Raises:
        IndexMismatchError: it is that of another version, or of no index.
    """
    text = (schema.metadata or {}).get(b"mova")
    meta = json.loads(text) if text else {}
    if meta.get("schema") not in (SCHEMA_VERSION, WINDOWS_VERSION):
        raise IndexMismatchError(
            f"{uri}: its tables have layout {meta.get('schema', 'unknown')}, this version of mova "
            f"reads {SCHEMA_VERSION} and {WINDOWS_VERSION}. Nothing was changed. Index into another folder."
        )
    renamed = (schema.field("video").metadata or {}).get(RENAMED.encode())
    return Meta(**meta) if renamed is None else Meta(**{**meta, "model": renamed.decode()})


def made(schema: pa.Schema) -> str:
    """Return what tells tables that were made anew from earlier ones; empty if they are older than that."""
    return (schema.metadata or {}).get(b"mova.made", b"").decode()


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
    if WINDOW[0] in schema.names:
        windows = np.concatenate([part.windows for part in parts if part.windows is not None])
        columns += [pa.array(np.ascontiguousarray(windows[:, i])) for i in range(2)]
    return pa.table(columns, schema=schema)


def frame_columns(meta: Meta) -> list[str]:
    """Return the columns of `frames` that `stored_frames` needs, and the content.

    Example:
        >>> frame_columns(Meta("m", "f", 8, 1.0))
        ['video', 'time', 'vector']
    """
    return ["video", "time", "vector", *(WINDOW if meta.has_windows else ())]


def stored_frames(table: pa.Table) -> StoredFrames:
    """Return rows of `frames`, in the order of the table, with vectors in half precision."""
    windows = None
    if WINDOW[0] in table.schema.names:
        windows = np.stack([table[name].to_numpy() for name in WINDOW], axis=1)
    return StoredFrames(table["time"].to_numpy(), vectors_of(table["vector"]), windows)


def vectors_of(column: pa.ChunkedArray) -> npt.NDArray[np.floating[Any]]:
    """Return a column of vectors as an array (rows, d)."""
    values: npt.NDArray[np.floating[Any]] = column.combine_chunks().flatten().to_numpy()
    return values.reshape(-1, column.type.list_size)


def conditions(column: str, values: Iterable[str]) -> Iterator[str]:
    """Yield SQL conditions that together match the values, `BLOCK` at a time."""
    quoted = ["'" + value.replace("'", "''") + "'" for value in sorted(values)]
    for start in range(0, len(quoted), BLOCK):
        yield f"{column} IN ({', '.join(quoted[start : start + BLOCK])})"


def _vectors(rows: npt.NDArray[np.floating[Any]]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def _spans(bounds: Sequence[float]) -> tuple[Span, ...]:
    """Return the spans of a list of starts and ends."""
    return tuple(Span(start, end) for start, end in zip(bounds[::2], bounds[1::2], strict=True))
