"""Frame vectors on disk: written once, read by training and evaluation instead of pixels.

A store is a folder with `store.json`, which tells how the vectors were made (`FeatureKey`), and shards as safetensors
files. A shard holds `frames` (N, d), `times` (N,) and, as metadata, a record a clip: where its rows are, or why there
are none. A shard is written under another name and renamed when it is complete, so a killed run leaves whole shards
only. Later records stand for earlier ones of the same clip.

safetensors gives any rows of a memory-mapped file in microseconds, where a table of LanceDB takes milliseconds to find
and decode them (`benchmarks/speed/features.py`). Nothing is searched here, so nothing else of a database is missed.

Shape legend: N frames of a shard, T frames of a clip, d width. Times are seconds, spans half-open `[start, end)`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from mova.errors import DataError, IndexMismatchError, UsageError, VideoError
from mova.types import FrameVectors
from mova.video.sampling import TOLERANCE, on_display

logger = logging.getLogger(__name__)

LAYOUT = 1
"""Version of the files' layout."""
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
"""Precisions that vectors are kept in."""


class Clip(NamedTuple):
    """A stretch of a file: its path as the manifest has it, and seconds within it (`end` None: to the end)."""

    video: str
    start: float
    end: float | None


@dataclass(frozen=True)
class FeatureKey:
    """How stored vectors were made. Vectors made otherwise must never stand for them.

    Attributes:
        model: name; only told, since equal weights have equal vectors.
        weights: hash of the video tower's weights and architecture.
        preprocessing: hash of what is done to frames before them.
        dim: d.
        fps: frames a second from a clip's start on; None with a rule.
        rule, frames: a named rule of `video/sampling.py` and its number of frames; None at a rate.
        dtype: one of `DTYPES`, what vectors are kept in; not compared.
        layout: version of the files' layout.
    """

    model: str
    weights: str
    preprocessing: str
    dim: int
    fps: float | None = None
    rule: str | None = None
    frames: int | None = None
    dtype: str = "float16"
    layout: int = LAYOUT

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UsageError(f"vectors cannot be kept as {self.dtype!r}; there are {', '.join(DTYPES)}")

    @property
    def sampling(self) -> str:
        """Which frames, in words."""
        return f"{self.frames} frames by {self.rule}" if self.fps is None else f"{self.fps:g} frames a second"

    def differences(self, wanted: FeatureKey) -> list[str]:
        """What keeps vectors made by `wanted` from being these: one sentence each."""
        found = []
        if self.weights != wanted.weights:
            told = f"{self.model} (weights {self.weights[:12]}), not {wanted.model} (weights {wanted.weights[:12]})"
            found.append(f"the video tower is that of {told}: load that model, or write another store with this one")
        if self.preprocessing != wanted.preprocessing:
            told = f"{self.preprocessing[:12]}, not {wanted.preprocessing[:12]}"
            found.append(f"the preprocessing is {told}: load the model with its own, or write another store")
        if self.sampling != wanted.sampling:
            found.append(
                f"the sampling is {self.sampling}, not {wanted.sampling}: ask for the former, or write another store"
            )
        return found


@dataclass(frozen=True)
class ClipRecord:
    """What is known of a clip.

    Attributes:
        clip: which.
        size, mtime_ns: of its file when it was read, bytes and nanoseconds; -1 where it could not be looked at.
        content: hash of the whole file, hexadecimal; empty where it could not be read.
        end: seconds at which the clip ends: its own, or that of the file.
        first, count: rows in the shard.
        cause: why there are no vectors; None where there are.
        shard: name of the file that holds the rows; set when it is read or written.
    """

    clip: Clip
    size: int
    mtime_ns: int
    content: str = ""
    end: float = 0.0
    first: int = 0
    count: int = 0
    cause: str | None = None
    shard: str = ""


