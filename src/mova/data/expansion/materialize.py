"""Virtual rows made real: every row that shows part of a file, or several, gets an mp4 of its own.

A file is named after what it shows, so rows that show the same (a long text and its summary) share it, and a run that
was stopped finds what it has written. The name ends with the seconds of the source where there is one, so that clips
can still be put in order of time. Videos are silent: nothing here listens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mova.data.expansion.rows import DIGITS, clock, last_second, position, told_origins
from mova.data.expansion.statistics import LeftOut
from mova.data.manifest import Row, TimedSentence, iter_manifest, rebased, write_manifest
from mova.data.readers.annotations import origins
from mova.errors import UsageError, VideoError
from mova.video.reader import probe
from mova.video.writer import join_clips


@dataclass
class Materialized:
    """What was written: `videos` files (of which `found` were there), and what could not be read."""

    manifest: Path
    rows: int = 0
    videos: int = 0
    found: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON document."""
        return {
            "manifest": str(self.manifest),
            "rows": self.rows,
            "videos": self.videos,
            "found": self.found,
            "left_out": self.left_out.to_json(),
        }


def materialize(manifest: str | Path, folder: str | Path, *, short_side: int | None = None) -> Materialized:
    """Write the videos of a manifest and `folder/manifest.jsonl`, whose rows name them.

    Args:
        manifest: rows, virtual or not; those of whole files keep their file.
        folder: for the videos and the new manifest; made where it is not there.
        short_side: scale down, as in `mova.video.reader.stream`.

    Raises:
        UsageError: the folder's manifest is the one that is read.
        DataError: the manifest cannot be read.
        VideoError: no row's video can be read, or a file cannot be written.
    """
    manifest, folder = Path(manifest), Path(folder)
    target = folder / "manifest.jsonl"
    if target.resolve() == manifest.resolve():
        raise UsageError(f"{folder}: holds the manifest that is read; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    done = Materialized(target)

    def rows() -> Iterator[Row]:
        """Rows of real files; those that cannot be written are counted in `done`."""
        for _, row in iter_manifest(manifest):
            moved = rebased(row, manifest.parent, folder)
            if not row.parts and row.start is None:
                yield moved
            elif (path := _video(row, manifest.parent, folder, short_side, done)) is not None:
                yield _real(moved, path)
            else:
                continue
            done.rows += 1
        if not done.rows:
            raise VideoError(manifest, f"the video of no row can be read: {done.left_out.to_json()}")

    write_manifest(target, rows())
    return done


def _video(row: Row, old: Path, folder: Path, short_side: int | None, done: Materialized) -> Path | None:
    """The file that shows what a row shows, written where it is not there; None where it cannot be read."""
    spans = [(old / part.video, part.start, part.end) for part in row.segments]
    content = json.dumps([[str(path.resolve()), start, end] for path, start, end in spans] + [short_side])
    path = folder / f"{hashlib.blake2b(content.encode(), digest_size=10).hexdigest()}{_seconds(row)}.mp4"
    if path.exists():
        done.found += 1
        return path
    try:
        join_clips(spans, path, short_side=short_side)
    except (VideoError, UsageError) as error:
        if isinstance(error, VideoError) and error.path == str(path):
            raise
        done.left_out.add("video cannot be read", f"{row.id}: {error}")
        return None
    done.videos += 1
    return path


def _seconds(row: Row) -> str:
    """Where in its source a row lies, as `mova.data.expansion.rows.position` reads it from a file's name."""
    end = last_second(row)
    return "" if end is None or len(origins(row)) > 1 or clock(row) else f"_{position(row):.6f}_{end:.6f}"


def _real(row: Row, path: Path) -> Row:
    """The row of its own file, with times by that file's clock and its source, which the file's name hides."""
    base = 0.0 if row.parts else row.start or 0.0
    length = probe(path).duration

    def moved(told: TimedSentence) -> TimedSentence:
        """By the clock of the new file; without times where nothing of it lies inside."""
        if told.start is None or told.end is None:
            return told
        start, end = max(0.0, told.start - base), min(told.end - base, length)
        return TimedSentence(told.text, *((round(start, DIGITS), round(end, DIGITS)) if start < end else (None, None)))

    captions = tuple(
        replace(caption, sentences=tuple(moved(told) for told in caption.sentences)) for caption in row.captions
    )
    meta = {**row.meta, **told_origins([row])}
    return replace(row, video=path.name, duration=length, start=None, end=None, parts=(), captions=captions, meta=meta)
