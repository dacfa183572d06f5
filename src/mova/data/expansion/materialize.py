"""Materialize virtual rows: every row of a clip or of several segments gets its own mp4 file.

A file is named by a hash of its segments. Rows with the same segments (a long text and its summary) therefore share a
file, and a run that was stopped reuses the files it has written. The name ends with the times in the source, if there
is one source, so that clips can still be put in order of time. The videos have no sound.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mova.data.expansion.rows import TIME_DIGITS, clock_file, origin_meta, source_end, source_start
from mova.data.expansion.statistics import LeftOut
from mova.data.manifest import Row, TimedSentence, iter_manifest, rebased, write_manifest
from mova.data.manifest_paths import require_local
from mova.data.readers.annotations import origins
from mova.errors import UsageError, VideoError
from mova.utils.cluster import LOST, Cluster, map_on_cluster
from mova.video.probe import probe
from mova.video.writer import join_clips


@dataclass
class Materialized:
    """Report of `materialize`.

    Attributes:
        manifest: the manifest written.
        rows: rows in it.
        videos: files written.
        existing: rows whose file existed already.
        left_out: rows whose video could not be read.
    """

    manifest: Path
    rows: int = 0
    videos: int = 0
    existing: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
        return {
            "manifest": str(self.manifest),
            "rows": self.rows,
            "videos": self.videos,
            "found": self.existing,
            "left_out": self.left_out.to_json(),
        }


def materialize(
    manifest: str | Path, folder: str | Path, *, short_side: int | None = None, cluster: Cluster | None = None
) -> Materialized:
    """Write the videos of a manifest, and a `folder/manifest.jsonl` of them.

    Args:
        manifest: any manifest; rows of whole files keep their file.
        folder: folder for the videos and the new manifest, created if it does not exist.
        short_side: pixels of the shorter side to scale down to, as in `mova.video.reader.stream`.
        cluster: where videos are written; all nodes must see the folder. None: in this process.

    Raises:
        UsageError: the new manifest would overwrite the one that is read.
        DataError: the manifest cannot be read, or a row that is cut names an object.
        VideoError: no row's video can be read, or a file cannot be written.
    """
    manifest, folder = Path(manifest), Path(folder)
    target = folder / "manifest.jsonl"
    if target.resolve() == manifest.resolve():
        raise UsageError(f"{folder}: contains the input manifest, which would be overwritten; choose another folder")
    cut = (row for _, row in iter_manifest(manifest) if row.parts or row.start is not None)
    require_local((segment.video for row in cut for segment in row.segments), manifest)
    folder.mkdir(parents=True, exist_ok=True)
    report = Materialized(target)
    done = {} if cluster is None else _write_on_cluster(manifest, folder, short_side, cluster)

    def rows() -> Iterator[Row]:
        """Yield rows of files; rows that cannot be written are counted in `report`."""
        for _, row in iter_manifest(manifest):
            moved = rebased(row, manifest.parent, folder)
            if not row.parts and row.start is None:
                yield moved
            else:
                path = _write_video(row, _Clip.of(row, manifest.parent, folder, short_side), done, report)
                if path is None:
                    continue
                yield _file_row(moved, path)
            report.rows += 1
        if not report.rows:
            raise VideoError(manifest, f"the video of no row can be read: {report.left_out.to_json()}")

    write_manifest(target, rows())
    return report


@dataclass(frozen=True)
class _Clip:
    """A file to write: segments as (file, start, end), and the shorter side in pixels."""

    path: Path
    spans: tuple[tuple[Path, float, float | None], ...]
    short_side: int | None

    @classmethod
    def of(cls, row: Row, source: Path, folder: Path, short_side: int | None) -> _Clip:
        """Return the file of a row's segments."""
        spans = tuple((source / part.video, part.start, part.end) for part in row.segments)
        content = json.dumps([[str(path.resolve()), start, end] for path, start, end in spans] + [short_side])
        name = f"{hashlib.blake2b(content.encode(), digest_size=10).hexdigest()}{_time_suffix(row)}.mp4"
        return cls(folder / name, spans, short_side)


def _write_clip(clip: _Clip) -> str | None:
    """Write a file; return the cause if a segment cannot be read.

    Raises:
        VideoError: the file cannot be written.
    """
    try:
        join_clips(clip.spans, clip.path, short_side=clip.short_side)
    except (VideoError, UsageError) as error:
        if isinstance(error, VideoError) and error.path == str(clip.path):
            raise
        return str(error)
    return None


def _write_on_cluster(manifest: Path, folder: Path, short_side: int | None, cluster: Cluster) -> dict[str, str | None]:
    """Write all files that do not exist on a cluster; return by name what `_write_clip` returned."""
    source, target = manifest.parent.absolute(), folder.absolute()
    rows = (row for _, row in iter_manifest(manifest) if row.parts or row.start is not None)
    clips = (_Clip.of(row, source, target, short_side) for row in rows)
    missing = list({clip.path.name: clip for clip in clips if not clip.path.exists()}.values())
    results = map_on_cluster(missing, _node_writer, cluster, lambda _: LOST)
    return {missing[number].path.name: cause for number, cause in results}


def _node_writer() -> Callable[[_Clip], str | None]:
    return _write_clip


def _write_video(row: Row, clip: _Clip, done: dict[str, str | None], report: Materialized) -> Path | None:
    """Return the file of a row's segments, writing it if it does not exist; None if a segment cannot be read.

    Args:
        row: the row.
        clip: its file.
        done: results of files that a cluster has tried to write in this run; one that was written is taken out.
        report: counts.
    """
    name = clip.path.name
    if name not in done and clip.path.exists():
        report.existing += 1
        return clip.path
    cause = done[name] if name in done else _write_clip(clip)
    if cause is not None:
        report.left_out.add("video cannot be read", f"{row.id}: {cause}")
        return None
    done.pop(name, None)
    report.videos += 1
    return clip.path


def _time_suffix(row: Row) -> str:
    """Return the row's times in its source as a suffix of the file name, which `rows.source_start` parses."""
    end = source_end(row)
    return "" if end is None or len(origins(row)) > 1 or clock_file(row) else f"_{source_start(row):.6f}_{end:.6f}"


def _file_row(row: Row, path: Path) -> Row:
    """Return the row of its new file: times on that file's clock, and the source in the metadata."""
    base = 0.0 if row.parts else row.start or 0.0
    length = probe(path).duration

    def shifted(sentence: TimedSentence) -> TimedSentence:
        """Shift a sentence to the clock of the new file; without times if it is outside."""
        if sentence.start is None or sentence.end is None:
            return sentence
        start, end = max(0.0, sentence.start - base), min(sentence.end - base, length)
        if start >= end:
            return TimedSentence(sentence.text)
        return TimedSentence(sentence.text, round(start, TIME_DIGITS), round(end, TIME_DIGITS))

    captions = tuple(replace(caption, sentences=tuple(map(shifted, caption.sentences))) for caption in row.captions)
    meta = {**row.meta, **origin_meta([row])}
    return replace(row, video=path.name, duration=length, start=None, end=None, parts=(), captions=captions, meta=meta)
