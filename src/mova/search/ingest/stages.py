"""What the workers of a cluster do: decode a file into windows, and encode a window; or both, for a whole file.

A decoding worker sends the windows of frames that the model would see in one process (`mova.video.windows`), so the
vectors are the same. Messages travel as bytes: frames of different sizes fit in one column. A model whose vectors see
several frames prepares them itself before they are cut, so its workers decode and encode whole files.

Shape legend: n stored frames of a window, d width of the model's space.
"""

from __future__ import annotations

import atexit
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.errors import VideoError
from mova.models.encoder import DualEncoder
from mova.models.inputs.distinct import Distinct
from mova.models.registry import load_same
from mova.scoring.windows.rule import WindowRule
from mova.search.ingest.file_reader import (
    Begin,
    Event,
    Failed,
    FileTask,
    Known,
    frames_of_file,
    probe_file,
    read_events,
)
from mova.search.ingest.here import AHEAD, encoded_parts, unit_vectors
from mova.search.ingest.shots import Shots
from mova.search.ingest.writer import Part
from mova.types import Frames
from mova.utils.cluster import LOST, Attempts, Raised
from mova.utils.prefetch import prefetch
from mova.video.isolated import Isolated
from mova.video.limits import TOO_LARGE
from mova.video.windows import encode_windows


@dataclass(frozen=True)
class Settings:
    """What workers need to know.

    Attributes:
        model: the name or folder of the model, and the fingerprint that it must have.
        rate: sampled frames per second.
        context: neighbors of a frame that the model reads, see `mova.models.encoder.DualEncoder`.
        exact: see `mova.video.reader.stream`.
        time_limit: seconds after which a file whose decoding stands still counts as broken.
        known: hashes of the contents in the index.
        shots: whether to say which frames begin a shot.
        window: frames per vector, and their stride.
    """

    model: str
    fingerprint: str
    rate: float
    context: int
    exact: bool
    time_limit: float
    known: frozenset[str]
    shots: bool = False
    window: WindowRule = field(default_factory=WindowRule)


@dataclass(frozen=True)
class Window:
    """Decoded frames, of which the rows `keep` (n,) count; part `number` of a file. `begins`: see `Encoded`."""

    task: FileTask
    number: int
    frames: Frames
    keep: npt.NDArray[np.int64]
    begins: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Encoded:
    """Part `number` of a file."""

    task: FileTask
    number: int
    part: Part


@dataclass(frozen=True)
class Complete:
    """The file was decoded to its end, in this many parts."""

    task: FileTask
    parts: int


Message = Window | Encoded | Complete | Known | Failed


def pack(message: Message | FileTask | Raised) -> dict[str, Any]:
    """Return a row that holds a message."""
    return {"message": pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)}


def unpack(row: dict[str, Any]) -> Any:
    """Return the message of a row that a worker of this run has made."""
    return pickle.loads(row["message"])


def decode_file(row: dict[str, Any], settings: Settings, attempts: Attempts | None = None) -> Iterator[dict[str, Any]]:
    """Yield the windows of a file and `Complete`; or `Known`; or `Failed`, after which nothing of the file counts.

    What is raised is yielded as `Raised`, which ends the run.
    """
    task = unpack(row)
    try:
        if attempts is not None and not attempts.begin(task.path):
            yield pack(Failed(task, LOST))
            return
        for message in _decoded(task, settings):
            yield pack(message)
        if attempts is not None:
            attempts.end(task.path)
    except Exception as error:  # noqa: BLE001 - raised where the run was started
        yield pack(Raised.of(error))


def _opened(task: FileTask, settings: Settings) -> tuple[Begin | Known | Failed, Iterator[Event]]:
    """Begin to read a file: what was found, and the events that follow."""
    decoder = _decoder(settings.time_limit)
    probed = probe_file(task, decoder)
    if isinstance(probed, Failed):
        return probed, iter(())
    events = read_events([probed], settings.known, settings.rate, decoder, exact=settings.exact, threads=1)
    event = next(events)
    assert isinstance(event, Begin | Known | Failed)
    return event, events


