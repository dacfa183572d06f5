"""Quarantine: rows of a manifest whose files are not what the manifest says, with the cause of each.

A list is JSON lines, `{"id", "video", "kind", "cause"}`, a line a row. `mova data check` writes it; conversion,
training and evaluation leave its rows out where they are asked to, and count them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from mova.data.manifest import Row
from mova.data.readers.annotations import get_fields, read_jsonl, to_text
from mova.errors import DataError

Kind = Literal["missing", "unreadable", "no video", "too short", "other duration"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What can be wrong: no such file; it does not decode; it has no video stream; the row's clip or a sentence of it
begins after the end of the video; the manifest states another duration."""


@dataclass(frozen=True)
class Quarantined:
    """A row that is set aside: its id and video in the manifest, what kind of fault, and the cause in words."""

    id: str
    video: str
    kind: Kind
    cause: str

    def to_json(self) -> dict[str, str]:
        """The line of the list."""
        return asdict(self)


def write_quarantine(path: str | Path, found: Iterable[Quarantined]) -> Path:
    """Write a list; an empty file says that nothing is wrong."""
    lines = (json.dumps(each.to_json(), ensure_ascii=False) + "\n" for each in found)
    Path(path).write_text("".join(lines), encoding="utf-8")
    return Path(path)


def read_quarantine(path: str | Path) -> list[Quarantined]:
    """A list as written.

    Raises:
        DataError: it cannot be read, a line is no such line, or an id stands twice.
    """
    found: dict[str, Quarantined] = {}
    for where, line in read_jsonl(Path(path)):
        id, video, kind, cause = (
            to_text(where, value) for value in get_fields(where, line, "id", "video", "kind", "cause")
        )
        if kind not in KINDS:
            raise DataError(f"{where}: 'kind' must be one of {', '.join(KINDS)}, not {kind!r}")
        if id in found:
            raise DataError(f"{where}: id {id!r} stands in a line before")
        found[id] = Quarantined(id, video, kind, cause)
    return list(found.values())


def without_quarantined(rows: Sequence[Row], path: str | Path | None) -> tuple[list[Row], tuple[str, ...]]:
    """Rows that a list does not name, and the ids of those left out; without a list, all rows.

    Raises:
        DataError: the list cannot be read; it names none of the rows (it is another manifest's), or all of them.
    """
    if path is None:
        return list(rows), ()
    named = {each.id for each in read_quarantine(path)}
    kept = [row for row in rows if row.id not in named]
    if named and len(kept) == len(rows):
        raise DataError(
            f"{path}: names none of the {len(rows)} rows, but {min(named)!r}; it is another manifest's list"
        )
    if not kept:
        raise DataError(f"{path}: names all {len(rows)} rows; look at the causes in it")
    return kept, tuple(row.id for row in rows if row.id in named)
