"""Files of videos and texts to be scored against each other: CSV, JSON lines, or a manifest.

A CSV has a header. Its video column is `video` or `videopath` (VideoCon's), its text column `text` or `caption`;
`start` and `end` (seconds) may be there. JSON lines hold the same names. A manifest gives one pair a caption. Captions
inside VideoCon's prompt are taken out of it. Paths are relative to the file's folder, or to a folder that is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mova.data.manifest import read_manifest
from mova.data.readers.annotations import read_csv, read_jsonl, to_number, to_text
from mova.data.readers.tasks import strip_prompt
from mova.errors import DataError, UsageError

VIDEO_COLUMNS = ("video", "videopath")
TEXT_COLUMNS = ("text", "caption")


@dataclass(frozen=True)
class VideoText:
    """A video, or `[start, end)` seconds of it, and a text.

    Attributes:
        video: as the file writes it.
        path: where it lies.
        text: without white space around it.
        start, end: seconds; None for all of the video.
    """

    video: str
    path: Path
    text: str
    start: float | None = None
    end: float | None = None


def read_pairs(path: str | Path, videos: str | Path | None = None) -> list[VideoText]:
    """All pairs of a file, in order; a pair that stands twice is kept once.

    Args:
        path: `.csv`, or JSON lines (a manifest among them).
        videos: folder that the videos' paths are relative to; the file's own if left out.

    Raises:
        UsageError: no such file, another ending, or no such folder of videos.
        DataError: a row that is no such row (told with its line), or no rows at all.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    root = path.parent if videos is None else Path(videos)
    if not root.is_dir():
        raise UsageError(f"{root}: there is no such folder of videos")
    if path.suffix.lower() == ".csv":
        found = [_pair(where, row, root) for where, row in read_csv(path)]
    elif path.suffix.lower() in {".jsonl", ".json"}:
        found = list(_from_lines(path, root))
    else:
        raise UsageError(f"{path}: pairs come as .csv or .jsonl")
    if not found:
        raise DataError(f"{path}: holds no pairs")
    return list(dict.fromkeys(found))


def _from_lines(path: Path, root: Path) -> Iterator[VideoText]:
    lines = list(read_jsonl(path))
    if lines and isinstance(lines[0][1], dict) and "captions" in lines[0][1]:
        for row in read_manifest(path):
            if row.parts:
                raise DataError(f"{path}: row {row.id!r} is made of several clips; materialize the manifest first")
            for caption in row.captions:
                yield VideoText(row.video, root / row.video, caption.text.strip(), row.start, row.end)
        return
    for where, row in lines:
        if not isinstance(row, dict):
            raise DataError(f"{where}: needs an object with a video and a text")
        yield _pair(where, row, root)


def _pair(where: str, row: Mapping[str, Any], root: Path) -> VideoText:
    """A row by its column names."""
    video, text = (_column(where, row, names) for names in (VIDEO_COLUMNS, TEXT_COLUMNS))
    start, end = (to_number(where, row[key]) if row.get(key) not in (None, "") else None for key in ("start", "end"))
    if (start or 0.0) < 0 or (end is not None and end <= (start or 0.0)):
        raise DataError(f"{where}: needs 0 <= start < end in seconds, not [{start}, {end})")
    return VideoText(video, root / video, to_text(where, strip_prompt(text)), start, end)


def _column(where: str, row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    name = next((name for name in names if name in row), None)
    if name is None:
        raise DataError(f"{where}: lacks column {' or '.join(map(repr, names))}; it has {', '.join(map(str, row))}")
    return to_text(where, row[name])
