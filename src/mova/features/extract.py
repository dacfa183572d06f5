"""Write frame vectors of a manifest's videos into a feature store.

A thread hashes and decodes ahead across files, as indexing does, while the model encodes.

Shape legend: T frames, d width. Times are seconds.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mova.data.columns.items import row_clip
from mova.data.feature_store import Clip, ClipRecord
from mova.data.feature_store_writer import FeatureWriter
from mova.data.manifest import Row, read_manifest
from mova.data.manifest_paths import require_local
from mova.errors import DataError, VideoError
from mova.features.stored import feature_key
from mova.models.encoder import DualEncoder
from mova.models.inputs.reading import DECODE_CHUNK, DECODE_SHORT_SIDE, joined
from mova.models.registry import load_same
from mova.scoring.windows.rule import ending_with
from mova.types import Frames
from mova.utils.cluster import LOST, Cluster, map_on_cluster
from mova.utils.hashing import content_hash
from mova.utils.prefetch import prefetch
from mova.video.isolated import Isolated
from mova.video.limits import TIME_LIMIT, TOO_LARGE
from mova.video.reader import FrameRule

AHEAD = 2
"""Maximum number of decoded chunks that wait for the model."""

Progress = Callable[[str, int, int], None]
"""Called after every clip: (its file, clips done, clips in all that this run reads)."""


@dataclass
class FeatureReport:
    """The result of a run.

    Attributes:
        written: clips that were read and encoded.
        unchanged: clips that the store already had.
        replaced: how many of `written` replace clips whose file has changed.
        failed: files (as in the manifest) that cannot be read, with the cause, including remembered ones.
        remembered: failed clips that were not tried again, because their files have not changed.
        frames: frames encoded.
        seconds: time taken.

    >>> FeatureReport(written=2, failed={"b.mp4": "is empty"}).to_json()["failed"]
    [{'video': 'b.mp4', 'cause': 'is empty'}]
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
        """Return the fields as JSON."""
        failed = [{"video": video, "cause": cause} for video, cause in self.failed.items()]
        return {**vars(self), "failed": failed, "seconds": round(self.seconds, 3)}


def clips_of(rows: Iterable[Row], sentences: bool = False) -> list[Clip]:
    """Return the clips of rows, each once, ordered by file; with `sentences` also those of all timed sentences."""
    clips: dict[Clip, bool] = {}
    for row in rows:
        if row.parts:
            raise DataError(
                f"row {row.id!r} consists of several clips; write its video as one file first "
                "(`mova data expand ... --materialize FOLDER`)"
            )
        clips[row_clip(row)] = True
        timed = (sentence for caption in row.captions for sentence in caption.sentences) if sentences else ()
        clips |= {Clip(row.video, s.start, s.end): True for s in timed if s.start is not None}
    return sorted(clips, key=lambda clip: (clip.video, clip.start, np.inf if clip.end is None else clip.end))


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
    time_limit: float = TIME_LIMIT,
    progress: Progress | None = None,
    cluster: Cluster | None = None,
) -> FeatureReport:
    """Bring a store up to date with a manifest. A stopped run continues when it is run again.

    Args:
        folder: folder of the store; created if missing.
        model: the encoder.
        manifest: path of a `manifest.jsonl`; videos are relative to its folder.
        sampling: the frames to encode; at a rate (`fps`) all frames are stored, and `sampling.frames` is ignored.
        splits: only these splits; all if empty.
        sentences: see `clips_of`.
        dtype: type of a new store, see `FeatureKey`.
        retry: retry files that could not be read, even if they have not changed.
        time_limit: seconds without progress after which a file counts as unreadable.
        progress: see `Progress`.
        cluster: where files are read and encoded; None: in this process.

    Raises:
        IndexMismatchError: the store was made with another video tower, preprocessing or sampling; it is not changed.
        UsageError: see `feature_key`.
        DataError: the manifest cannot be read, has no row of the splits, or a vector is not finite.
        MovaError: another process is writing to the store.

    >>> import mova
    >>> from mova.video.reader import FrameRule
    >>> model = mova.load("mova-worlds-tiny")
    >>> write_features("store", model, "films/manifest.jsonl", FrameRule(fps=model.frame_rate)).written
    2
    >>> write_features("store", model, "films/manifest.jsonl", FrameRule(fps=model.frame_rate)).unchanged
    2
    """
    began = time.perf_counter()
    rows = _rows(manifest, splits)
    report = FeatureReport()
    with FeatureWriter(folder, feature_key(model, sampling, dtype)) as writer, Isolated(time_limit) as decoder:
        reader = Reader(Path(manifest).resolve().parent, sampling, decoder)
        todo = _Plan(writer, reader.folder, retry, report).todo(clips_of(rows, sentences))
        if cluster is None:
            found = reader.encoded(model, todo)
        else:
            found = _encoded_on_cluster(model, todo, reader, cluster, time_limit)
        for done, encoded in enumerate(found, start=1):
            _store(encoded, writer, report)
            if progress is not None:
                progress(encoded.record.clip.video, done, len(todo))
    report.seconds = time.perf_counter() - began
    return report


