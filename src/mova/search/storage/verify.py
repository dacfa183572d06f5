"""Read a whole index and list what is damaged: files against their checksums, records, and every stored vector.

Shape legend: T frames, d width of the model's space.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.errors import MovaError
from mova.scoring.windows.stretches import sampled_frames
from mova.search.cold.snapshot_writer import damaged_files as damaged_snapshot_files
from mova.search.cold.text_tower import damaged_files as damaged_tower_files
from mova.search.storage import checksums
from mova.search.storage.arrow_rows import GAPS
from mova.search.storage.damage import IndexDamagedError
from mova.search.storage.records import UNIT_TOLERANCE, VideoRecord
from mova.search.storage.store import Store


@dataclass(frozen=True)
class Verification:
    """The result of reading a whole index.

    Attributes:
        problems: what is damaged in the tables, one line each; empty if they are sound.
        notes: what is not as it could be, but harmless.
        videos: number of records read.
        frames: number of vectors read.
        files: number of files compared with their checksums.
        caches: what is damaged in the folders that can be deleted alone, because they are made again, one line each.

    >>> Verification(problems=(), notes=(), videos=2, frames=40).frames
    40
    """

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    videos: int = 0
    frames: int = 0
    files: int = 0
    caches: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the part of the document of `mova index --verify --json` that says what was read and found."""
        return {
            "sound": not self.problems and not self.caches,
            "problems": list(self.problems),
            "caches": list(self.caches),
            "notes": list(self.notes),
            "videos": self.videos,
            "frames": self.frames,
            "files": self.files,
        }


def verify(store: Store) -> Verification:
    """Read every file, record and vector of an index. Nothing is changed.

    If a file differs from its checksum, the tables are not read: the file is damaged.

    Raises:
        UsageError: the index does not exist.
    """
    files = 0
    if store.folder is not None and store.folder.is_dir():
        problems, files = checksums.check(store.folder)
        if problems:
            return Verification(tuple(problems), (), files=files)
    try:
        return _read(store, files)
    except IndexDamagedError as error:
        return Verification((error.cause,), (), files=files)


def _read(store: Store, files: int) -> Verification:
    dim, step = store.meta.dim, store.meta.window / store.meta.frame_rate
    records = {record.content: record for record in store.records().values()}
    problems, notes = [], []
    if store.folder is not None and not files:
        if records and GAPS.name in store.columns("videos"):  # the versions that write this column write checksums, too
            problems.append(f"{checksums.NAME} is missing")
        else:
            notes.append("there are no checksums yet; the next `mova index` that writes adds them")
    times: dict[str, list[npt.NDArray[np.float64]]] = defaultdict(list)
    wrong: Counter[str] = Counter()
    impossible: dict[str, str] = {}
    for content, part in store.scan():
        times[content].append(part.times)
        if store.meta.novelty and part.windows is not None:
            try:
                sampled_frames(part.windows, store.meta.frame_rate)
            except ValueError as error:
                impossible[content] = str(error)
        squares = np.einsum("td,td->t", part.vectors, part.vectors) if part.vectors.shape[1] == dim else np.zeros(1)
        wrong[content] += int(np.sum(~(np.abs(squares - 1) < UNIT_TOLERANCE)))
    joined = {content: np.sort(np.concatenate(parts)) for content, parts in times.items()}
    for content, record in sorted(records.items(), key=lambda row: row[1].path):
        problems += _problems(record, joined.get(content, np.empty(0)), wrong[content], step)
        problems += [f"{record.path}: {impossible[content]}"] if content in impossible else []
    left = joined.keys() - records.keys()
    if left:
        notes.append(
            f"frames of {len(left)} files have no record (of an interrupted run, or the record was lost): "
            f"run `mova index` on your folders again"
        )
    problems += _index_problems(store, joined)
    caches = [] if store.folder is None else [*damaged_snapshot_files(store.folder), *damaged_tower_files(store.folder)]
    return Verification(
        tuple(problems),
        tuple(notes),
        *(len(store.records()), sum(map(len, joined.values())), files),
        tuple(
            f"{name} was changed: delete its folder, the next search or `mova index` makes it again" for name in caches
        ),
    )


def _problems(record: VideoRecord, times: npt.NDArray[np.float64], wrong: int, step: float) -> list[str]:
    """Return what is wrong with the frames (T,) of one content."""
    problems = []
    if len(times) != record.frames:
        problems.append(f"{record.path}: {len(times)} frames are stored, not {record.frames}")
    if wrong:
        problems.append(f"{record.path}: {wrong} vectors are not finite or not of unit length")
    if not np.all(np.isfinite(times)) or (len(times) and (times[0] < 0 or times[-1] > record.duration + step)):
        problems.append(f"{record.path}: times of frames are outside of its {record.duration:.2f} s")
    elif np.any(np.diff(times) <= 0):
        problems.append(f"{record.path}: frames are stored twice")
    return problems


def _index_problems(store: Store, times: Mapping[str, object]) -> list[str]:
    """Use the approximate index and the index of contents once, if there are any."""
    if not times:
        return []
    vector = np.zeros(store.meta.dim, dtype=np.float32)
    vector[0] = 1.0
    try:
        store.nearest(vector, 1)
        store.fetch([min(times)])
    except IndexDamagedError as error:
        return [error.cause]
    except MovaError as error:
        return [str(error)]
    return []
