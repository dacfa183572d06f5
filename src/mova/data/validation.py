"""Validate the video files of a manifest: does each exist, can it be decoded, does its duration agree with its rows?"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from mova.data.manifest import Row, fingerprint
from mova.data.manifest_checks import TOLERANCE
from mova.data.quarantine import FAULT_KINDS, FaultKind, Quarantined
from mova.data.shards.members import video_file
from mova.errors import NoVideoError, VideoError
from mova.types import Span
from mova.utils.files import surely_gone
from mova.video.isolated import Isolated
from mova.video.limits import TIME_LIMIT

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = min(16, 2 * (os.cpu_count() or 1))
"""Default number of files checked in parallel; opening a file waits for the disk as much as for the processor."""
QUEUE_PER_WORKER = 4
"""Files queued per worker, so that memory does not grow with the manifest."""
DURATION_TOLERANCE = 0.02
"""Fraction of the stated duration by which a file may differ (at least `manifest_checks.TOLERANCE` seconds)."""


@dataclass(frozen=True)
class _File:
    """A readable file: its duration in seconds, and what is damaged, see `mova.video.display.Damage`."""

    duration: float
    gaps: tuple[Span, ...]
    lost: int = 0
    unread: int = 0


@dataclass(frozen=True)
class Check:
    """Result of `check_rows`.

    Attributes:
        rows: number of rows in the manifest.
        files: number of distinct files.
        fingerprint: fingerprint of the rows.
        quarantined: rows with a fault, in manifest order.
        gaps: names of files, and stretches in which pictures are missing; a gap is not a fault.
        lost: names of files, and numbers of pictures that cannot be decoded, if files are decoded; not a fault either.
        unread: names of files, and numbers of bytes of another video after the end; not a fault either.

    >>> from mova.data.manifest import read_manifest
    >>> check = check_rows(read_manifest("films/manifest.jsonl"), folder="films")
    >>> check.rows, check.files, check.to_json()["good"]
    (2, 2, 2)
    """

    rows: int
    files: int
    fingerprint: str
    quarantined: tuple[Quarantined, ...]
    gaps: tuple[tuple[str, Span], ...] = ()
    lost: tuple[tuple[str, int], ...] = ()
    unread: tuple[tuple[str, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return counts by kind of fault, and every row with a fault."""
        counts = Counter(entry.kind for entry in self.quarantined)
        return {
            "rows": self.rows,
            "files": self.files,
            "fingerprint": self.fingerprint,
            "good": self.rows - len(self.quarantined),
            "quarantined": {kind: counts[kind] for kind in FAULT_KINDS},
            "which": [entry.to_json() for entry in self.quarantined],
            "gaps": [{"video": name, "start": round(g.start, 3), "end": round(g.end, 3)} for name, g in self.gaps],
            "lost": [{"video": name, "pictures": count} for name, count in self.lost],
            "unread": [{"video": name, "bytes": count} for name, count in self.unread],
        }


def check_rows(
    rows: Sequence[Row],
    folder: str | Path,
    *,
    decode: bool = False,
    workers: int = WORKERS,
    time_limit: float = TIME_LIMIT,
    done: Callable[[int], None] | None = None,
) -> Check:
    """Check every file of a manifest once.

    Args:
        rows: rows of a manifest.
        folder: folder that their paths are relative to.
        decode: decode every file to its end, which also finds damage inside the file; by default only the header, the
            first frame and the last packets are read.
        workers: number of files checked in parallel.
        time_limit: seconds after which a file whose decoding stands still counts as unreadable.
        done: called with the number of finished files.

    >>> [fault] = check_rows([Row("a", "film.mp4", 60.0, "train", ())], folder=".").quarantined
    >>> fault.kind, fault.cause
    ('other duration', 'is 10.00 s long, but the manifest states 60.00 s: another video, or cut off?')
    """
    names = list(dict.fromkeys(part.video for row in rows for part in row.segments))
    files: dict[str, _File | Fault] = {}
    check_file = _decode_file if decode else _probe_file
    with Isolated(time_limit) as decoder:
        checks = map_in_threads(
            lambda name: _check(check_file, decoder, Path(folder) / name), names, workers, decoder.close
        )
        for name, result in checks:
            files[name] = result
            if done is not None:
                done(len(files))
    faults = (_find_fault(row, files) for row in rows)
    readable = {name: file for name, file in files.items() if isinstance(file, _File)}
    gaps = tuple((name, gap) for name, file in readable.items() for gap in file.gaps)
    lost = tuple((name, file.lost) for name, file in readable.items() if file.lost)
    quarantined = tuple(fault for fault in faults if fault is not None)
    unread = tuple((name, file.unread) for name, file in readable.items() if file.unread)
    return Check(len(rows), len(names), fingerprint(rows), quarantined, gaps, lost, unread)