def _decoded(task: FileTask, settings: Settings) -> Iterator[Message]:
    event, events = _opened(task, settings)
    if not isinstance(event, Begin):
        yield event
        return
    taken: list[Frames] = []

    def rows(frames: Frames) -> npt.NDArray[np.int64]:
        """Take a window instead of encoding it; return the numbers of its frames."""
        taken.append(frames)
        return np.arange(len(frames))

    count, shots = 0, Shots() if settings.shots else None
    frames = frames_of_file(events)
    watched = frames if shots is None else shots.watch(frames)
    try:
        for _, keep in encode_windows(watched, rows, settings.context):  # type: ignore[arg-type]
            begins = None if shots is None else shots.take(len(keep))
            yield Window(event.task, count, taken.pop(), keep, begins)  # type: ignore[arg-type]
            count += 1
    except VideoError as error:
        yield Failed(event.task, error.cause)
    except MemoryError:
        yield Failed(event.task, TOO_LARGE)
    else:
        yield Complete(event.task, count)


@cache
def _decoder(time_limit: float) -> Isolated:
    """Return the decoder of this worker, whose child process serves file after file."""
    decoder = Isolated(time_limit)
    atexit.register(decoder.close)
    return decoder


class EncodeWindow:
    """Encodes windows with a model that is loaded once per worker; passes other messages on."""

    def __init__(self, settings: Settings, attempts: Attempts | None = None) -> None:
        self._settings, self._attempts = settings, attempts

    @cached_property
    def _model(self) -> DualEncoder:
        return load_same(self._settings.model, self._settings.fingerprint)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Encode one window. What is raised is returned as `Raised`: no model, another one, or no finite vectors."""
        message = unpack(row)
        if not isinstance(message, Window):
            return row
        unit = message.task.path, message.number
        try:
            if self._attempts is not None and not self._attempts.begin(unit):
                return pack(Failed(message.task, LOST))
            encoded = self._encoded(message)
            if self._attempts is not None:
                self._attempts.end(unit)
            return pack(encoded)
        except MemoryError:
            return pack(Failed(message.task, TOO_LARGE))
        except Exception as error:  # noqa: BLE001 - raised where the run was started
            return pack(Raised.of(error))

    def _encoded(self, window: Window) -> Encoded:
        model, frames, keep = self._model, window.frames, window.keep
        encode = model.encode_frames if model.context else Distinct(model.encode_frames)
        vectors = unit_vectors(model, window.task.path, encode(frames)[keep])
        return Encoded(window.task, window.number, Part(frames.pts[keep], vectors, begins=window.begins))


class EncodeFile:
    """Decodes files, and encodes their windows with a model that is loaded once per worker."""

    def __init__(self, settings: Settings, attempts: Attempts | None = None) -> None:
        self._settings, self._attempts = settings, attempts

    @cached_property
    def _model(self) -> DualEncoder:
        return load_same(self._settings.model, self._settings.fingerprint)

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the parts of a file and `Complete`; or `Known`; or `Failed`, after which nothing of the file counts.

        What is raised is yielded as `Raised`: no model, another one, or no finite vectors.
        """
        task = unpack(row)
        try:
            if self._attempts is not None and not self._attempts.begin(task.path):
                yield pack(Failed(task, LOST))
                return
            for message in self._encoded(task):
                yield pack(message)
            if self._attempts is not None:
                self._attempts.end(task.path)
        except Exception as error:  # noqa: BLE001 - raised where the run was started
            yield pack(Raised.of(error))

    def _encoded(self, task: FileTask) -> Iterator[Message]:
        event, events = _opened(task, self._settings)
        if not isinstance(event, Begin):
            yield event
            return
        task, count, ahead = event.task, 0, prefetch(events, AHEAD)
        frames = frames_of_file(ahead)
        try:
            for part in encoded_parts(
                self._model, task, frames, self._settings.rate, self._settings.window, shots=None
            ):
                yield Encoded(task, count, part)
                count += 1
        except VideoError as error:
            yield Failed(task, error.cause)
        except MemoryError:
            yield Failed(task, TOO_LARGE)
        else:
            yield Complete(task, count)
        finally:
            ahead.close()
