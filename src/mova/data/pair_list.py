"""Read lists of (video, text) pairs to score: CSV, JSON lines, or a manifest.

A CSV file has a header. Its video column is `video` or `videopath` (as in VideoCon), its text column `text` or
`caption`; `start` and `end` (seconds) are optional. JSON lines use the same names. A manifest gives one pair per
caption. VideoCon's prompt around a caption is removed. Paths are relative to the file's folder, or to a given folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mova.data.manifest import read_manifest
from mova.data.manifest_paths import OUTSIDE, leads_outside
from mova.data.readers.annotations import require_caption, to_number, to_text
from mova.data.readers.tasks import strip_prompt
from mova.errors import DataError, UsageError
from mova.utils.tables import read_csv, read_jsonl

VIDEO_COLUMNS = ("video", "videopath")
TEXT_COLUMNS = ("text", "caption")


@dataclass(frozen=True)
class VideoText:
    """A pair of a video, or the clip `[start, end)` of it, and a text.

    Attributes:
        video: the video as written in the file.
        path: path of the video.
        text: the text, without surrounding white space.
        start, end: seconds; None for the whole video.

    >>> VideoText("film.mp4", Path("films/film.mp4"), "A dog runs.", start=2.0, end=5.0).start
    2.0
    """

    video: str
    path: Path
    text: str
    start: float | None = None
    end: float | None = None


def read_pairs(path: str | Path, videos: str | Path | None = None) -> list[VideoText]:
    """Read the distinct pairs of a file, in order.

    Args:
        path: a `.csv` file, or JSON lines (a manifest included).
        videos: folder that video paths are relative to; default: the folder of the file.

    Raises:
        UsageError: the file or the folder does not exist, or the extension is unknown.
        DataError: a row is invalid (the message has its line), a relative path leads out of the folder (unless the
            environment variable `MOVA_MANIFEST_OUTSIDE` is set), or the file has no rows.

    >>> [(pair.video, pair.text) for pair in read_pairs("films/manifest.jsonl")][2:3]
    [('world-flat-1-00000.mp4', 'Two black discs shrink.')]
    """
    path = Path(path)
    root = video_folder(path, videos, "pairs")
    if path.suffix.lower() == ".csv":
        pairs = [_pair(where, row, root) for where, row in read_csv(path)]
    else:
        pairs = list(_from_lines(path, root))
    if not pairs:
        raise DataError(f"{path}: has no pairs")
    return list(dict.fromkeys(pairs))


def video_folder(path: Path, videos: str | Path | None, what: str) -> Path:
    """Return the folder that the video paths in a CSV or JSON lines file are relative to.

    Args:
        path: the file.
        videos: the folder; default: that of the file.
        what: what the file lists, for messages.

    Raises:
        UsageError: the file or the folder does not exist, or the extension is unknown.

    >>> video_folder(Path("films/manifest.jsonl"), None, "pairs").name
    'films'
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    root = path.parent if videos is None else Path(videos)
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder of videos")
    if path.suffix.lower() not in {".csv", ".jsonl", ".json"}:
        raise UsageError(f"{path}: unknown format; {what} must be a .csv or .jsonl file")
    return root


def require_inside(where: str, video: str) -> None:
    """Raise if a video path leads out of the folder of the videos, unless `MOVA_MANIFEST_OUTSIDE` is set.

    Raises:
        DataError: it does.

    >>> require_inside("pairs.csv, line 2", "clips/a.mp4")
    """
    if leads_outside(video) and not os.environ.get(OUTSIDE):
        raise DataError(
            f"{where}: the path {video!r} leads out of the folder of the videos; write it as an absolute path, name "
            "another folder with --videos, or allow such paths with `mova --manifest-outside COMMAND`"
        )


def _from_lines(path: Path, root: Path) -> Iterator[VideoText]:
    lines = list(read_jsonl(path))
    if lines and isinstance(lines[0][1], dict) and "captions" in lines[0][1]:
        for row in read_manifest(path):
            if row.parts:
                raise DataError(
                    f"{path}: row {row.id!r} has several segments; write its video as one file first "
                    "(`mova data expand ... --materialize FOLDER`)"
                )
            for caption in row.captions:
                yield VideoText(row.video, root / row.video, caption.text.strip(), row.start, row.end)
        return
    for where, row in lines:
        if not isinstance(row, dict):
            raise DataError(f"{where}: must be an object with a video and a text")
        yield _pair(where, row, root)


def _pair(where: str, row: Mapping[str, Any], root: Path) -> VideoText:
    """Build a pair from a row by its column names."""
    video, text = (_column(where, row, names) for names in (VIDEO_COLUMNS, TEXT_COLUMNS))
    require_inside(where, video)
    start, end = (to_number(where, row[key]) if row.get(key) not in (None, "") else None for key in ("start", "end"))
    if (start or 0.0) < 0 or (end is not None and end <= (start or 0.0)):
        raise DataError(f"{where}: expected 0 <= start < end in seconds, not [{start}, {end})")
    return VideoText(video, root / video, require_caption(where, strip_prompt(text)), start, end)


def _column(where: str, row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    name = next((name for name in names if name in row), None)
    if name is None:
        columns = ", ".join(map(str, row))
        raise DataError(f"{where}: missing column {' or '.join(map(repr, names))}; the columns are: {columns}")
    return to_text(where, row[name])
