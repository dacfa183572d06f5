"""Captioned images and clips in any common form: a manifest, a table, or a folder.

A table is CSV with a header, or JSON lines: a path (`video`, `image`, `file_name` or `file`), a text (`caption` or
`text`), and optionally `start` and `end` in seconds, and `split`. A folder has one such table in it (as the Hub's image
folders do), or next to each file a text file of the same name, one caption per line. Paths are relative to the table's
folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from mova.data.manifest import Caption, Row, read_manifest
from mova.data.manifest_paths import OUTSIDE, leads_outside
from mova.data.readers.annotations import clip_id, require_caption, to_clip, to_text, with_location
from mova.errors import DataError, UsageError
from mova.utils.files import IMAGE_SUFFIXES, SUFFIXES, find_videos
from mova.utils.tables import read_csv, read_jsonl
from mova.utils.text_files import read_text

FILE_COLUMNS = ("video", "image", "file_name", "file")
TEXT_COLUMNS = ("caption", "text")
TABLES = (".csv", ".jsonl")
FORMS = (
    "captions are read from a manifest, from a .csv or .jsonl table with the columns 'file_name' and 'caption', "
    "or from NAME.txt next to each NAME.jpg or NAME.mp4"
)


@dataclass(frozen=True)
class Captioned:
    """Rows with captions, and the folder that their paths are relative to.

    Attributes:
        folder: of the table or the files.
        rows: images and clips, each with at least one caption.
        bare: images and videos of a folder without a text file.

    >>> Captioned(Path("photos"), (Row("a.jpg", "a.jpg", None, "train", (Caption("A dog."),)),)).path(0)
    PosixPath('photos/a.jpg')
    """

    folder: Path
    rows: tuple[Row, ...]
    bare: int = 0

    def path(self, number: int) -> Path:
        """Return the path of a row's file."""
        return self.folder / self.rows[number].video


def is_image(path: str | Path) -> bool:
    """Return whether a file is an image, by its suffix.

    >>> is_image("dog.JPG"), is_image("dog.mp4")
    (True, False)
    """
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def read_captioned(source: str | Path) -> Captioned:
    """Read captioned images and clips.

    Args:
        source: a manifest, a table, or a folder.

    Raises:
        UsageError: no such file or folder, an unknown format, or several tables in the folder.
        DataError: a row is invalid (the message has its line), or nothing has a caption.

    >>> table = Path("photos.csv")
    >>> _ = table.write_text("file_name,caption\\ndog.jpg,A dog.\\ndog.jpg,A dog runs.\\n")
    >>> [(row.video, len(row.captions)) for row in read_captioned(table).rows]
    [('dog.jpg', 2)]
    """
    source = Path(source)
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder")
    bare = 0
    if source.is_dir():
        tables = [path for path in sorted(source.iterdir()) if path.is_file() and path.suffix.lower() in TABLES]
        if len(tables) > 1:
            raise UsageError(f"{source}: has several tables ({', '.join(t.name for t in tables)}); name one of them")
        if not tables:
            rows, bare = _from_folder(source)
            if not rows:
                raise DataError(f"{source}: no file has a caption; {FORMS}")
            return Captioned(source, rows, bare)
        source = tables[0]
    if source.suffix.lower() not in TABLES:
        raise UsageError(f"{source}: unknown format; {FORMS}")
    rows = tuple(_from_table(source))
    if not rows:
        raise DataError(f"{source}: no row has a caption")
    return Captioned(source.parent, rows)


def _from_table(path: Path) -> Iterator[Row]:
    """Yield the rows of a manifest or of a table; lines about the same file and clip make one row."""
    lines: Iterator[tuple[str, Any]] = iter(read_csv(path) if path.suffix.lower() == ".csv" else read_jsonl(path))
    first = next(lines, None)
    if first is None:
        return
    if isinstance(first[1], dict) and "captions" in first[1]:
        for row in read_manifest(path):
            if row.parts:
                raise UsageError(f"{path}: row {row.id!r} consists of several clips; one file per row is needed")
            if row.captions:
                yield row
        return
    clips: dict[tuple[str, tuple[float, float] | None, str], tuple[str, list[Caption]]] = {}
    for where, line in chain([first], lines):
        if not isinstance(line, dict):
            raise DataError(f"{where}: must be an object with a file and a caption")
        key = _clip(where, {name: value for name, value in line.items() if value not in (None, "")})
        captions = clips.setdefault(key, (where, []))[1]
        caption = Caption(require_caption(where, _column(where, line, TEXT_COLUMNS)))
        if caption not in captions:
            captions.append(caption)
    for (name, clip, split), (where, captions) in clips.items():
        start, end = clip or (None, None)
        yield with_location(where, Row, clip_id(name, clip), name, None, split, tuple(captions), start, end)


def _clip(where: str, line: Mapping[str, Any]) -> tuple[str, tuple[float, float] | None, str]:
    """Return file, clip and split of a line."""
    name = to_text(where, _column(where, line, FILE_COLUMNS))
    if leads_outside(name) and not os.environ.get(OUTSIDE):
        raise DataError(
            f"{where}: the path {name!r} leads out of the folder of the table; write it as an absolute path, or allow "
            "such paths with `mova --manifest-outside COMMAND`"
        )
    return name, to_clip(where, line), str(line.get("split", "train"))


def _column(where: str, line: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    name = next((name for name in names if name in line), None)
    if name is None:
        columns = ", ".join(map(str, line)) or "none"
        raise DataError(f"{where}: missing column {' or '.join(map(repr, names))}; the columns are: {columns}")
    return line[name]


def _from_folder(folder: Path) -> tuple[tuple[Row, ...], int]:
    """Return the files that have a text file of the same name, and the number of those that have none."""
    rows, bare = [], 0
    for path in find_videos([folder], SUFFIXES | IMAGE_SUFFIXES):
        captions = path.with_suffix(".txt")
        lines = read_text(captions).splitlines() if captions.is_file() else []
        texts = dict.fromkeys(line.strip() for line in lines if line.strip())
        if not texts:
            bare += 1
            continue
        name = path.relative_to(folder).as_posix()
        rows.append(Row(name, name, None, "train", tuple(Caption(require_caption(str(captions), t)) for t in texts)))
    return tuple(rows), bare
