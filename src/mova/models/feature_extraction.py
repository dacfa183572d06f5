"""Frame vectors of a manifest's videos into a feature store, and out of it for evaluation.

A thread hashes and decodes ahead across files, as indexing does, while the model encodes.

Shape legend: T frames, d width. Times are seconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mova.data.dataset import row_clip
from mova.data.feature_store import Clip, ClipRecord, FeatureKey, FeatureStore
from mova.data.feature_store_writer import FeatureWriter
from mova.data.frame_selection import FrameRule
from mova.data.manifest import Row, read_manifest
from mova.errors import DataError, VideoError
from mova.models.encoder import DECODE_CHUNK, DualEncoder, VideoEmbedding
from mova.types import Frames
from mova.utils.hashing import content_hash
from mova.utils.prefetch import prefetch
from mova.video.probe import probe

AHEAD = 2
"""Decoded chunks that wait for the model."""

Progress = Callable[[str, int, int], None]
"""Told after every clip: its file, clips done, and clips in all that this run reads."""


@dataclass
class FeatureReport:
    """What a run did.

    Attributes:
        written: clips that were read and encoded.
        unchanged: clips that the store had already.
        replaced: how many of `written` stand for clips whose file has changed.
        failed: files (as the manifest has them) that cannot be read, with the cause; remembered ones among them.
        remembered: how many failed clips were not tried again, their files being as they were.
        frames: frames encoded.
        seconds: time taken.
    """

    written: int = 0
    unchanged: int = 0
    replaced: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    remembered: int = 0
    frames: int = 0
    seconds: float = 0.0

    @property
    def worked(self) -> bool:
        """Whether any clip of the run is in the store now."""
        return bool(self.written or self.unchanged)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON."""
        failed = [{"video": video, "cause": cause} for video, cause in self.failed.items()]
        return {**vars(self), "failed": failed, "seconds": round(self.seconds, 3)}


def feature_key(model: DualEncoder, sampling: FrameRule, dtype: str = "float16") -> FeatureKey:
    """The key of vectors that a model makes of frames chosen by a rule.

    Raises:
        UsageError: a frame rate that the model does not understand, or an unknown type.
    """
    weights, preprocessing = model.video_fingerprint()
    chosen: dict[str, Any] = {"rule": sampling.rule, "frames": sampling.frames}
    if sampling.fps is not None:
        chosen = {"fps": float(model.sampling_rate(sampling.fps))}
    return FeatureKey(model.name, weights, preprocessing, model.embedding_dim, dtype=dtype, **chosen)


def clips_of(rows: Iterable[Row], sentences: bool = False) -> list[Clip]:
    """What rows show, each stretch once, ordered by file; `sentences`: and every timed sentence's own stretch."""
    found = {}
    for row in rows:
        if row.parts:
            raise DataError(f"row {row.id!r} is made of several clips; materialize the manifest first")
        found[row_clip(row)] = True
        told = (sentence for caption in row.captions for sentence in caption.sentences) if sentences else ()
        found |= {Clip(row.video, s.start, s.end): True for s in told if s.start is not None}
    return sorted(found, key=lambda clip: (clip.video, clip.start, np.inf if clip.end is None else clip.end))


def write_features(
    folder: str | Path,
    model: DualEncoder,
    manifest: str | Path,
    sampling: FrameRule,
    *,
    splits: Sequence[str] = (),
    sentences: bool = False,
    dtype: str = "float16",
    retry: bool = False,
    progress: Progress | None = None,
) -> FeatureReport:
    """Bring a store up to date with a manifest; run it again after a stop and it goes on.

    Args:
        folder: of the store; made if it is not there.
        model: what encodes.
        manifest: path of a `manifest.jsonl`; videos are found beside it.
        sampling: at a rate all frames are stored, whatever `sampling.frames` says.
        splits: only these parts; all if empty.
        sentences: see `clips_of`.
        dtype: of a new store, see `FeatureKey`.
        retry: try files again that could not be read, even if they are as they were.
        progress: see `Progress`.

    Raises:
        IndexMismatchError: the store was made by another video tower, preprocessing or sampling; nothing is touched.
        UsageError: see `feature_key`.
        DataError: the manifest cannot be read, has nothing of the splits, or a vector is not finite.
        MovaError: another process writes to the store.
    """
    began = time.perf_counter()
    rows = [row for row in read_manifest(manifest) if not splits or row.split in splits]
    if not rows:
        raise DataError(f"{manifest}: no row is of split {', '.join(splits)}")
    report = FeatureReport()
    with FeatureWriter(folder, feature_key(model, sampling, dtype)) as writer:
        run = _Run(writer, Path(manifest).resolve().parent, sampling, retry, report)
        todo = run.plan(clips_of(rows, sentences))
        events = prefetch(run.decode(todo), AHEAD)
        try:
            for done, (clip, parts) in enumerate(groupby(events, key=itemgetter(0)), start=1):
                run.encode(model, clip, (part for _, part in parts))
                if progress is not None:
                    progress(clip.video, done, len(todo))
        finally:
            events.close()
    report.seconds = time.perf_counter() - began
    return report


