"""Add files to an index: decode, encode, write. Incremental by content, resumable after a kill at any moment.

A thread hashes and decodes ahead (`file_reader.py`), across files so that many short clips overlap too, while the model
encodes. Memory does not grow with a video's length. Order of writing: first the frames of a content, then the record of
its path, then the frames that it replaces are removed. Only the record makes frames count (see `store.py`).
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mova.errors import ModelError, UsageError, VideoError
from mova.models.encoder import DualEncoder
from mova.models.inputs.distinct import Distinct
from mova.models.precision import model_threads
from mova.scoring.spans import unseen
from mova.search.file_reader import (
    Begin,
    Event,
    Failed,
    FileTask,
    Known,
    check_file,
    frames_of_file,
    read_events,
    skip_file,
)
from mova.search.ingest_report import CountsFiles, IngestReport, Progress, describe_passed_over
from mova.search.storage.records import EXACT, NEAREST, Meta, StoredFrames, VideoRecord
from mova.search.storage.sources import Root, Sources, read_sources, write_sources
from mova.search.storage.store import Store
from mova.types import Span
from mova.utils.files import SUFFIXES, find_videos, is_below, surely_gone
from mova.utils.prefetch import prefetch
from mova.video.isolated import Isolated
from mova.video.limits import TIME_LIMIT, TOO_LARGE, UNREAD

FLUSH_ROWS = 2048
"""Frames buffered before they are written."""
FLUSH_SECONDS = 20.0
"""Finished videos are recorded at least this often, so that little is lost by a kill."""
TIDY_EVERY = 64
"""Writes between two checks for small fragments."""
logger = logging.getLogger(__name__)

AHEAD = 2
"""Decoded chunks queued for the model."""


@dataclass(frozen=True, eq=False)
class IngestPlan:
    """The files, model and settings of a run, decided before anything is written.

    Attributes:
        roots: the requested files and folders, absolute.
        files: the video files among and below them, absolute.
        model: the encoder.
        meta: how frames will be embedded; an existing index must agree.
        passed_over: number of files in the folders that are not known as videos, by suffix, most common first.
        all_files: whether files of any suffix are tried.
        is_update: whether the roots are those that the index already has.
        forgotten: files that are not read.
    """

    roots: tuple[Path, ...]
    files: tuple[str, ...]
    model: DualEncoder
    meta: Meta
    passed_over: dict[str, int] = field(default_factory=dict)
    all_files: bool = False
    is_update: bool = False
    forgotten: frozenset[str] = frozenset()


def make_plan(
    store: Store,
    paths: Iterable[str | Path],
    load_model: Callable[[], DualEncoder],
    fps: float | None = None,
    *,
    all_files: bool = False,
    exact: bool | None = None,
) -> IngestPlan:
    """List the video files among and below paths, then load the model and decide on the frame rate.

    Args:
        store: the index.
        paths: video files, or folders to walk.
        load_model: called only if the paths exist, so that a wrong path is reported at once.
        fps: sampled frames per second (default: the index's own rate, and for a new index the model's).
        all_files: try every file in the folders, with any suffix.
        exact: whether the frames on display at the sampling times are decoded, or ones near them that cost less
            (default: as in the index; a new one is exact only if the model reads motion).

    Raises:
        UsageError: a path does not exist, a new index has no videos, or the frame rate is not possible.
    """
    roots = tuple(Path(path).resolve() for path in paths)
    passed_over: Counter[str] = Counter()
    files = tuple(map(str, find_videos(roots, None if all_files else SUFFIXES, passed_over)))
    if not files and not store.exists:
        others = f" ({describe_passed_over(passed_over)})" if passed_over else ""
        raise UsageError(
            f"no videos in {', '.join(map(str, roots))}{others}; name video files or folders that contain some"
        )
    model = load_model()
    rate = store.meta.frame_rate if fps is None and store.exists else model.sampling_rate(fps)
    if exact is None:
        exact = store.meta.sampling == EXACT if store.exists else bool(model.context or model.fixed_frame_rate)
    sampling = EXACT if exact else NEAREST
    meta = Meta(model.name, model.fingerprint(), model.embedding_dim, float(rate), sampling=sampling)
    return IngestPlan(roots, files, model, meta, dict(passed_over.most_common()), all_files)


def plan_update(
    store: Store, roots: Sequence[Root], sources: Sources, load_model: Callable[[], DualEncoder]
) -> IngestPlan:
    """List the video files among and below the files and folders that an index was made from; see `make_plan`.

    A folder that lost all its videos, such as the mount point of a drive, is left out with a warning if another
    remains.
    """
    plans = []
    for all_files in (False, True):
        paths = [root.path for root in roots if root.all_files == all_files]
        if paths:
            plans.append(make_plan(store, paths, load_model, all_files=all_files))
    plan = plans[0]
    for other in plans[1:]:
        files = tuple(sorted({*plan.files, *other.files}))
        plan = replace(plan, roots=plan.roots + other.roots, files=files, all_files=False)
    records = store.records()
    emptied = {root: count for root in plan.roots if (count := _count_lost(records, root, plan.files))}
    kept = tuple(root for root in plan.roots if root not in emptied)
    for root, count in emptied.items() if kept else ():
        logger.warning(
            "%s: no longer contains any video, but the index has %d from it; left as it is. Is the drive mounted? "
            "To remove them from the index, use `mova forget %s` with the same --index.",
            *(root, count, root),
        )
    return replace(plan, roots=kept or plan.roots, is_update=True, forgotten=sources.excluded(plan.files))


def run(
    store: Store,
    plan: IngestPlan,
    *,
    progress: Progress | None = None,
    prune: bool = True,
    time_limit: float = TIME_LIMIT,
    threads: int | None = None,
) -> IngestReport:
    """Bring an index up to date with the files of a plan.

    Args:
        store: the index; created if it does not exist.
        plan: from `make_plan`.
        progress: see `Progress`.
        prune: drop entries of files that no longer exist below the plan's folders (never outside them).
        time_limit: seconds after which a file whose decoding stands still counts as broken.
        threads: of the decoder, and as many of the model (default: as FFmpeg and torch choose).

    Raises:
        IndexMismatchError: the index was made with another model, frame rate or layout. Nothing is changed.
        UsageError: a folder lost all its videos.
        MovaError: another process writes to the index.
    """
    began = time.perf_counter()
    with store.lock(new=True), Isolated(time_limit) as decoder, model_threads(threads):
        if store.exists:
            store.require(plan.meta)
        else:
            store.create(plan.meta)
        roots = [str(root) for root in plan.roots]
        gone = _gone(store.records(), plan.roots, plan.files) if prune else []
        if not plan.is_update:
            write_sources(store.folder, read_sources(store.folder).with_roots(roots, all_files=plan.all_files))
        swept = store.sweep()
        writer = _Run(store, plan, decoder, progress, threads)
        writer.report.passed_over = dict(plan.passed_over)
        writer.read([file for file in plan.files if file not in plan.forgotten])
        if writer.finish(gone) or swept:
            store.tidy(last=True)
            store.seal()
        write_sources(store.folder, read_sources(store.folder).after_run(roots, writer.report.failed))
    writer.report.seconds = time.perf_counter() - began
    return writer.report


def _gone(records: Mapping[str, VideoRecord], roots: Sequence[Path], files: Sequence[str]) -> list[str]:
    """Return indexed paths below the folders whose file no longer exists.

    Raises:
        UsageError: a folder no longer contains any video although the index has some from it.
    """
    for root in roots:
        if count := _count_lost(records, root, files):
            raise UsageError(
                f"{root}: no longer contains any video, but the index has {count} from it. Is the drive "
                f"mounted? Nothing was changed. "
                f"To remove them from the index, use `mova forget {root}` with the same --index."
            )
    folders = [root for root in roots if root.is_dir()]
    return sorted(path for path in records if is_below(path, folders) and surely_gone(path))


def _count_lost(records: Mapping[str, VideoRecord], root: Path, files: Sequence[str]) -> int:
    """Return the number of indexed files below a folder if all of them are gone and it contains no other video."""
    if not root.is_dir() or any(is_below(file, [root]) for file in files):
        return 0
    inside = [path for path in records if is_below(path, [root])]
    return len(inside) if all(map(surely_gone, inside)) else 0


class _Run:
    """The state of one call of `run`: reads, encodes, buffers, writes, counts."""

    def __init__(
        self, store: Store, plan: IngestPlan, decoder: Isolated, progress: Progress | None, threads: int | None
    ) -> None:
        self.store = store
        self.model = plan.model
        self.rate, self.exact, self.threads = plan.meta.frame_rate, plan.meta.sampling == EXACT, threads
        self.decoder = decoder
        self.progress = progress
        self.report = IngestReport()
        self.recorded = dict(store.records())
        self.contents = {record.content: record for record in self.recorded.values()}
        self.moved: set[str] = set()
        self.stale: list[str] = []
        self.buffer_vectors = np.empty((FLUSH_ROWS, plan.model.embedding_dim), dtype=np.float16)
        self.buffer_parts: list[tuple[str, StoredFrames]] = []
        self.buffered = 0
        self.pending_records: list[VideoRecord] = []
        self.written_contents: set[str] = set()
        self.writes = 0
        self.flushed_at = time.monotonic()
        self.seconds_done = self.seconds_total = 0.0
        self.files_done = self.files = 0

    def read(self, files: Sequence[str]) -> None:
        """Bring all files into the index."""
        tasks = self._changed(files)
        self.seconds_total = sum(task.duration for task in tasks)
        self.files_done, self.files = 0, len(tasks)
        events = prefetch(
            read_events(tasks, self.contents, self.rate, self.decoder, exact=self.exact, threads=self.threads), AHEAD
        )
        try:
            for event in events:
                if isinstance(event, Failed):
                    self._fail(event.task, event.cause)
                elif isinstance(event, Known):
                    self._record_known(event.task)
                else:
                    assert isinstance(event, Begin)
                    self._encode(event.task, events)
        except BaseException:
            self.decoder.close()  # so that Ctrl-C does not wait for the frames that are being decoded
            raise
        finally:
            events.close()
        self._flush()

    def finish(self, gone: Sequence[str]) -> bool:
        """Drop paths whose files are gone or broken, then frames without a path; return whether anything changed."""
        self.store.drop([*gone, *self.stale])
        self.report.removed = [p for p in gone if p not in self.recorded or self.recorded[p].content not in self.moved]
        changed = bool(gone or self.stale or self.report.indexed or self.report.moved)
        if changed:
            self.store.sweep()
        return changed

    def _changed(self, files: Sequence[str]) -> list[FileTask]:
        """Return the files that must be read; report unchanged and broken ones."""
        tasks = []
        for path in files:
            checked = check_file(path, self.recorded.get(path), self.decoder)
            if checked is None:
                self.report.unchanged.append(path)
            elif isinstance(checked, Failed):
                self._fail(checked.task, checked.cause)
            else:
                tasks.append(checked)
                if checked.unread:
                    self.report.warnings.append((path, UNREAD.format(checked.unread)))
        return tasks

    def _encode(self, task: FileTask, events: Iterator[Event]) -> None:
        """Encode the frames of a file, then queue its record."""
        seen: list[npt.NDArray[np.float64]] = []
        frames, total = 0, np.zeros(self.model.embedding_dim)
        try:
            encode = None if self.model.context else Distinct(self.model.encode_frames)
            for times, tensor in self.model.encode_stream(frames_of_file(events), encode):
                vectors = tensor.detach().float().cpu().numpy()
                if not np.all(np.isfinite(vectors)):
                    raise ModelError(f"{self.model.name}: its vectors of {task.path} are not finite; check its weights")
                vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
                self._buffer(task.content, times, vectors)
                seen.append(times)
                frames += len(times)
                total += vectors.sum(axis=0, dtype=np.float64)
                self._report_progress(task, self.seconds_done + min(float(times[-1]), task.duration))
        except VideoError as error:
            self._fail(task, error.cause)
            return
        except MemoryError:
            skip_file(events)
            self._fail(task, TOO_LARGE)
            return
        mean = (total / frames).astype(np.float32)
        gaps = _all_gaps(task, np.concatenate(seen), 1 / self.rate)
        record = VideoRecord(task.path, task.content, task.size, task.mtime_ns, task.duration, frames, mean, gaps)
        self.contents[task.content] = record
        self.pending_records.append(record)
        self.report.indexed.append(task.path)
        self.report.frames += frames
        self._file_done(task)

    def _buffer(self, content: str, times: npt.NDArray[np.float64], vectors: npt.NDArray[np.float32]) -> None:
        """Copy frames into one buffer (many small allocations would fragment the heap)."""
        while len(times):
            if self.buffered == len(self.buffer_vectors):
                self._flush()
            slot = self.buffer_vectors[self.buffered : self.buffered + len(times)]
            slot[:] = vectors[: len(slot)]
            self.buffer_parts.append((content, StoredFrames(times[: len(slot)], slot)))
            self.buffered += len(slot)
            times, vectors = times[len(slot) :], vectors[len(slot) :]

    def _record_known(self, task: FileTask) -> None:
        """Record another path (or another modification time) for content that is already in the index."""
        record = self.contents[task.content]
        self.pending_records.append(replace(record, path=task.path, size=task.size, mtime_ns=task.mtime_ns))
        earlier = self.recorded.get(task.path)
        if earlier is not None and earlier.content == task.content:
            self.report.unchanged.append(task.path)
        else:
            self.report.moved.append(task.path)
            self.moved.add(task.content)
        self._file_done(task)

    def _fail(self, task: FileTask, cause: str) -> None:
        """Report a broken file, discard its frames, and mark the record of its earlier content for removal."""
        self.report.failed.append((task.path, cause))
        if task.path in self.recorded and task.size >= 0:
            self.stale.append(task.path)
        self.buffer_parts = [part for part in self.buffer_parts if part[0] != task.content]
        if task.content in self.written_contents and task.content not in self.contents:
            self.store.discard([task.content])
        self._file_done(task)

    def _file_done(self, task: FileTask) -> None:
        """Record that one file is finished."""
        self.seconds_done += task.duration
        self._report_progress(task, self.seconds_done)
        self.files_done += 1
        if time.monotonic() - self.flushed_at >= FLUSH_SECONDS:
            self._flush()

    def _report_progress(self, task: FileTask, done: float) -> None:
        if isinstance(self.progress, CountsFiles):
            self.progress.at_file(self.files_done + 1, self.files)
        if self.progress is not None:
            self.progress(task.path, done, self.seconds_total)

    def _flush(self) -> None:
        """Write buffered frames, and after them the records of finished files."""
        self.flushed_at = time.monotonic()
        if self.buffer_parts:
            self.store.append([content for content, _ in self.buffer_parts], [part for _, part in self.buffer_parts])
            self.written_contents.update(content for content, _ in self.buffer_parts)
        self.buffer_parts, self.buffered = [], 0
        if self.pending_records:
            self.store.commit(self.pending_records)
            self.pending_records = []
        self.writes += 1
        if self.writes % TIDY_EVERY == 0:
            self.store.tidy()


def _all_gaps(task: FileTask, times: npt.NDArray[np.float64], step: float) -> tuple[Span, ...]:
    """Return the gaps known before the file was read, and those that only its frames (T,) show, to one step."""
    seen = (gap for gap in unseen(times, task.duration, step) if not any(gap.intersection(old) for old in task.gaps))
    return tuple(sorted([*task.gaps, *seen]))
