"""Quarantine lists: rows of a manifest whose video files are missing, broken or not as described, with the cause.

A list is JSON lines, `{"id", "video", "kind", "cause"}`, one line per row. `mova data check` writes it; conversion,
training and evaluation leave out and count its rows on request.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from mova.data.manifest import Row, write_lines
from mova.data.readers.annotations import get_fields, to_text
from mova.errors import DataError
from mova.utils.tables import read_jsonl

FaultKind = Literal["missing", "unreadable", "no video", "too short", "other duration"]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
"""Kinds of faults: the file does not exist; it cannot be decoded; it has no video stream; the row's clip or one of its
sentences begins after the end of the video; the manifest states another duration."""


@dataclass(frozen=True)
class Quarantined:
    """A quarantined row.

    Attributes:
        id, video: as in the manifest.
        kind: kind of fault.
        cause: explanation for people.

    >>> Quarantined("a", "a.mp4", "missing", "no such file").to_json()["kind"]
    'missing'
    """

    id: str
    video: str
    kind: FaultKind
    cause: str

    def to_json(self) -> dict[str, str]:
        """Return the entry as a JSON object of the list."""
        return asdict(self)


def write_quarantine(path: str | Path, entries: Iterable[Quarantined]) -> Path:
    """Write a quarantine list, and replace `path` only once all is written; an empty file: no row has a fault.

    >>> write_quarantine("quarantine.jsonl", [Quarantined("a", "a.mp4", "missing", "no such file")]).read_text().strip()
    '{"id": "a", "video": "a.mp4", "kind": "missing", "cause": "no such file"}'
    """
    return write_lines(path, (json.dumps(entry.to_json(), ensure_ascii=False) for entry in entries))


def read_quarantine(path: str | Path) -> list[Quarantined]:
    """Read a quarantine list.

    Raises:
        DataError: the file cannot be read, a line is invalid, or an id occurs twice.

    >>> path = write_quarantine("quarantine.jsonl", [Quarantined("a", "a.mp4", "missing", "no such file")])
    >>> [entry.id for entry in read_quarantine(path)]
    ['a']
    """
    entries: dict[str, Quarantined] = {}
    for where, line in read_jsonl(Path(path)):
        id, video, kind, cause = (
            to_text(where, value) for value in get_fields(where, line, "id", "video", "kind", "cause")
        )
        if kind not in FAULT_KINDS:
            raise DataError(f"{where}: 'kind' must be one of {', '.join(FAULT_KINDS)}, not {kind!r}")
        if id in entries:
            raise DataError(f"{where}: duplicate id {id!r}")
        entries[id] = Quarantined(id, video, kind, cause)
    return list(entries.values())


def without_quarantined(rows: Sequence[Row], path: str | Path | None) -> tuple[list[Row], tuple[str, ...]]:
    """Return the rows that are not in a quarantine list, and the ids of the others; without a list, all rows.

    Raises:
        DataError: the list cannot be read, or it has none of the rows (it belongs to another manifest), or all.

    >>> path = write_quarantine("quarantine.jsonl", [Quarantined("a", "a.mp4", "missing", "no such file")])
    >>> rows = [Row(id, f"{id}.mp4", None, "train", ()) for id in ("a", "b")]
    >>> kept, left_out = without_quarantined(rows, path)
    >>> [row.id for row in kept], left_out
    (['b'], ('a',))
    """
    if path is None:
        return list(rows), ()
    listed = {entry.id for entry in read_quarantine(path)}
    kept = [row for row in rows if row.id not in listed]
    if listed and len(kept) == len(rows):
        raise DataError(
            f"{path}: has none of the {len(rows)} rows, but ids such as {min(listed)!r}; it belongs to another manifest"
        )
    if not kept:
        raise DataError(f"{path}: has all {len(rows)} rows, so none is left; see the causes in it")
    return kept, tuple(row.id for row in rows if row.id in listed)
