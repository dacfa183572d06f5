"""The tables of an index: frame vectors, one record per file, and the model and settings they were made with.

There are two LanceDB tables. `frames` has one row per sampled frame, under the hash of its file's content; `videos` has
one row per path. Frames count only once a row of `videos` names their content, and that row is written last: frames
left behind by a killed run are never seen, and the next run removes them. The model and settings (`Meta`) are stored in
the metadata of the `frames` table, so they exist exactly when the table does.

Shape legend: T frames, d width of the model's space.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mova.errors import MovaError
from mova.search.storage.arrow_rows import (
    GAPS,
    conditions,
    frame_columns,
    frames_table,
    records_of,
    records_table,
    stored_frames,
)
from mova.search.storage.damage import IndexDamagedError, guarded, index_errors, steady
from mova.search.storage.records import StoredFrames, VideoRecord, impossible, unit_length
from mova.search.storage.tables import Tables
from mova.search.storage.upkeep import tidy

logger = logging.getLogger(__name__)

NPROBES, REFINE = 128, 4
"""Approximate index (`mova.search.storage.upkeep`): partitions visited, and exactly scored rows per requested row."""


class Store(Tables):
    """Reads and writes the tables. Opening creates and changes nothing.

    Args:
        uri: a folder, or any URI that LanceDB connects to.

    Raises:
        IndexMismatchError: (on first use) the tables have another layout, or are not an index.
    """

    mapped = False

    def __init__(self, uri: str | Path) -> None:
        super().__init__(uri)
        self._records: tuple[int, dict[str, VideoRecord]] = (-1, {})

    # --- the record of files ---

    @steady
    @guarded
    def records(self) -> dict[str, VideoRecord]:
        """Return the records of all indexed paths, in order of path."""
        version = self._videos.version
        if self._records[0] != version:
            table = self._videos.to_arrow().sort_by("path")
            records = records_of(table)
            for record in records.values():
                if problem := impossible(record):
                    raise IndexDamagedError(self.uri, problem)
            self._records = version, records
        return self._records[1]

    def require_complete(self, rows: int) -> None:
        """Raise if the present records name more frames than were stored a moment ago.

        Raises:
            IndexDamagedError: they do, so no other process removed the frames with their records.
        """
        missing = sum({record.content: record.frames for record in self.records().values()}.values()) - rows
        if missing > 0:
            raise IndexDamagedError(self.uri, f"{missing} stored frames are missing")

    def require_removed(self, record: VideoRecord) -> None:
        """Raise if a record whose frames are not complete is still there, so that no other process removed it.

        Raises:
            IndexDamagedError: it is.
        """
        present = self.records().get(record.path)
        if present is not None and present.content == record.content:
            raise IndexDamagedError(self.uri, f"the stored frames of {record.path} are not complete")

    @guarded
    def commit(self, records: Sequence[VideoRecord]) -> None:
        """Write (or replace) the records of paths: from now on their frames count.

        Raises:
            MovaError: another process took over writing to a remote index. Records whose frames it removed as leftovers
                are removed again.
        """
        self.require_writer()
        if GAPS.name not in self._videos.schema.names:  # made before gaps were recorded
            self.seal()
            self._videos.add_columns(GAPS)
        schema = self._videos.schema
        table = records_table(records, schema)
        self._videos.merge_insert("path").when_matched_update_all().when_not_matched_insert_all().execute(table)
        self.seal()
        if self.folder is None:
            self._require_frames(records)
            self.require_writer()

    def _require_frames(self, records: Sequence[VideoRecord]) -> None:
        rows: Counter[str] = Counter()
        for condition in conditions("video", {record.content for record in records}):
            rows += self.counts(condition)
        lost = [record.path for record in records if rows[record.content] != record.frames]
        if lost:
            _delete(self._videos, "path", lost)
            raise MovaError(
                f"{self.uri}: another process wrote to this index at the same time, and the frames of {len(lost)} "
                f"files (the first: {lost[0]}) are not complete. They were skipped. Run this again when it has finished"
            )

    @guarded
    def drop(self, paths: Iterable[str]) -> None:
        """Forget paths; their frames stay until `sweep`."""
        self.require_writer()
        _delete(self._videos, "path", paths)

    # --- frames ---

    @guarded
    def append(self, contents: Sequence[str], parts: Sequence[StoredFrames]) -> None:
        """Store frames of one or several contents in one commit; vectors are stored in half precision."""
        self.require_writer()
        self._frames.add(frames_table(contents, parts, self._frames.schema))

    @guarded
    def discard(self, contents: Iterable[str]) -> None:
        """Remove the frames of contents."""
        self.require_writer()
        _delete(self._frames, "video", contents)

    @guarded
    def sweep(self) -> int:
        """Remove frames without a path (killed runs, replaced or forgotten files); return the number of contents.

        Records with missing frames (of a writer that was taken for dead) are dropped with a warning, so that the next
        run reads their files again.
        """
        before = self.records()
        rows = self.counts()
        after = self.records()
        broken = [path for path, r in before.items() if rows[r.content] != r.frames and path in after]
        if broken:
            logger.warning("%s: stored frames of %d files are not complete; index them again", self.uri, len(broken))
            self.drop(broken)
        known = {r.content for path, r in (before | after).items()} - {before[path].content for path in broken}
        self.discard(rows.keys() - known)
        return len(rows.keys() - known)

    @guarded
    def contents(self) -> list[str]:
        """Return the contents of all stored frames, in the order of the table."""
        return list(self.counts())

    def counts(self, condition: str | None = None) -> Counter[str]:
        """Return the number of stored frames per content."""
        search = self._frames.search().select(["video"])
        rows: Counter[str] = Counter()
        for batch in (search if condition is None else search.where(condition)).to_batches():
            counts = batch.column(0).value_counts()
            rows.update(dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True)))
        return rows

    @steady
    @guarded
    def fetch(self, contents: Sequence[str]) -> dict[str, StoredFrames]:
        """Return the stored frames of contents, by content; contents that are not stored are left out."""
        frames: dict[str, StoredFrames] = {}
        for condition in conditions("video", contents):
            table = self._frames.search().where(condition).select(frame_columns(self.meta)).to_arrow()
            names = table["video"].combine_chunks().dictionary_encode()
            stored = stored_frames(table)
            if not unit_length(stored.vectors):
                raise IndexDamagedError(self.uri, "stored vectors are not of unit length")
            codes = names.indices.to_numpy()
            for code, content in enumerate(names.dictionary.to_pylist()):
                rows = np.flatnonzero(codes == code)
                rows = rows[np.argsort(stored.times[rows], kind="stable")]
                frames[content] = stored[rows].widened().sampled(self.meta)
        return frames

    @steady
    @guarded
    def nearest(
        self,
        query: npt.NDArray[np.float32],
        limit: int,
        *,
        exact: bool = False,
        contents: Sequence[str] | None = None,
    ) -> tuple[list[str], npt.NDArray[np.float32]]:
        """Return the contents of the frames nearest to a unit vector (d,), and their cosines, best first.

        Below `ANN_ROWS` frames (`LOCAL_ANN_ROWS`), or if `exact`, every frame is scanned. Above, the approximate index
        names candidates, which are scored exactly. With `contents`, only their frames count.
        """
        tables = []
        for condition in [None] if contents is None else conditions("video", contents):
            search = self._frames.search(query, vector_column_name="vector").distance_type("dot")
            search = search.bypass_vector_index() if exact else search.nprobes(NPROBES).refine_factor(REFINE)
            search = search if condition is None else search.where(condition, prefilter=True)
            tables.append(search.limit(limit).select(["video", "_distance"]).to_arrow())
        table = pa.concat_tables(tables)
        cosines = 1 - table["_distance"].to_numpy()
        if not np.all(np.abs(cosines) < 1.1):  # NaN, too
            raise IndexDamagedError(self.uri, "stored vectors are not of unit length")
        near = np.argsort(-cosines, kind="stable")[:limit]
        return table["video"].take(near).to_pylist(), cosines[near]

    def scan(self, contents: Sequence[str] | None = None) -> Iterator[tuple[str, StoredFrames]]:
        """Yield stored frames, of all or of some contents, in parts of one content each, in no order and unchecked.

        Raises:
            IndexDamagedError: a file cannot be read.
            MovaError: another process joined the files meanwhile.
        """
        version = self._frames.version
        try:
            yield from self._scan(contents)
        except IndexDamagedError as error:
            if self._frames.version == version:
                raise
            raise MovaError(
                f"{self.uri}: another process wrote to this index at the same time; run this again"
            ) from error

    def _scan(self, contents: Sequence[str] | None) -> Iterator[tuple[str, StoredFrames]]:
        with index_errors(self.uri):
            search = self._frames.search().select(frame_columns(self.meta))
            selections = [search] if contents is None else [search.where(c) for c in conditions("video", contents)]
            for batch in chain.from_iterable(selection.to_batches() for selection in selections):
                table = pa.Table.from_batches([batch])
                codes = table["video"].combine_chunks().dictionary_encode()
                stored = stored_frames(table)
                for code, content in enumerate(codes.dictionary.to_pylist()):
                    rows = np.flatnonzero(codes.indices.to_numpy() == code)
                    yield content, stored[rows].widened()

    @guarded
    def columns(self, table: str) -> list[str]:
        """Return the names of the columns of a table."""
        return list({"frames": self._frames, "videos": self._videos}[table].schema.names)

    @guarded
    def count_frames(self, contents: Sequence[str] | None = None) -> int:
        """Return the number of stored frames, of all or of some contents."""
        if contents is None:
            return int(self._frames.count_rows())
        return sum(int(self._frames.count_rows(condition)) for condition in conditions("video", contents))

    @guarded
    def tidy(self, *, last: bool = False) -> None:
        """Keep the tables in few files; see `mova.search.storage.upkeep.tidy`."""
        for table in (self._frames, self._videos):
            tidy(table, self.folder, is_last=last, vectors=table is self._frames)


def _delete(table: Any, column: str, values: Iterable[str]) -> None:
    for condition in conditions(column, values):
        table.delete(condition)
