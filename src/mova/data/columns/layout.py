"""The layout of a manifest as an Arrow table, and rows to and from its columns.

Columns that rows are selected by are stored beside the row's own: what `meta` says of them, and hashes, so that no row
has to be built for a selection.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from mova.data.manifest import Caption, Row, Segment, TimedSentence, row_line
from mova.data.readers.annotations import origins

SUFFIX = ".arrow"
"""Suffix of a table's file."""
ROWS_PER_BATCH = 1 << 16
_SENTENCE = pa.struct([("text", pa.string()), ("start", pa.float64()), ("end", pa.float64())])
_CAPTION = pa.struct([("text", pa.string()), ("sentences", pa.list_(_SENTENCE))])
_PART = pa.struct([("video", pa.string()), ("start", pa.float64()), ("end", pa.float64())])
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("video", pa.string()),
        ("duration", pa.float64()),
        ("split", pa.string()),
        ("captions", pa.list_(_CAPTION)),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("source", pa.string()),
        ("meta", pa.string()),
        ("parts", pa.list_(_PART)),
        ("granularity", pa.string()),
        ("view", pa.string()),
        ("words", pa.int32()),
        ("options", pa.bool_()),
        ("origins", pa.list_(pa.string())),
        ("digest", pa.uint64()),
    ],
    metadata={"mova": "manifest 1"},
)
"""`words` counts those of the first caption; `digest` covers what a manifest's fingerprint covers."""


def to_batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """Return rows as a batch of the table."""
    return pa.RecordBatch.from_pylist([_columns(row) for row in rows], schema=SCHEMA)


def _columns(row: Row) -> dict[str, Any]:
    document = row.to_json()
    stated = (row.meta.get("granularity"), row.meta.get("view"))
    granularity, view = (None if value is None else str(value) for value in stated)
    return {
        "id": row.id,
        "video": row.video,
        "duration": row.duration,
        "split": row.split,
        "captions": document["captions"],
        "start": row.start,
        "end": row.end,
        "source": row.source,
        "meta": json.dumps(document["meta"], ensure_ascii=False, allow_nan=False) if row.meta else None,
        "parts": document.get("parts", []),
        "granularity": granularity,
        "view": view,
        "words": len(row.captions[0].text.split()) if row.captions else 0,
        "options": "options" in row.meta,
        "origins": origins(row),
        "digest": row_digest(row),
    }


def to_row(values: Mapping[str, Any]) -> Row:
    """Return a row from the values of its columns."""
    captions = tuple(
        Caption(caption["text"], tuple(TimedSentence(s["text"], s["start"], s["end"]) for s in caption["sentences"]))
        for caption in values["captions"]
    )
    return Row(
        id=values["id"],
        video=values["video"],
        duration=values["duration"],
        split=values["split"],
        captions=captions,
        start=values["start"],
        end=values["end"],
        source=values["source"],
        meta=json.loads(values["meta"]) if values["meta"] else {},
        parts=tuple(Segment(part["video"], part["start"], part["end"]) for part in values["parts"]),
    )


def row_digest(row: Row) -> int:
    """Return 64 bits over the id, the bounds of clip and parts, and the captions with their times.

    >>> row = Row("a", "a.mp4", None, "train", (Caption("A dog runs."),))
    >>> row_digest(row) == row_digest(Row("a", "b.mp4", None, "train", (Caption("A dog runs."),)))
    True
    """
    bounds = [(part.start, part.end) for part in row.parts]
    content = row_line(Row(row.id, "-", row.duration, "-", row.captions, row.start, row.end)) + json.dumps(bounds)
    return int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest(), "big")
