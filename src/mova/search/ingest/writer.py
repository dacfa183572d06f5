"""Write encoded videos to an index in an order that survives a kill at any moment.

Order of writing: first the frames of a content, then the record of its path, then the frames that it replaces are
removed. Only the record makes frames count (see `mova.search.storage.store`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mova.scoring.spans import LONGEST_CELL, unseen
from mova.scoring.windows.rule import uncovered
from mova.scoring.windows.stretches import StretchCutter
from mova.search.ingest.file_reader import FileTask
from mova.search.ingest.plan import IngestPlan
from mova.search.ingest.report import CountsFiles, IngestReport, Progress
from mova.search.storage.records import StoredFrames, VideoRecord
from mova.search.storage.store import Store
from mova.types import Span
from mova.video.limits import UNREAD

FLUSH_ROWS = 2048
"""Frames buffered before they are written."""
FLUSH_SECONDS = 20.0
"""Finished videos are recorded at least this often, so that little is lost by a kill."""
TIDY_EVERY = 64
"""Writes between two checks for small fragments."""


class Part(NamedTuple):
    """Consecutive vectors of a file.

    Attributes:
        times: float64, (n,), seconds: each vector stands for the time from here to the next.
        vectors: float32, (n, d), unit vectors.
        windows: float64, (n, 2), start and end in seconds of what each vector sees; None: one frame.
        begins: (n,), whether a frame begins a shot; None: not known.
    """

    times: npt.NDArray[np.float64]
    vectors: npt.NDArray[np.float32]
    windows: npt.NDArray[np.float64] | None = None
    begins: npt.NDArray[np.bool_] | None = None


class IndexWriter:
    """The writing side of one run: buffers, writes, counts.

    Args:
        store: the index, locked.
        plan: what the run reads.
        progress: see `Progress`.
    """

    def __init__(self, store: Store, plan: IngestPlan, progress: Progress | None) -> None:
        self.store = store
        self.step, self.novelty = 1 / plan.meta.frame_rate, plan.meta.novelty
        self.progress = progress
        self.report = IngestReport(passed_over=dict(plan.listing.passed_over))
        self.recorded = dict(store.records())
        self.contents = {record.content: record for record in self.recorded.values()}
        self._moved: set[str] = set()
        self._stale: list[str] = []
        self._buffer_vectors = np.empty((FLUSH_ROWS, plan.meta.dim), dtype=np.float16)
        self._buffer_parts: list[tuple[str, StoredFrames]] = []
        self._buffered = 0
        self._pending_records: list[VideoRecord] = []
        self._written_contents: set[str] = set()
        self._writes = 0
        self._flushed_at = time.monotonic()
        self._seconds_done = self._seconds_total = 0.0
        self._files_done = self._files = 0
        self._by_files = False

    def expect(self, tasks: Sequence[FileTask]) -> None:
        """Take the files that follow, for the progress; if their durations are not known yet, each counts as much."""
        self._seconds_total = sum(task.duration for task in tasks)
        self._by_files = not self._seconds_total
        if self._by_files:
            self._seconds_total = float(len(tasks))
        self._files_done, self._files = 0, len(tasks)

    def warn_if_unread(self, task: FileTask) -> None:
        """Report a file that is read only in part."""
        if task.unread:
            self.report.warnings.append((task.path, UNREAD.format(task.unread)))

    def add(self, task: FileTask, parts: Iterable[Part]) -> None:
        """Store the frames of a file, then queue its record.

        Args:
            task: with the hash of its content.
            parts: consecutive frames, all of the file; what they raise is raised here, and `fail` must follow.
        """
        seen: list[npt.NDArray[np.float64]] = []
        frames, rows, total = 0, 0, np.zeros(self._buffer_vectors.shape[1])
        cutter = StretchCutter(self.novelty, self.step) if self.novelty else None
        for part in parts:
            rows += self._buffer(task.content, _stored(part) if cutter is None else _cut(cutter, part))
            seen.append(part.times if part.windows is None else part.windows)
            frames += len(part.times)
            total += part.vectors.sum(axis=0, dtype=np.float64)
            if not self._by_files:
                self._report_progress(task, self._seconds_done + min(float(part.times[-1]), task.duration))
        if cutter is not None:
            rows += self._buffer(task.content, _cut(cutter))
        mean = (total / frames).astype(np.float32)
        gaps = _all_gaps(task, np.concatenate(seen), self.step)
        record = VideoRecord(task.path, task.content, task.size, task.mtime_ns, task.duration, rows, mean, gaps)
        self.contents[task.content] = record
        self._pending_records.append(record)
        self.report.indexed.append(task.path)
        self.report.frames += frames
        self.report.stored += rows
        self._file_done(task)

    def add_known(self, task: FileTask) -> None:
        """Record another path (or another modification time) for content that is already in the index."""
        record = self.contents[task.content]
        self._pending_records.append(replace(record, path=task.path, size=task.size, mtime_ns=task.mtime_ns))
        earlier = self.recorded.get(task.path)
        if earlier is not None and earlier.content == task.content:
            self.report.unchanged.append(task.path)
        else:
            self.report.moved.append(task.path)
            self._moved.add(task.content)
        self._file_done(task)

    def fail(self, task: FileTask, cause: str) -> None:
        """Report a broken file, discard its frames, and mark the record of its earlier content for removal."""
        self.report.failed.append((task.path, cause))
        if task.path in self.recorded and task.size >= 0:
            self._stale.append(task.path)
        if task.content not in self.contents:  # no other file has it
            self._buffer_parts = [part for part in self._buffer_parts if part[0] != task.content]
            if task.content in self._written_contents:
                self.store.discard([task.content])
        self._file_done(task)

    def finish(self, gone: Sequence[str]) -> bool:
        """Drop paths whose files are gone or broken, then frames without a path; return whether anything changed."""
        self.store.drop([*gone, *self._stale])
        self.report.removed = [p for p in gone if p not in self.recorded or self.recorded[p].content not in self._moved]
        changed = bool(gone or self._stale or self.report.indexed or self.report.moved)
        if changed:
            self.store.sweep()
        return changed

    def flush(self) -> None:
        """Write buffered frames, and after them the records of finished files."""
        self._flushed_at = time.monotonic()
        if self._buffer_parts:
            self.store.append([content for content, _ in self._buffer_parts], [part for _, part in self._buffer_parts])
            self._written_contents.update(content for content, _ in self._buffer_parts)
        self._buffer_parts, self._buffered = [], 0
        if self._pending_records:
            self.store.commit(self._pending_records)
            self._pending_records = []
        self._writes += 1
        if self._writes % TIDY_EVERY == 0:
            self.store.tidy()

    def _buffer(self, content: str, rest: StoredFrames) -> int:
        """Copy rows into one buffer (many small allocations would fragment the heap); return their number."""
        count = len(rest.times)
        while len(rest.times):
            if self._buffered == len(self._buffer_vectors):
                self.flush()
            slot = self._buffer_vectors[self._buffered : self._buffered + len(rest.times)]
            stored = rest[: len(slot)]
            slot[:] = stored.vectors
            self._buffer_parts.append((content, replace(stored, vectors=slot)))
            self._buffered += len(slot)
            rest = rest[len(slot) :]
        return count

    def _file_done(self, task: FileTask) -> None:
        """Record that one file is finished."""
        self._seconds_done += 1.0 if self._by_files else task.duration
        self._report_progress(task, self._seconds_done)
        self._files_done += 1
        if time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def _report_progress(self, task: FileTask, done: float) -> None:
        if isinstance(self.progress, CountsFiles):
            self.progress.at_file(min(self._files_done + 1, self._files), self._files)
        if self.progress is not None:
            self.progress(task.path, done, self._seconds_total)


def _stored(part: Part) -> StoredFrames:
    """Return the rows of vectors that are all stored."""
    return StoredFrames(part.times, part.vectors, part.windows)


def _cut(cutter: StretchCutter, part: Part | None = None) -> StoredFrames:
    """Return the rows of the stretches that end in a part of a file; without one, that of its last stretch."""
    vectors, windows = cutter.finish() if part is None else cutter.take(part.times, part.vectors, part.begins)
    return StoredFrames(windows[:, 0], vectors, windows)


def _all_gaps(task: FileTask, seen: npt.NDArray[np.float64], step: float) -> tuple[Span, ...]:
    """Return the gaps known before the file was read, and those that only what was seen shows, to one step.

    Args:
        task: the file.
        seen: times of its frames (T,), or its windows (T, 2).
        step: seconds between sampled frames.
    """
    if seen.ndim == 1:
        missing = unseen(seen, task.duration, step)
    else:
        missing = tuple(Span(*bounds) for bounds in uncovered(seen, task.duration, step * (LONGEST_CELL - 1)))
    new = [gap for gap in missing if not any(gap.intersection(old) for old in task.gaps)]
    return tuple(sorted([*task.gaps, *new]))
