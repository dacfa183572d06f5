"""Several indexes as one: what a search reads from is asked of all of them at the same time, and merged.

A search over the union is the search over one index (`mova.search.query`), so its answer is that of one index that has
all videos: the nearest frames of the union are among the nearest frames of its parts. Thresholds of paragraphs and
false-alarm rates, which depend on all frames, need nothing else.

Shape legend: d width of the model's space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from mova.errors import IndexMismatchError, MovaError
from mova.search.narrow.selection import BatchReader, Reader, restricted
from mova.search.storage.records import Meta, StoredFrames, VideoRecord

_T = TypeVar("_T")


class Shard(NamedTuple):
    """One of several indexes.

    Attributes:
        name: folder or URI, as it was given.
        reader: its tables or its snapshot.
    """

    name: str
    reader: Reader


class ShardError(MovaError):
    """One of several indexes cannot be read."""

    def __init__(self, name: str, cause: Exception) -> None:
        super().__init__(str(cause))
        self.name = name


class Union:
    """Several indexes with the interface of one. See `mova.search.narrow.selection.Reader` for its methods.

    A path that several indexes have is that of the first; a content that several have is read from the first.

    Args:
        shards: at least one.
        pool: asks them at the same time.
        records: only these videos of them; default: all.

    Raises:
        IndexMismatchError: they were made with different models or settings.
        ShardError: one of them cannot be read.
    """

    exists = True
    folder = kept = None

    def __init__(
        self, shards: Sequence[Shard], pool: Executor, records: Mapping[str, VideoRecord] | None = None
    ) -> None:
        require_same(shards)
        self.shards = tuple(shards)
        self._pool = pool
        self._whole = [shard.reader.records() for shard in shards]
        if records is None:
            merged: dict[str, VideoRecord] = {}
            for own in self._whole:
                merged = {**own, **merged}
            records = {path: merged[path] for path in sorted(merged)}
        self._records = dict(records)
        self._owners: dict[str, int] = {}
        wanted = {record.content for record in self._records.values()}
        for number, own in enumerate(self._whole):
            for record in own.values():
                if record.content in wanted:
                    self._owners.setdefault(record.content, number)
        self.parts = [self._part(number) for number in range(len(shards))]

    def _part(self, number: int) -> Reader:
        """Return what is read from one of the indexes."""
        own = self._whole[number]
        kept = {path: record for path, record in own.items() if self._owners.get(record.content) == number}
        reader = self.shards[number].reader
        return reader if len(kept) == len(own) else restricted(reader, kept)  # type: ignore[arg-type]

    @property
    def uri(self) -> str:
        """The indexes, for messages."""
        return ", ".join(shard.name for shard in self.shards)

    @property
    def mapped(self) -> bool:
        """Whether all vectors are in memory-mapped files."""
        return all(shard.reader.mapped for shard in self.shards)

    @property
    def meta(self) -> Meta:
        """The model and settings of all indexes; the model's name and the frame rate are those of the first."""
        return self.shards[0].reader.meta

    def meta_of(self, content: str) -> Meta:
        """Return the model and settings of the index that a content is read from."""
        return self.parts[self._owners[content]].meta

    def restricted(self, records: Mapping[str, VideoRecord]) -> Union:
        """Return some of the videos."""
        return Union(self.shards, self._pool, records)

    def records(self) -> dict[str, VideoRecord]:
        """Return the records of all paths, in order of path."""
        return self._records

    def count_frames(self) -> int:
        """Return the number of stored frames; those of a content that several indexes have count once."""
        return sum(self._each(lambda reader: reader.count_frames()))

    def require_complete(self, rows: int) -> None:
        """Raise if the records of an index name more frames than it has.

        Raises:
            ShardError: they do.
        """

        def check(reader: Reader) -> None:
            """Check one index."""
            stored = reader.count_frames()
            if stored < sum({record.content: record.frames for record in reader.records().values()}.values()):
                reader.require_complete(stored)

        self._each(check)

    def require_removed(self, record: VideoRecord) -> None:
        """Raise if a record whose frames are not complete is still in its index.

        Raises:
            ShardError: it is.
        """
        self._one(self._owners[record.content], lambda _, reader: reader.require_removed(record))

    def fetch(self, contents: Sequence[str]) -> dict[str, StoredFrames]:
        """Return the stored frames of contents, by content; contents that are not stored are left out."""
        groups: dict[int, list[str]] = {}
        for content in contents:
            if content in self._owners:
                groups.setdefault(self._owners[content], []).append(content)
        found: dict[str, StoredFrames] = {}
        for part in self._all(list(groups), lambda number, reader: reader.fetch(groups[number])):
            found |= part
        return {content: found[content] for content in contents if content in found}

    def nearest(self, query: npt.NDArray[np.float32], limit: int, /) -> tuple[list[str], npt.NDArray[np.float32]]:
        """Return the contents of the frames nearest to a unit vector (d,), and their cosines, best first."""
        answers = [found for found in self._each(lambda reader: reader.nearest(query, limit)) if len(found[1])]
        if not answers:
            return [], np.empty(0, np.float32)
        contents = [content for part, _ in answers for content in part]
        cosines = np.concatenate([part for _, part in answers])
        near = np.argsort(-cosines, kind="stable")[:limit]
        return [contents[i] for i in near.tolist()], cosines[near]

    def look_ahead(self, queries: npt.NDArray[np.float32]) -> None:
        """Compare several unit vectors (n, d) with all frames of the snapshots at once, see `Snapshot.look_ahead`."""
        self._each(lambda reader: getattr(reader, "look_ahead", lambda _: None)(queries))

    def best_cosines(self, queries: npt.NDArray[np.float32]) -> tuple[list[str], npt.NDArray[np.float32]] | None:
        """Return all contents, and the highest cosine (contents, n) of each with unit vectors (n, d).

        None if one of the indexes has no snapshot here.
        """

        def ask(reader: Reader) -> tuple[list[str], npt.NDArray[np.float32]] | None:
            """Ask one index."""
            return reader.best_cosines(queries) if isinstance(reader, BatchReader) else None

        found = self._each(ask)
        known = [part for part in found if part is not None]
        if len(known) < len(found) or not known:
            return None
        return [content for part, _ in known for content in part], np.concatenate([best for _, best in known])

    def each(self, ask: Callable[[int, Reader], _T]) -> list[_T]:
        """Return what a function of each index (its number, and what is read from it) returns; all at the same time.

        Indexes without videos are passed over.
        """
        return self._all([number for number, part in enumerate(self.parts) if part.records()], ask)

    def _each(self, ask: Callable[[Reader], _T]) -> list[_T]:
        return self.each(lambda _, reader: ask(reader))

    def _all(self, numbers: Sequence[int], ask: Callable[[int, Reader], _T]) -> list[_T]:
        if len(numbers) < 2:
            return [self._one(number, ask) for number in numbers]
        return list(self._pool.map(lambda number: self._one(number, ask), numbers))

    def _one(self, number: int, ask: Callable[[int, Reader], _T]) -> _T:
        try:
            return ask(number, self.parts[number])
        except (MovaError, OSError) as error:
            raise ShardError(self.shards[number].name, error) from error


def require_same(shards: Sequence[Shard]) -> None:
    """Raise if the vectors of indexes must not be compared with each other.

    Vectors of single frames may, with any frame rates; windows and stretches are as long as frames make them.

    Raises:
        IndexMismatchError: with the properties that differ.
    """
    first = shards[0]
    meta = first.reader.meta
    for shard in shards[1:]:
        own = shard.reader.meta
        rate = meta.frame_rate if own.has_windows else own.frame_rate
        if differ := own.differences(replace(meta, frame_rate=rate)):
            raise IndexMismatchError(
                f"{shard.name} cannot be searched together with {first.name}: it has {'; '.join(differ)} (models "
                f"{own.model!r} and {meta.model!r}). Search indexes of one model with the same settings."
            )
