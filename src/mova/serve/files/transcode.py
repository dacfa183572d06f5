"""Cut and re-encode a part of a video in a process of its own."""

from __future__ import annotations

from pathlib import Path

from mova.serve.files.cache import DiskCache
from mova.serve.files.children import Children
from mova.serve.library.catalog import Catalog, Entry, descriptor_path
from mova.serve.problems import Problem

START_SECONDS, SECONDS_PER_SECOND = 60.0, 10.0
"""Time limit of a process: for its start, and per second of video."""
LONGEST = 600.0
"""Longest clip, in seconds."""
PREVIEW_SIDE = 540
"""Pixels of the shorter side of a preview."""


class Transcoder:
    """Makes previews and clips, kept on disk. It may be used by several threads."""

    def __init__(self, catalog: Catalog, cache: DiskCache, children: Children) -> None:
        self._catalog, self._cache, self._children = catalog, cache, children

    def clip(self, entry: Entry, start: float, end: float, short_side: int | None = None) -> Path:
        """Return an MP4 file (H.264, AAC) of `[start, end)`.

        Raises:
            Problem: the range is not valid, the file cannot be decoded there, is gone or has changed, or too much is
                asked at once.
        """
        end = min(end, entry.record.duration)
        if not 0 <= start < end:
            raise Problem(f"{entry.name}: a clip needs 0 <= start < end within {entry.record.duration:.3f} s")
        if end - start > LONGEST:
            raise Problem(f"{entry.name}: a clip has at most {LONGEST:g} s, not {end - start:.0f}")
        key = f"clip {entry.record.content} {start:.3f} {end:.3f} {short_side}"
        return self._cache.get(key, ".mp4", lambda path: self._make(entry, path, start, end, short_side))

    def _make(self, entry: Entry, target: Path, start: float, end: float, short_side: int | None) -> None:
        with self._catalog.file(entry) as file:
            source = descriptor_path(file.fileno()) or entry.record.path
            words = [source, str(target), repr(start), repr(end), str(short_side or 0)]
            limit = START_SECONDS + SECONDS_PER_SECOND * (end - start)
            failure = self._children.run("mova.serve.files.clip_process", words, limit)
        if failure is not None:
            cause = failure.cause.replace(f"{source}: ", "").replace(source, entry.name)
            raise Problem(f"{entry.name}: {cause}", failure.status)
