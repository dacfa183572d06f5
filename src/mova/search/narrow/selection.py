"""Some videos of an index, with the interface that a search needs: it is answered as if there were no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from mova.search.narrow.filter import Filter
from mova.search.storage.damage import IndexDamagedError
from mova.search.storage.records import Meta, StoredFrames, VideoRecord

if TYPE_CHECKING:
    from mova.search.storage.store import Store


class Reader(Protocol):
    """What a search reads from: the tables of an index, its snapshot, some of its videos, or several indexes as one."""

    @property
    def mapped(self) -> bool:
        """Whether the vectors are in memory-mapped files, so that reading few of them is fast."""

    @property
    def exists(self) -> bool:
        """Whether an index has been made here."""

    @property
    def uri(self) -> str:
        """The index, for messages."""

    @property
    def folder(self) -> Path | None:
        """The folder of the index; None if it has none, or several."""

    @property
    def kept(self) -> Path | None:
        """The folder of what is made from the tables: that of the index, or one in the user's cache if it is remote."""

    @property
    def meta(self) -> Meta:
        """The model and settings of the index."""

    def records(self) -> dict[str, VideoRecord]:
        """Return the records of all paths, in order of path; the same object as long as nothing changes."""

    def count_frames(self) -> int:
        """Return the number of stored frames."""

    def require_complete(self, rows: int) -> None:
        """Raise `IndexDamagedError` if the records name more frames than were stored a moment ago."""

    def require_removed(self, record: VideoRecord) -> None:
        """Raise `IndexDamagedError` if a record whose frames are not complete is still in the index."""

    def fetch(self, contents: Sequence[str]) -> dict[str, StoredFrames]:
        """Return the stored frames of contents, by content; contents that are not stored are left out."""

    def nearest(self, query: npt.NDArray[np.float32], limit: int, /) -> tuple[list[str], npt.NDArray[np.float32]]:
        """Return the contents of the frames nearest to a unit vector (d,), and their cosines, best first."""


@runtime_checkable
class Restrictable(Reader, Protocol):
    """A reader that can leave out videos by itself."""

    def restricted(self, records: Mapping[str, VideoRecord]) -> Reader:
        """Return the reader of an index that has only these of its records."""


@runtime_checkable
class BatchReader(Reader, Protocol):
    """A reader that compares several vectors with all frames together."""

    def look_ahead(self, queries: npt.NDArray[np.float32]) -> None:
        """Compare unit vectors (n, d) with all frames: `nearest` is then quick for each of them."""

    def best_cosines(self, queries: npt.NDArray[np.float32]) -> tuple[list[str], npt.NDArray[np.float32]] | None:
        """Return all contents, and the highest cosine (contents, n) of each with unit vectors (n, d); None: unknown."""


@dataclass(frozen=True, eq=False)
class Contents:
    """The records of an index by content.

    Attributes:
        records: of all paths; the object itself tells whether they are still the present ones.
        same: the records of each content.
        firsts: the first record of each content.
        frames: of all contents together.
    """

    records: Mapping[str, VideoRecord]
    same: Mapping[str, Sequence[VideoRecord]]
    firsts: Mapping[str, VideoRecord]
    frames: int

    @classmethod
    def of(cls, reader: Reader) -> Contents:
        """Return the contents of an index; they are kept until its records change."""
        records, kept = reader.records(), _kept.get(reader)
        if kept is None or kept.records is not records:
            same: dict[str, list[VideoRecord]] = {}
            for record in records.values():
                same.setdefault(record.content, []).append(record)
            firsts = {content: each[0] for content, each in same.items()}
            kept = cls(records, same, firsts, sum(record.frames for record in firsts.values()))
            _kept[reader] = kept
        return kept


_kept: WeakKeyDictionary[Reader, Contents] = WeakKeyDictionary()


class Selection:
    """Some videos of an index's tables.

    Args:
        store: the index.
        records: by path; those that the index has now.
    """

    exists, mapped = True, False

    def __init__(self, store: Store, records: Mapping[str, VideoRecord]) -> None:
        self._store = store
        self._records = dict(records)
        self._contents = sorted({record.content for record in records.values()})
        self.uri = store.uri

    def restricted(self, records: Mapping[str, VideoRecord]) -> Selection:
        """Return some of these videos."""
        return Selection(self._store, records)

    @property
    def folder(self) -> Path | None:
        """The folder of the index; None if it is remote."""
        return self._store.folder

    @property
    def kept(self) -> Path | None:
        """The folder of what is made from the tables."""
        return self._store.kept

    @property
    def meta(self) -> Meta:
        """The model and settings of the index."""
        return self._store.meta

    def records(self) -> dict[str, VideoRecord]:
        """Return the records of the chosen paths, in order of path."""
        return self._records

    def count_frames(self) -> int:
        """Return the number of stored frames of the chosen videos."""
        return self._store.count_frames(self._contents)

    def require_complete(self, rows: int) -> None:
        """Raise if the index names more frames of the chosen videos than were stored a moment ago.

        Raises:
            IndexDamagedError: it does, so no other process removed the frames with their records.
        """
        present = {record.content: record.frames for record in self._store.records().values()}
        missing = sum(present.get(content, 0) for content in self._contents) - rows
        if missing > 0:
            raise IndexDamagedError(self.uri, f"{missing} stored frames are missing")

    def require_removed(self, record: VideoRecord) -> None:
        """Raise if a record whose frames are not complete is still in the index.

        Raises:
            IndexDamagedError: it is.
        """
        self._store.require_removed(record)

    def fetch(self, contents: Sequence[str]) -> dict[str, StoredFrames]:
        """Return the stored frames of contents, by content; contents that are not stored are left out."""
        return self._store.fetch(contents)

    def nearest(self, query: npt.NDArray[np.float32], limit: int) -> tuple[list[str], npt.NDArray[np.float32]]:
        """Return the contents of the chosen frames nearest to a unit vector (d,), and their cosines, best first.

        Every chosen frame is scanned, so the answer is always exact.
        """
        return self._store.nearest(query, limit, exact=True, contents=self._contents)


def meta_of(reader: Reader, content: str) -> Meta:
    """Return how the vectors of a content were made; several indexes as one may have several frame rates."""
    own: Callable[[str], Meta] | None = getattr(reader, "meta_of", None)
    return reader.meta if own is None else own(content)


def select(reader: Store | Restrictable, wanted: Filter) -> Reader:
    """Return the videos of an index that pass a filter.

    Raises:
        UsageError: none passes.
    """
    if not wanted.chooses_videos or not reader.records():
        return reader
    return restricted(reader, wanted.choose(reader.records()))


def restricted(reader: Store | Restrictable, records: Mapping[str, VideoRecord]) -> Reader:
    """Return some videos of an index, by their records."""
    return reader.restricted(records) if isinstance(reader, Restrictable) else Selection(reader, records)
