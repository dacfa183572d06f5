"""Feature store: frame vectors on disk, written once and read by training and evaluation instead of pixels.

A store is a folder with `store.json`, which describes how the vectors were computed (`FeatureKey`), and shards as
safetensors files. A shard has `frames` (N, d), `times` (N,) and, as metadata, one record per clip: where its rows are,
or why there are none; vectors of windows also have `windows` (N, 2), start and end. A shard is written to a temporary
file and renamed when complete, so a killed run leaves only complete shards. A later record replaces an earlier one of
the same clip.

safetensors reads any rows of a memory-mapped file in microseconds; a LanceDB table takes milliseconds to find and
decode them (`benchmarks/speed/features.py`). Vectors are not searched here, so a database has no other advantage.

Shape legend: N frames of a shard, T frames of a clip, d width. Times are seconds, spans half-open `[start, end)`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open

from mova.errors import DataError, IndexMismatchError, UsageError, VideoError
from mova.types import FrameVectors
from mova.utils.settings import read_settings
from mova.utils.tables import read_json
from mova.utils.text_files import PARSER_ERRORS, brief, parse_json
from mova.video.sampling import TOLERANCE, on_display

logger = logging.getLogger(__name__)

LAYOUT_VERSION, WINDOWS_LAYOUT = 1, 2
"""Versions of the file layout: of single frames, and of windows of several frames, which earlier versions refuse."""
WINDOW_KEYS = ("window", "stride")
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
"""Precisions in which vectors can be stored."""


class Clip(NamedTuple):
    """A clip of a file: its path as in the manifest, and the span in seconds (`end` None: to the end of the file).

    >>> Clip("film.mp4", start=2.0, end=None).end is None
    True
    """

    video: str
    start: float
    end: float | None


@dataclass(frozen=True)
class FeatureKey:
    """The computation of stored vectors; vectors computed differently must never be mixed with them.

    Attributes:
        model: name of the model; for display only, since equal weights give equal vectors.
        weights: hash of the video tower's weights and architecture.
        preprocessing: hash of the preprocessing of frames.
        dim: d.
        fps: frames per second from a clip's start; None with a rule.
        rule, frames: a named rule of `video/sampling.py` and its number of frames; None with `fps`.
        dtype: precision of the stored vectors, one of `DTYPES`; not compared.
        layout: version of the file layout.
        window, stride: sampled frames per vector, and from one vector to the next (`mova.scoring.windows.rule`).

    >>> stored, expected = (FeatureKey("clip", "a1", "b2", dim=8, fps=fps) for fps in (2.0, 1.0))
    >>> stored.differences(expected)
    ['the sampling is 2 frames per second, not 1 frames per second: use the stored sampling, or write another store']
    """

    model: str
    weights: str
    preprocessing: str
    dim: int
    fps: float | None = None
    rule: str | None = None
    frames: int | None = None
    dtype: str = "float16"
    layout: int = LAYOUT_VERSION
    window: int = 1
    stride: int = 1

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UsageError(f"vectors cannot be stored as {self.dtype!r}; choose from {', '.join(DTYPES)}")

    @property
    def sampling(self) -> str:
        """Description of the frame sampling."""
        sampling = f"{self.frames} frames by {self.rule}" if self.fps is None else f"{self.fps:g} frames per second"
        return sampling if self.window == 1 else f"{sampling} in windows of {self.window} every {self.stride}"

    def to_json(self) -> dict[str, Any]:
        """Return the description of a store; that of single frames has no windows, as before there were any."""
        return {name: value for name, value in vars(self).items() if self.window > 1 or name not in WINDOW_KEYS}

    def differences(self, expected: FeatureKey) -> list[str]:
        """Return the differences from `expected`, one sentence per difference; empty if the vectors are compatible."""
        sentences = []
        if self.weights != expected.weights:
            stored = f"{self.model} (weights {self.weights[:12]})"
            requested = f"{expected.model} (weights {expected.weights[:12]})"
            sentences.append(
                f"the video tower is that of {stored}, not {requested}: load that model, or write another store"
            )
        if self.preprocessing != expected.preprocessing:
            stored, requested = self.preprocessing[:12], expected.preprocessing[:12]
            sentences.append(
                f"the preprocessing is {stored}, not {requested}: load the model with that preprocessing, or write "
                "another store"
            )
        if self.sampling != expected.sampling:
            sentences.append(
                f"the sampling is {self.sampling}, not {expected.sampling}: use the stored sampling, or write another "
                "store"
            )
        return sentences


@dataclass(frozen=True)
class ClipRecord:
    """The record of a clip in a shard.

    Attributes:
        clip: the clip.
        size, mtime_ns: size (bytes) and modification time (nanoseconds) of its file when it was read; -1 if unknown.
        content: hash of the whole file, hexadecimal; empty if it could not be read.
        end: end of the clip in seconds, or the end of the file.
        first, count: first row and number of rows in the shard.
        cause: why there are no vectors; None if there are.
        shard: name of the shard; set when it is read or written.
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
    """Reader of a store. Opening reads the records; vectors are memory-mapped. It can be pickled for worker processes.

    Args:
        folder: folder written by `FeatureWriter` (`data/feature_store_writer.py`).

    Raises:
        DataError: the folder is not a store, or its files are damaged.
        IndexMismatchError: the store has another layout version.

    >>> import mova
    >>> from mova.features.extract import write_features
    >>> from mova.video.reader import FrameRule
    >>> _ = write_features("store", mova.load("mova-worlds-tiny"), "films/manifest.jsonl", FrameRule(fps=2.0))
    >>> store = FeatureStore("store")
    >>> len(store), store.key.sampling
    (2, '2 frames per second')
    >>> store.read(Clip("world-flat-1-00000.mp4", 2.0, 3.5)).pts
    array([2. , 2.5, 3. ])
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.key = read_key(self.folder)
        self.records: dict[Clip, ClipRecord] = {}
        for shard in sorted(self.folder.glob("*.safetensors")):
            self.records.update((record.clip, record) for record in _read_records(shard))
        self._open: dict[str, Any] = {}

    def __len__(self) -> int:
        """Return the number of clips with vectors."""
        return sum(record.cause is None for record in self.records.values())

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the open files, and the index by video, which a worker makes again if it needs it."""
        return {name: value for name, value in self.__dict__.items() if name != "_by_video"} | {"_open": {}}

    def require(self, expected: FeatureKey) -> None:
        """Raise unless the stored vectors are those of `expected`.

        Raises:
            IndexMismatchError: the keys differ; the message has the differences and what to do.
        """
        require_equal(self.folder, self.key, expected)

    def find(self, clip: Clip) -> ClipRecord | None:
        """Return the record of a clip or, with `fps`, of the shortest stored clip that contains it; None if neither."""
        if clip in self.records or self.key.fps is None:
            return self.records.get(clip)
        covering = [r for r in self._by_video.get(clip.video, ()) if _covers(r, clip)]
        return min(covering, key=lambda r: (r.cause is not None, r.end - r.clip.start), default=None)

    def read(self, clip: Clip) -> FrameVectors:
        """Return the vectors of a clip.

        A clip inside a longer stored clip gets the frames of that clip with times in `[start, end)` or, if there are
        none, the frame on display at `start`.

        Raises:
            VideoError: its video could not be read when the store was written.
            DataError: the clip is not stored.
        """
        record = self.find(clip)
        if record is None:
            raise DataError(self._missing([clip]))
        if record.cause is not None:
            raise VideoError(clip.video, record.cause)
        frames, times, _ = self._shard(record.shard)
        rows = slice(record.first, record.first + record.count)
        vectors, pts = frames[rows], times[rows].numpy()
        vectors = (vectors.float() if vectors.dtype == torch.bfloat16 else vectors).numpy()
        result = FrameVectors(vectors, pts, record.end)
        if record.clip == clip:
            return result
        part = result[_inside(pts, record.end, clip)]
        return FrameVectors(part.vectors, part.pts, record.end if clip.end is None else min(clip.end, record.end))

    def windows(self, clip: Clip) -> npt.NDArray[np.float64] | None:
        """Return start and end (T, 2) in seconds of what each vector of `read(clip)` sees; None for single frames.

        Windows of a clip inside a longer stored clip may reach beyond it.

        Raises:
            VideoError, DataError: see `read`.
        """
        if self.key.window == 1:
            return None
        pts, record = self.read(clip).pts, self.find(clip)
        assert record is not None
        _, times, windows = self._shard(record.shard)
        rows = slice(record.first, record.first + record.count)
        seen: npt.NDArray[np.float64] = windows[rows].numpy()
        return seen if len(pts) == len(seen) else seen[_inside(times[rows].numpy(), record.end, clip)]

    def expect(self, clips: Iterable[Clip], folder: Path) -> None:
        """Check before a run that clips are stored; log how many are cut from longer clips or could not be read.

        Args:
            clips: clips that will be read.
            folder: folder of the videos; sizes of files that exist are compared.

        Raises:
            DataError: a clip is not stored, or a file is not the one that was read.
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
                    f"{path}: is not the file whose features are in {self.folder} (its size differs); update the store "
                    "with `mova data features`"
                )
        if cut:
            logger.warning(
                "%s: %d clips are cut out of longer stored clips and have their frame times; "
                "`mova data features --sentences` stores every clip with frames sampled from its own start",
                *(self.folder, cut),
            )
        if failed:
            logger.warning("%s: %d clips have no features because their videos could not be read", self.folder, failed)

    def _same_times(self, stored: Clip, clip: Clip) -> bool:
        """Return whether the frame times of a clip are among those of the stored clip that contains it."""
        steps = (clip.start - stored.start) * (self.key.fps or 0.0)
        return abs(steps - round(steps)) <= TOLERANCE

    @cached_property
    def _by_video(self) -> dict[str, list[ClipRecord]]:
        by_video: dict[str, list[ClipRecord]] = {}
        for record in self.records.values():
            by_video.setdefault(record.clip.video, []).append(record)
        return by_video

    def _shard(self, name: str) -> tuple[Any, Any, Any]:
        """Return the memory-mapped `frames`, `times` and `windows` (None for single frames) of a shard."""
        if name not in self._open:
            with _shard_errors(self.folder / name):
                file = safe_open(self.folder / name, "pt")
                windows = file.get_slice("windows") if self.key.window > 1 else None
                self._open[name] = (file.get_slice("frames"), file.get_slice("times"), windows)
        return self._open[name]

    def _missing(self, clips: list[Clip]) -> str:
        first = clips[0]
        end = "end" if first.end is None else f"{first.end:g}"
        return (
            f"{self.folder}: {len(clips)} of the requested clips are not stored; the first is {first.video} "
            f"[{first.start:g}, {end}). Run `mova data features` with this manifest and this store (videos are "
            "identified by their path in the manifest)"
        )


def read_key(folder: Path) -> FeatureKey:
    """Read the key of a store.

    Raises:
        DataError: the folder is not a store, or its description is damaged.
        IndexMismatchError: the store has another layout version.
    """
    try:
        document = read_json(folder / "store.json")
        layout = document["layout"]
    except (DataError, LookupError, TypeError) as error:
        raise DataError(f"{folder}: is not a feature store; write one with `mova data features`") from error
    if layout not in (LAYOUT_VERSION, WINDOWS_LAYOUT):
        raise IndexMismatchError(
            f"{folder}: its layout version is {layout}, but this version of mova reads {LAYOUT_VERSION} and "
            f"{WINDOWS_LAYOUT}; write another store"
        )
    absent = WINDOW_KEYS if layout == LAYOUT_VERSION else ()
    if different := set(document) ^ ({field.name for field in fields(FeatureKey)} - set(absent)):
        raise DataError(
            f"{folder}: store.json has missing or unknown keys: {', '.join(sorted(different))}; write another store"
        )
    try:
        return read_settings(FeatureKey, document, f"{folder}: store.json")
    except UsageError as error:
        raise DataError(f"{error}; write another store") from error


def require_equal(folder: Path, stored: FeatureKey, expected: FeatureKey) -> None:
    """Raise `IndexMismatchError` if the keys differ; the message has the differences and what to do."""
    differences = stored.differences(expected)
    if differences:
        explanation = ". ".join(_capital(differences))
        raise IndexMismatchError(f"{folder}: its features are not those of this run. {explanation}.")


def _capital(sentences: Iterable[str]) -> Iterator[str]:
    return (sentence[0].upper() + sentence[1:] for sentence in sentences)


def _read_records(shard: Path) -> Iterator[ClipRecord]:
    with _shard_errors(shard), safe_open(shard, "pt") as file:
        count = file.get_slice("frames").get_shape()[0]
        for row in parse_json(file.metadata()["clips"], "clips"):
            record = ClipRecord(**{**row, "clip": Clip(*row["clip"]), "shard": shard.name})
            numbers, texts = (
                (record.size, record.mtime_ns, record.first, record.count),
                (record.clip.video, record.content),
            )
            if not all(isinstance(value, int) for value in numbers) or not all(isinstance(text, str) for text in texts):
                raise TypeError(f"a clip has values of other types: {brief(row)}")
            if record.clip.start < 0 or record.end < 0 or not 0 <= record.first <= record.first + record.count <= count:
                raise ValueError(f"a clip has times or frames outside of the {count} stored frames: {brief(row)}")
            yield record


@contextmanager
def _shard_errors(shard: Path) -> Iterator[None]:
    """Turn errors of reading a shard into a `DataError`."""
    try:
        yield
    except (SafetensorError, DataError, *PARSER_ERRORS) as error:
        raise DataError(f"{shard}: is damaged ({error}); remove it and run `mova data features` again") from error


def _covers(record: ClipRecord, clip: Clip) -> bool:
    """Return whether a stored clip (or its failure) contains a clip."""
    start, end = record.clip.start, record.clip.end
    return start <= clip.start and (end is None or (clip.end is not None and clip.end <= end))


def _inside(pts: npt.NDArray[np.float64], end: float, clip: Clip) -> npt.NDArray[np.int64]:
    """Return which of the vectors of a longer clip, which ends at `end`, are those of a clip in it."""
    until = end if clip.end is None else min(clip.end, end)
    inside = np.flatnonzero((pts >= clip.start - TOLERANCE) & (pts < until - TOLERANCE))
    if len(inside):
        return inside
    if clip.start >= end:
        raise VideoError(clip.video, f"ends at {end:.2f} s, so there is no frame at {clip.start:.2f} s")
    return on_display(pts, [clip.start])