def map_in_threads(
    task: Callable[[Item], Result], items: Iterable[Item], workers: int, stop: Callable[[], None] | None = None
) -> Iterator[tuple[Item, Result]]:
    """Yield (item, result) in the order of the items, computed in threads with a bounded queue.

    `stop` is called at the end, and also if the loop is left early: it can end tasks that are running.

    >>> list(map_in_threads(abs, [-1, 2, -3], workers=2))
    [(-1, 1), (2, 2), (-3, 3)]
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="mova-check") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(task, item)))
                if len(waiting) >= workers * QUEUE_PER_WORKER:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
            if stop is not None:
                stop()


Fault = tuple[FaultKind, str]
"""A kind of fault, and its cause."""


def _check(check: Callable[[Isolated, Path], _File | Fault], decoder: Isolated, path: Path) -> _File | Fault:
    """Check a file, or a member of a shard."""
    try:
        with video_file(path) as file:
            return check(decoder, file)
    except VideoError as error:
        return "unreadable", error.cause


def _probe_file(decoder: Isolated, path: Path) -> _File | Fault:
    """Return the properties of a file, or its fault."""
    try:
        info = decoder.probe(path)
        return _File(info.duration, info.gaps, unread=info.unread)
    except NoVideoError as error:
        return "no video", error.cause
    except VideoError as error:
        return ("missing" if surely_gone(path) else "unreadable"), error.cause


def _decode_file(decoder: Isolated, path: Path) -> _File | Fault:
    result = _probe_file(decoder, path)
    if not isinstance(result, _File):
        return result
    try:
        damage = decoder.find_damage(path, threads=1)
    except VideoError as error:
        return "unreadable", error.cause
    return _File(result.duration, damage.gaps, damage.lost, damage.unread)


def _find_fault(row: Row, files: Mapping[str, _File | Fault]) -> Quarantined | None:
    """Return the fault of a row, given its files or their faults; None if it has none.

    A span that only ends after the file is not a fault: DiDeMo's segments and Charades-STA's queries do so by design.
    """
    for part in row.segments:
        result = files[part.video]
        if not isinstance(result, _File):
            return Quarantined(row.id, part.video, *result)
        if row.parts and part.start >= result.duration:
            cause = f"is only {result.duration:.2f} s long, but a part of the row begins at {part.start:.2f} s"
            return Quarantined(row.id, part.video, "too short", cause)
    if row.parts:
        return None
    duration = cast(_File, files[row.video]).duration
    starts = [s.start for caption in row.captions for s in caption.sentences if s.start is not None]
    last = max([*starts, row.start or 0.0])
    if last >= duration:
        cause = f"is only {duration:.2f} s long, but a clip or sentence of the row begins at {last:.2f} s"
        return Quarantined(row.id, row.video, "too short", cause)
    if row.duration is not None and abs(row.duration - duration) > max(TOLERANCE, DURATION_TOLERANCE * row.duration):
        cause = f"is {duration:.2f} s long, but the manifest states {row.duration:.2f} s: another video, or cut off?"
        return Quarantined(row.id, row.video, "other duration", cause)
    return None
