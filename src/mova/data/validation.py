"""Is every file of a manifest there, readable, and as long as its rows say? Files are probed side by side."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from mova.data.manifest import TOLERANCE, Row, fingerprint
from mova.data.quarantine import KINDS, Kind, Quarantined
from mova.errors import NoVideoError, VideoError
from mova.utils.files import surely_gone
from mova.video.probe import probe
from mova.video.reader import stream

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = min(16, 2 * (os.cpu_count() or 1))
"""Files looked at side by side: opening a file waits for the disk as much as for the processor."""
AHEAD = 4
"""Files that wait for each worker, so that memory does not grow with the manifest."""
DURATION_SHARE = 0.02
"""Part of the stated duration by which a file may differ (at least `manifest.TOLERANCE` seconds)."""
SMALL = 16
"""Pixels of the shorter side when a whole file is decoded only to see whether it can be."""


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        rows: of the manifest.
        files: different ones that they name.
        fingerprint: of the rows.
        quarantined: rows that something is wrong with, in the manifest's order.
    """

    rows: int
    files: int
    fingerprint: str
    quarantined: tuple[Quarantined, ...]

    def to_json(self) -> dict[str, Any]:
        """Counts by kind, and every row that something is wrong with."""
        counts = Counter(each.kind for each in self.quarantined)
        return {
            "rows": self.rows,
            "files": self.files,
            "fingerprint": self.fingerprint,
            "good": self.rows - len(self.quarantined),
            "quarantined": {kind: counts[kind] for kind in KINDS},
            "which": [each.to_json() for each in self.quarantined],
        }


def check_rows(
    rows: Sequence[Row],
    folder: str | Path,
    *,
    decode: bool = False,
    workers: int = WORKERS,
    done: Callable[[int], None] | None = None,
) -> Check:
    """Look at every file that rows name, each once.

    Args:
        rows: of a manifest.
        folder: that their paths are relative to.
        decode: decode every file to its end, which finds what the header does not tell and takes as long as playing
            it through at full speed; otherwise the header, the first frame and the last packets are read.
        workers: files at a time.
        done: called with the number of files finished.
    """
    names = list(dict.fromkeys(part.video for row in rows for part in row.segments))
    found: dict[str, float | tuple[Kind, str]] = {}
    look = _decoded if decode else _probed
    for name, what in side_by_side(lambda name: look(Path(folder) / name), names, workers):
        found[name] = what
        if done is not None:
            done(len(found))
    bad = (_fault(row, found) for row in rows)
    return Check(len(rows), len(names), fingerprint(rows), tuple(each for each in bad if each is not None))


def side_by_side(task: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[tuple[Item, Result]]:
    """(item, result) in the order of the items, computed by threads, with a bounded number waiting."""
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="mova-check") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(task, item)))
                if len(waiting) >= workers * AHEAD:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _probed(path: Path) -> float | tuple[Kind, str]:
    """Seconds of a file, or what is wrong with it."""
    try:
        return probe(path).duration
    except NoVideoError as error:
        return "no video", error.cause
    except VideoError as error:
        return ("missing" if surely_gone(path) else "unreadable"), error.cause


def _decoded(path: Path) -> float | tuple[Kind, str]:
    found = _probed(path)
    try:
        if isinstance(found, float):
            for _ in stream(path, fps=None, short_side=SMALL, threads=1):
                pass
    except VideoError as error:
        return "unreadable", error.cause
    return found


def _fault(row: Row, files: Mapping[str, float | tuple[Kind, str]]) -> Quarantined | None:
    """What is wrong with a row, given its files' seconds or faults.

    A span that only ends after the file is none: DiDeMo's segments and Charades-STA's queries do by their making.
    """
    for part in row.segments:
        found = files[part.video]
        if not isinstance(found, float):
            return Quarantined(row.id, part.video, *found)
        if row.parts and part.start >= found:
            cause = f"lasts {found:.2f} s, and a part of the row begins at {part.start:.2f} s"
            return Quarantined(row.id, part.video, "too short", cause)
    if row.parts:
        return None
    found = cast(float, files[row.video])
    begins = [s.start for caption in row.captions for s in caption.sentences if s.start is not None]
    last = max([*begins, row.start or 0.0])
    if last >= found:
        cause = f"lasts {found:.2f} s, and a clip or sentence of the row begins at {last:.2f} s"
        return Quarantined(row.id, row.video, "too short", cause)
    if row.duration is not None and abs(row.duration - found) > max(TOLERANCE, DURATION_SHARE * row.duration):
        cause = f"lasts {found:.2f} s, and the manifest says {row.duration:.2f} s: it may be another video, or cut off"
        return Quarantined(row.id, row.video, "other duration", cause)
    return None