def _rows(manifest: str | Path, splits: Sequence[str]) -> list[Row]:
    rows = [row for row in read_manifest(manifest) if not splits or row.split in splits]
    if not rows:
        raise DataError(f"{manifest}: no row belongs to split {', '.join(splits)}")
    require_local((segment.video for row in rows for segment in row.segments), manifest)
    return rows


@dataclass
class _Plan:
    """Compares clips with what the store has."""

    writer: FeatureWriter
    folder: Path
    retry: bool
    report: FeatureReport

    def todo(self, clips: Sequence[Clip]) -> list[ClipRecord]:
        """Return the clips that must be read, with the state of their files; count all others."""
        todo, states, hashes = [], dict[str, tuple[int, int]](), dict[str, str]()
        for clip in clips:
            if clip.video not in states:
                states[clip.video] = _state(self.folder / clip.video)
            size, mtime = states[clip.video]
            known = self.writer.known.get(clip)
            same = known is not None and (known.size, known.mtime_ns) == (size, mtime)
            if known is not None and known.cause is None:
                if not same and size == known.size:  # copied or touched: only the content decides
                    if clip.video not in hashes:
                        hashes[clip.video] = _content(self.folder / clip.video)
                    same = hashes[clip.video] in (known.content, "")
                if same or size < 0:  # a file that cannot be accessed now counts as unchanged
                    self.report.unchanged += 1
                    continue
                self.report.replaced += 1
            elif known is not None and known.cause is not None and same and not self.retry:
                self.report.failed[clip.video] = known.cause
                self.report.remembered += 1
                continue
            todo.append(ClipRecord(clip, size, mtime))
        return todo


@dataclass(frozen=True)
class Encoded:
    """A clip with its vectors, or, if `record` has a cause, without.

    Attributes:
        record: the clip and its file.
        times: (T,) seconds.
        vectors: (T, d).
        windows: (T, 2), start and end in seconds of what each vector sees; None for single frames.
    """

    record: ClipRecord
    times: npt.NDArray[np.float64] | None = None
    vectors: torch.Tensor | None = None
    windows: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Reader:
    """Reads and encodes clips.

    Attributes:
        folder: that of the manifest.
        sampling: the frames to encode.
        decoder: decodes.
    """

    folder: Path
    sampling: FrameRule
    decoder: Isolated

    def encoded(self, model: DualEncoder, todo: Sequence[ClipRecord]) -> Iterator[Encoded]:
        """Yield every clip with its vectors, or the cause of failure; a thread reads ahead."""
        events = prefetch(self._decoded(todo), AHEAD)
        try:
            for clip, parts in groupby(events, key=itemgetter(0)):
                yield _encode(model, clip, (part for _, part in parts), self.sampling.fps or model.frame_rate)
        except BaseException:
            self.decoder.close()  # so that Ctrl-C does not wait for the frames that are being decoded
            raise
        finally:
            events.close()

    def _decoded(self, todo: Sequence[ClipRecord]) -> Iterator[tuple[Clip, ClipRecord | Frames]]:
        """Yield for every clip its record and its frames, and after an error a record with the cause.

        Runs in the reading thread.
        """
        opened, content, duration = "", "", 0.0
        for record in todo:
            clip, path = record.clip, self.folder / record.clip.video
            try:
                if opened != clip.video:
                    content, duration, opened = content_hash(path), self.decoder.probe(path).duration, clip.video
                end = duration if clip.end is None else min(clip.end, duration)
                yield clip, replace(record, content=content, end=end)
                for frames in self._frames(path, clip):
                    yield clip, frames
            except VideoError as error:
                yield clip, replace(record, cause=error.cause)
            except OSError as error:
                yield clip, replace(record, cause=error.strerror or str(error))
            except MemoryError:
                yield clip, replace(record, cause=TOO_LARGE)

    def _frames(self, path: Path, clip: Clip) -> Iterator[Frames]:
        """Decode the frames of a clip in a child process."""
        if self.sampling.rule is not None:
            span = {"start": clip.start, "end": clip.end, "short_side": DECODE_SHORT_SIDE, "threads": 1}
            frames = self.decoder.read_count(path, self.sampling.frames, rule=self.sampling.rule, **span)
            return iter([frames])
        span = {"fps": self.sampling.fps, "start": clip.start, "end": clip.end}
        return self.decoder.stream(path, **span, short_side=DECODE_SHORT_SIDE, chunk=DECODE_CHUNK)