@dataclass
class _Run:
    """One call of `write_features`."""

    writer: FeatureWriter
    folder: Path
    sampling: FrameRule
    retry: bool
    report: FeatureReport

    def plan(self, clips: Sequence[Clip]) -> list[ClipRecord]:
        """Clips that must be read, with the state of their files; others are counted here."""
        todo, states, hashes = [], dict[str, tuple[int, int]](), dict[str, str]()
        for clip in clips:
            if clip.video not in states:
                states[clip.video] = _state(self.folder / clip.video)
            size, mtime = states[clip.video]
            known = self.writer.known.get(clip)
            same = known is not None and (known.size, known.mtime_ns) == (size, mtime)
            if known is not None and known.cause is None:
                if not same and size == known.size:  # copied or touched: only its content tells
                    if clip.video not in hashes:
                        hashes[clip.video] = _content(self.folder / clip.video)
                    same = hashes[clip.video] in (known.content, "")
                if same or size < 0:  # what cannot be looked at now counts as it was
                    self.report.unchanged += 1
                    continue
                self.report.replaced += 1
            elif known is not None and known.cause is not None and same and not self.retry:
                self.report.failed[clip.video] = known.cause
                self.report.remembered += 1
                continue
            todo.append(ClipRecord(clip, size, mtime))
        return todo

    def decode(self, todo: Sequence[ClipRecord]) -> Iterator[tuple[Clip, ClipRecord | Frames]]:
        """For every clip its record and its frames, at last a record with the cause if something is wrong.

        Runs in the reading thread.
        """
        opened, content, duration = "", "", 0.0
        for record in todo:
            clip, path = record.clip, self.folder / record.clip.video
            try:
                if opened != clip.video:
                    content, duration, opened = content_hash(path), probe(path).duration, clip.video
                end = duration if clip.end is None else min(clip.end, duration)
                yield clip, replace(record, content=content, end=end)
                for frames in self.sampling.every(path, clip.start, clip.end, DECODE_CHUNK):
                    yield clip, frames
            except VideoError as error:
                yield clip, replace(record, cause=error.cause)
            except OSError as error:
                yield clip, replace(record, cause=error.strerror or str(error))

    def encode(self, model: DualEncoder, clip: Clip, parts: Iterator[ClipRecord | Frames]) -> None:
        """Encode the frames of a clip, and add it, or what is wrong with it."""
        record = next(parts)
        assert isinstance(record, ClipRecord)
        try:
            found = list(model.encode_stream(_frames(record, parts)))
            if not found:
                raise VideoError(clip.video, f"no frame is shown from {clip.start:g} s on; mend its times")
        except VideoError as error:
            self.writer.fail(replace(record, cause=error.cause))
            self.report.failed[clip.video] = error.cause
            return
        times = np.concatenate([part for part, _ in found])
        self.writer.add(record, times, torch.cat([vectors for _, vectors in found]))
        self.report.written += 1
        self.report.frames += len(times)


class StoredEmbeddings:
    """A manifest's videos as `encode_video` would give them, out of a store: call it on a row.

    Times count from the start of the file, also those of a clip; `duration` is where the clip ends.

    Args:
        store: folder of a feature store, or an open one.
        model: whose texts will meet the vectors; they are put on its device.
        fps: frames a second that they must have been made at; None takes any sampling.

    Raises:
        DataError: there is no store.
        IndexMismatchError: it was made by another video tower, preprocessing or rate.
    """

    def __init__(self, store: str | Path | FeatureStore, model: DualEncoder, fps: float | None = None) -> None:
        self.store = store if isinstance(store, FeatureStore) else FeatureStore(store)
        key = self.store.key
        sampling = FrameRule(rule=key.rule, frames=key.frames or 1, fps=key.fps if fps is None else fps)
        self.store.require(feature_key(model, sampling))
        self._device = getattr(model, "device", torch.device("cpu"))

    def __call__(self, row: Row) -> VideoEmbedding:
        """The video of a row, or its clip of it.

        Raises:
            VideoError: the video could not be read when the store was written. DataError: it is not stored.
        """
        if row.parts:
            raise DataError(f"row {row.id!r} is made of several clips, which a feature store does not hold")
        return self._embedding(row_clip(row))

    def span(self, row: Row, start: float, end: float) -> VideoEmbedding:
        """The seconds `[start, end)` of a row's file; errors as for a row.

        Where this very stretch is not stored, frames come out of the longer one that holds it; those of a model that
        reads neighbouring frames have then seen beyond the edges.
        """
        return self._embedding(Clip(row.video, start, end))

    def _embedding(self, clip: Clip) -> VideoEmbedding:
        found = self.store.read(clip)
        return VideoEmbedding(torch.from_numpy(found.vectors).float().to(self._device), found.pts, found.end)


def _frames(record: ClipRecord, parts: Iterator[ClipRecord | Frames]) -> Iterator[Frames]:
    """The frames that follow a record; raises what is wrong in its place."""
    if record.cause is not None:
        raise VideoError(record.clip.video, record.cause)
    for part in parts:
        if isinstance(part, ClipRecord):
            raise VideoError(part.clip.video, str(part.cause))
        yield part


def _content(path: Path) -> str:
    """Hash of a file; empty where it cannot be read."""
    try:
        return content_hash(path)
    except OSError:
        return ""


def _state(path: Path) -> tuple[int, int]:
    """Bytes and nanoseconds of change of a file; -1 where it cannot be looked at."""
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
