"""Read and encode files in this process: a thread decodes ahead, across files, while the model encodes.

Many short clips overlap too, and memory does not grow with a video's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch

from mova.errors import ModelError, VideoError
from mova.models.encoder import DualEncoder
from mova.models.inputs.distinct import Distinct
from mova.scoring.windows.rule import WindowRule, ending_with
from mova.search.ingest.file_reader import (
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
from mova.search.ingest.plan import IngestPlan
from mova.search.ingest.shots import Shots
from mova.search.ingest.writer import IndexWriter, Part
from mova.search.storage.records import EXACT, VideoRecord
from mova.types import Frames
from mova.utils.prefetch import prefetch
from mova.video.isolated import Isolated
from mova.video.limits import TOO_LARGE

AHEAD = 2
"""Decoded chunks queued for the model."""


def read_here(
    files: Sequence[str], plan: IngestPlan, writer: IndexWriter, decoder: Isolated, threads: int | None
) -> None:
    """Bring files into the index.

    Args:
        files: absolute paths.
        plan: the model and settings.
        writer: takes what was read.
        decoder: decodes; closed if anything but a file fails.
        threads: of the decoder; None: as FFmpeg chooses.
    """
    tasks = changed_files(files, writer, partial(check_file, decoder=decoder, objects=plan.listing.objects))
    for task in tasks:
        writer.warn_if_unread(task)
    writer.expect(tasks)
    exact = plan.meta.sampling == EXACT
    events = prefetch(
        read_events(tasks, writer.contents, plan.meta.frame_rate, decoder, exact=exact, threads=threads), AHEAD
    )
    try:
        for event in events:
            if isinstance(event, Failed):
                writer.fail(event.task, event.cause)
            elif isinstance(event, Known):
                writer.add_known(event.task)
            else:
                assert isinstance(event, Begin)
                _add(event.task, events, plan, writer)
    except BaseException:
        decoder.close()  # so that Ctrl-C does not wait for the frames that are being decoded
        raise
    finally:
        events.close()
    writer.flush()


def unit_vectors(model: DualEncoder, path: str, encoded: torch.Tensor) -> np.ndarray:
    """Return encoded frames (n, d) as unit vectors, float32.

    Raises:
        ModelError: a vector is not finite.
    """
    vectors = encoded.detach().float().cpu().numpy()
    if not np.all(np.isfinite(vectors)):
        raise ModelError(f"{model.name}: its vectors of {path} are not finite; check its weights")
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors


def encoded_parts(
    model: DualEncoder, task: FileTask, frames: Iterator[Frames], rate: float, window: WindowRule, shots: Shots | None
) -> Iterator[Part]:
    """Encode the frames of a file, sampled `rate` times per second, chunk after chunk.

    Args:
        model: the encoder.
        task: the file, with its duration.
        frames: consecutive chunks.
        rate: frames per second.
        window: that of the index.
        shots: takes note of the frames that begin a shot, if they are needed.
    """
    encode = None if model.context else Distinct(model.encode_frames)
    watched = frames if shots is None else shots.watch(frames)
    for times, encoded, windows in model.encode_parts(watched, rate, encode, window):
        windows = None if windows is None else ending_with(windows, task.duration)
        begins = None if shots is None else shots.take(len(times))
        yield Part(times, unit_vectors(model, task.path, encoded), windows, begins)


def changed_files(
    files: Sequence[str], writer: IndexWriter, check: Callable[[str, VideoRecord | None], FileTask | Failed | None]
) -> list[FileTask]:
    """Return the files that must be read; report unchanged and broken ones.

    Args:
        files: absolute paths.
        writer: takes the report.
        check: path and its record in the index -> its task, its failure, or None if it has not changed.
    """
    tasks = []
    for path in files:
        checked = check(path, writer.recorded.get(path))
        if checked is None:
            writer.report.unchanged.append(path)
        elif isinstance(checked, Failed):
            writer.fail(checked.task, checked.cause)
        else:
            tasks.append(checked)
    return tasks


def _add(task: FileTask, events: Iterator[Event], plan: IngestPlan, writer: IndexWriter) -> None:
    """Encode and store the file that has just begun."""
    shots = Shots() if plan.meta.novelty else None
    frames = frames_of_file(events)
    try:
        writer.add(task, encoded_parts(plan.model, task, frames, plan.meta.frame_rate, plan.window, shots))
    except VideoError as error:
        writer.fail(task, error.cause)
    except MemoryError:
        skip_file(events)
        writer.fail(task, TOO_LARGE)