def _encode(model: DualEncoder, clip: Clip, parts: Iterator[ClipRecord | Frames], rate: float) -> Encoded:
    """Encode the frames of a clip, sampled `rate` times per second."""
    record = next(parts)
    assert isinstance(record, ClipRecord)
    try:
        encoded = list(model.encode_parts(_frames(record, parts), rate))
        if not encoded:
            raise VideoError(clip.video, f"there is no frame from {clip.start:g} s on; fix the clip's times")
    except VideoError as error:
        return Encoded(replace(record, cause=error.cause))
    except MemoryError:
        for _ in parts:  # the rest of the clip
            pass
        return Encoded(replace(record, cause=TOO_LARGE))
    whole = joined(encoded, record.end, None)
    windows = None if whole.windows is None else ending_with(whole.windows, record.end)
    return Encoded(record, whole.times, whole.frames, windows)


def _store(encoded: Encoded, writer: FeatureWriter, report: FeatureReport) -> None:
    """Write the vectors of a clip, or the cause of failure."""
    record = encoded.record
    if encoded.times is None or encoded.vectors is None:
        writer.fail(record)
        report.failed[record.clip.video] = str(record.cause)
        return
    writer.add(record, encoded.times, encoded.vectors, encoded.windows)
    report.written += 1
    report.frames += len(encoded.times)


class _NodeReader:
    """Reads and encodes the clips of a file on a node of a cluster."""

    def __init__(self, model: str, fingerprint: str, folder: Path, sampling: FrameRule, time_limit: float) -> None:
        self._model = load_same(model, fingerprint)
        self._reader = Reader(folder, sampling, Isolated(time_limit))
        atexit.register(self._reader.decoder.close)

    def __call__(self, todo: Sequence[ClipRecord]) -> list[Encoded]:
        """Return every clip with its vectors, or the cause of failure."""
        found = self._reader.encoded(self._model, todo)
        return [replace(one, vectors=None if one.vectors is None else one.vectors.detach().cpu()) for one in found]


def _encoded_on_cluster(
    model: DualEncoder, todo: Sequence[ClipRecord], reader: Reader, cluster: Cluster, time_limit: float
) -> Iterator[Encoded]:
    """Yield what `Reader.encoded` does, file by file in no order."""
    files = [list(group) for _, group in groupby(todo, key=lambda record: record.clip.video)]
    arguments = {"model": cluster.model, "fingerprint": model.fingerprint(), "folder": reader.folder}
    arguments |= {"sampling": reader.sampling, "time_limit": time_limit}
    for _, found in map_on_cluster(files, _NodeReader, cluster, _lost, **arguments):
        yield from found


def _lost(todo: Sequence[ClipRecord]) -> list[Encoded]:
    return [Encoded(replace(record, cause=LOST)) for record in todo]


def _frames(record: ClipRecord, parts: Iterator[ClipRecord | Frames]) -> Iterator[Frames]:
    """Yield the frames that follow a record, or raise its cause of failure."""
    if record.cause is not None:
        raise VideoError(record.clip.video, record.cause)
    for part in parts:
        if isinstance(part, ClipRecord):
            raise VideoError(part.clip.video, str(part.cause))
        yield part


def _content(path: Path) -> str:
    """Return the hash of a file; empty if it cannot be read."""
    try:
        return content_hash(path)
    except OSError:
        return ""


def _state(path: Path) -> tuple[int, int]:
    """Return the size in bytes and the modification time in nanoseconds of a file; -1 if it cannot be accessed."""
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