class FeatureStore:
    """Reads a store. Opening reads the records; vectors are memory-mapped. It may travel to worker processes.

    Args:
        folder: made by `FeatureWriter` (`data/feature_store_writer.py`).

    Raises:
        DataError: there is no store, or its files are damaged.
        IndexMismatchError: its layout is of another version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.key = read_key(self.folder)
        self.records: dict[Clip, ClipRecord] = {}
        for shard in sorted(self.folder.glob("*.safetensors")):
            self.records.update((record.clip, record) for record in _read_records(shard))
        self._open: dict[str, Any] = {}

    def __len__(self) -> int:
        """Clips that have vectors."""
        return sum(record.cause is None for record in self.records.values())

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_longer"} | {"_open": {}}

    def require(self, wanted: FeatureKey) -> None:
        """Compare with how vectors would be made now.

        Raises:
            IndexMismatchError: saying what differs and what to do.
        """
        require_equal(self.folder, self.key, wanted)

    def find(self, clip: Clip) -> ClipRecord | None:
        """The record of a clip, or of the shortest stored stretch that holds it (at a rate only); None if neither."""
        if clip in self.records or self.key.fps is None:
            return self.records.get(clip)
        around = [r for r in self._longer.get(clip.video, ()) if _holds(r, clip)]
        return min(around, key=lambda r: (r.cause is not None, r.end - r.clip.start), default=None)

    def read(self, clip: Clip) -> FrameVectors:
        """The vectors of a clip.

        A clip that lies in a longer stored stretch has the frames of that stretch's times in `[start, end)`, or the one
        that is on display at `start` where there is none.

        Raises:
            VideoError: its video could not be read when the store was written.
            DataError: it is not stored.
        """
        record = self.find(clip)
        if record is None:
            raise DataError(self._missing([clip]))
        if record.cause is not None:
            raise VideoError(clip.video, record.cause)
        frames, times = self._shard(record.shard)
        rows = slice(record.first, record.first + record.count)
        vectors, pts = frames[rows], times[rows].numpy()
        vectors = (vectors.float() if vectors.dtype == torch.bfloat16 else vectors).numpy()
        found = FrameVectors(vectors, pts, record.end)
        return found if record.clip == clip else _cut(found, clip)

    def expect(self, clips: Iterable[Clip], folder: Path) -> None:
        """See before a run that clips are stored, and say which are not as they would be read from their files.

        Args:
            clips: what will be read.
            folder: where the videos are, if they are there; their sizes are compared.

        Raises:
            DataError: some are not stored, or a file is not the one that was read.
        """
        missing, cut, failed, sizes = [], 0, 0, {}
        for clip in clips:
            record = self.find(clip)
            if record is None:
                missing.append(clip)
                continue
            failed += record.cause is not None
            cut += record.cause is None and not self._same_times(record.clip, clip)
            if record.cause is None:
                sizes[clip.video] = record.size
        if missing:
            raise DataError(self._missing(missing))
        for video, size in sizes.items():
            path = folder / video
            if path.is_file() and path.stat().st_size != size:
                raise DataError(
                    f"{path}: is not the file whose features {self.folder} holds (its size differs); bring the store "
                    "up to date with `mova data features`"
                )
        if cut:
            logger.warning(
                "%s: %d clips are cut out of longer stretches, at the times of those; "
                "`mova data features --sentences` stores each of them as it is read from its file",
                *(self.folder, cut),
            )
        if failed:
            logger.warning("%s: %d clips have no features, their videos could not be read", self.folder, failed)

    def _same_times(self, stored: Clip, clip: Clip) -> bool:
        """Whether a clip's own times are among those of the stretch that holds it."""
        steps = (clip.start - stored.start) * (self.key.fps or 0.0)
        return abs(steps - round(steps)) <= TOLERANCE

    @cached_property
    def _longer(self) -> dict[str, list[ClipRecord]]:
        """Records by video."""
        found: dict[str, list[ClipRecord]] = {}
        for record in self.records.values():
            found.setdefault(record.clip.video, []).append(record)
        return found

    def _shard(self, name: str) -> tuple[Any, Any]:
        """The memory-mapped `frames` and `times` of a shard."""
        if name not in self._open:
            with _damage(self.folder / name):
                file = safe_open(self.folder / name, "pt")
                self._open[name] = (file.get_slice("frames"), file.get_slice("times"))
        return self._open[name]

    def _missing(self, clips: list[Clip]) -> str:
        first = clips[0]
        stretch = f" [{first.start:g}, {'end' if first.end is None else f'{first.end:g}'})"
        return (
            f"{self.folder}: {len(clips)} of the clips asked for are not stored; the first is {first.video}{stretch}. "
            "Run `mova data features` with this manifest and this store (videos go by the path in the manifest)"
        )


def read_key(folder: Path) -> FeatureKey:
    """How the vectors of a store were made.

    Raises:
        DataError: there is no store. IndexMismatchError: its layout is of another version.
    """
    try:
        found = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: holds no feature store; write one with `mova data features`") from error
    if found.get("layout") != LAYOUT or set(found) != {field.name for field in fields(FeatureKey)}:
        raise IndexMismatchError(
            f"{folder}: its layout is {found.get('layout')}, this version of mova reads {LAYOUT}; write another store"
        )
    return FeatureKey(**found)


def require_equal(folder: Path, have: FeatureKey, wanted: FeatureKey) -> None:
    """Raise `IndexMismatchError` where keys differ, saying in what, and what to do."""
    differ = have.differences(wanted)
    if differ:
        raise IndexMismatchError(f"{folder}: its features are others than wanted. " + ". ".join(_capital(differ)) + ".")


def _capital(sentences: Iterable[str]) -> Iterator[str]:
    return (sentence[0].upper() + sentence[1:] for sentence in sentences)


def _read_records(shard: Path) -> Iterator[ClipRecord]:
    with _damage(shard), safe_open(shard, "pt") as file:
        rows = json.loads(file.metadata()["clips"])
    for row in rows:
        yield ClipRecord(**{**row, "clip": Clip(*row["clip"]), "shard": shard.name})


@contextmanager
def _damage(shard: Path) -> Iterator[None]:
    """A shard that cannot be read, told to a person."""
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{shard}: is damaged ({error}); remove it and run `mova data features` again") from error


def _holds(record: ClipRecord, clip: Clip) -> bool:
    """Whether a stored stretch, or the failure to read it, tells all of a clip."""
    start, end = record.clip.start, record.clip.end
    return start <= clip.start and (end is None or (clip.end is not None and clip.end <= end))


def _cut(found: FrameVectors, clip: Clip) -> FrameVectors:
    """The part of a longer stretch that a clip shows."""
    end = found.end if clip.end is None else min(clip.end, found.end)
    inside = np.flatnonzero((found.pts >= clip.start - TOLERANCE) & (found.pts < end - TOLERANCE))
    if not len(inside):
        if clip.start >= found.end:
            raise VideoError(clip.video, f"ends at {found.end:.2f} s, so there is no frame at {clip.start:.2f} s")
        inside = on_display(found.pts, [clip.start])
    part = found[inside]
    return FrameVectors(part.vectors, part.pts, end)
