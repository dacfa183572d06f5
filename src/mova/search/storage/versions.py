"""Kept versions of an index: name the present state, and go back to it.

A version is a tag on both tables of LanceDB, whose files are never changed in place: keeping one copies nothing, and
what is removed later stays on disk until the version is dropped. Going back is safe at any moment: frames that the kept
records need are stored first, and then the table of records is put back in one step (see `mova.search.storage.store`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mova.errors import UsageError
from mova.search.storage.arrow_rows import conditions, records_of
from mova.search.storage.damage import index_errors
from mova.search.storage.store import Store

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Version:
    """A kept version.

    Attributes:
        name: that it was given.
        kept: time when the records were last changed before it was kept.
        videos: number of paths.
        frames: number of stored vectors that they have.
    """

    name: str
    kept: datetime
    videos: int
    frames: int

    def to_json(self) -> dict[str, Any]:
        """Return all fields; the time in ISO format, with its time zone."""
        return {**vars(self), "kept": self.kept.astimezone().isoformat(timespec="seconds")}


class Versions:
    """The kept versions of an index.

    Args:
        store: of the index, which must exist.

    >>> import mova
    >>> index = mova.Index("versions-index", "mova-worlds-tiny")
    >>> _ = index.add("film.mp4")
    >>> index.versions.keep("first").videos
    1
    >>> len(index.remove(["film.mp4"])), len(index.videos())
    (1, 0)
    >>> index.versions.restore("first").videos, len(index.videos())
    (1, 1)
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[Version]:
        """Return the kept versions, the oldest first."""
        with index_errors(self._store.uri):
            versions = [self._describe(name) for name in self._tags()]
        return sorted(versions, key=lambda version: (version.kept, version.name))

    def keep(self, name: str) -> Version:
        """Keep the present state under a name.

        Raises:
            UsageError: the name is taken, or has other characters than letters, digits, dots, dashes and underscores.
            MovaError: another process writes to the index.
        """
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r}: name a version with at most 64 letters, digits, dots, dashes and underscores")
        store = self._store
        with store.lock(), index_errors(store.uri):
            if name in self._tags():
                raise UsageError(f"{store.uri}: a version {name} is there already; drop it, or choose another name")
            store.sweep()
            frames, videos = (self._table(kind) for kind in ("frames", "videos"))
            if name in frames.tags.list():  # of a call that was stopped between the two
                frames.tags.delete(name)
            frames.tags.create(name, frames.version)
            videos.tags.create(name, videos.version)  # last: from now on the version is there
            store.seal()
            return self._describe(name)

    def restore(self, name: str) -> Version:
        """Make a kept version the present state. Videos indexed since then are forgotten, unless they were kept, too.

        Raises:
            UsageError: no such version.
            MovaError: another process writes to the index.
        """
        store = self._store
        with store.lock(), index_errors(store.uri):
            kept = self._records(name)
            needed = {record.content: record.frames for record in kept.values()}
            stored = store.counts()
            missing = [content for content, count in needed.items() if stored[content] != count]
            store.discard(missing)
            for part in self._frames_of(name, missing):
                self._table("frames").add(part)
            store.require_writer()
            videos = self._table("videos")
            videos.restore(videos.tags.get_version(name))
            store.seal()
            store.sweep()
            store.tidy(last=True)
            store.seal()
            return self._describe(name)

    def drop(self, name: str) -> None:
        """Drop a kept version; what only it needed is removed from the disk.

        Raises:
            UsageError: no such version.
            MovaError: another process writes to the index.
        """
        store = self._store
        with store.lock(), index_errors(store.uri):
            self._require(name)
            for kind in ("videos", "frames"):
                self._table(kind).tags.delete(name)
            store.tidy(last=True)
            store.seal()

    def _table(self, kind: str) -> Any:
        """Return a handle of its own on a table."""
        _ = self._store.meta  # raises if there is no index
        return self._store.connection.open_table(kind)

    def _tags(self) -> dict[str, Any]:
        tags: dict[str, Any] = self._table("videos").tags.list()
        return tags

    def _require(self, name: str) -> None:
        names = self._tags()
        if name not in names:
            known = f"there are {', '.join(sorted(names))}" if names else "none was kept"
            raise UsageError(f"{self._store.uri}: no version {name}; {known}")

    def _records(self, name: str) -> dict[str, Any]:
        """Return the records of a version, by path."""
        self._require(name)
        videos = self._table("videos")
        videos.checkout(name)
        return dict(records_of(videos.to_arrow()))

    def _frames_of(self, name: str, contents: list[str]) -> Iterator[Any]:
        """Yield stored rows of contents in a version."""
        frames = self._table("frames")
        frames.checkout(name)
        for condition in conditions("video", contents):
            yield from frames.search().where(condition).to_batches()

    def _describe(self, name: str) -> Version:
        records = self._records(name)
        contents = {record.content: record.frames for record in records.values()}
        videos = self._table("videos")
        number = videos.tags.get_version(name)
        times = {row["version"]: row["timestamp"] for row in videos.list_versions()}
        return Version(name, times[number], len(records), sum(contents.values()))
