"""Read the files of an ingest run: which ones changed, then their frames, as a sequence of events.

`read_events` runs in a thread of its own, ahead of the model. It alone hashes and decodes files, so it alone decides
whether a file can be read; `writer.py` decides what to store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mova.errors import VideoError
from mova.models.inputs.reading import DECODE_CHUNK, DECODE_SHORT_SIDE
from mova.remote.objects import content_key, reason, status_of, uri_of
from mova.remote.systems import Status
from mova.search.storage.records import VideoRecord
from mova.types import Frames, Span
from mova.utils.hashing import content_hash
from mova.video.isolated import Isolated
from mova.video.limits import TOO_LARGE


@dataclass(frozen=True)
class FileTask:
    """A file to read, as it was when it was listed.

    Attributes:
        path: absolute, or the URI of an object.
        size, mtime_ns: size in bytes and modification time; -1 if the system does not report them.
        duration: seconds.
        content: hash of the content, or the key of an object's; empty until the file is read.
        gaps: stretches without pictures, as far as they are known before the file is read.
        unread: see `VideoInfo`.
    """

    path: str
    size: int = -1
    mtime_ns: int = -1
    duration: float = 0.0
    content: str = ""
    gaps: tuple[Span, ...] = ()
    unread: int = 0


@dataclass(frozen=True)
class Known:
    """The file's content is in the index already."""

    task: FileTask


@dataclass(frozen=True)
class Begin:
    """The file's frames follow, up to `End` or `Failed`."""

    task: FileTask


@dataclass(frozen=True)
class End:
    """All frames of the file were read."""


@dataclass(frozen=True)
class Failed:
    """The file cannot be read, or not to its end."""

    task: FileTask
    cause: str


Event = Known | Begin | End | Failed | Frames


def check_file(
    path: str, known: VideoRecord | None, decoder: Isolated, objects: Mapping[str, Status]
) -> FileTask | Failed | None:
    """Return the task of a new or changed file, the failure of an unreadable one, and None for an unchanged one.

    Args:
        path: absolute, or the URI of an object.
        known: the file's record in the index, if any.
        decoder: probes the file.
        objects: states of listed objects.
    """
    task = look_at_file(path, known, objects)
    return probe_file(task, decoder) if isinstance(task, FileTask) else task


def look_at_file(path: str, known: VideoRecord | None, objects: Mapping[str, Status]) -> FileTask | Failed | None:
    """Do what `check_file` does with the size and modification time alone; the file is not opened."""
    task = FileTask(path)
    try:
        path.encode()
        status = objects.get(path) or status_of(path)
    except UnicodeEncodeError:
        return Failed(task, "its name is not valid UTF-8; rename it")
    except OSError as error:
        return Failed(task, reason(error))
    if known and (known.size, known.mtime_ns) == status:
        return None
    return replace(task, size=status.size, mtime_ns=status.mtime_ns)


def probe_file(task: FileTask, decoder: Isolated) -> FileTask | Failed:
    """Return the task with what the container says, or why it cannot be read."""
    try:
        info = decoder.probe(task.path)
    except OSError as error:
        return Failed(task, reason(error))
    except VideoError as error:
        return Failed(task, error.cause)
    return replace(task, duration=info.duration, gaps=info.gaps, unread=info.unread)


def read_events(
    tasks: Sequence[FileTask],
    known_contents: Collection[str],
    rate: float,
    decoder: Isolated,
    *,
    exact: bool = True,
    threads: int | None = None,
) -> Iterator[Event]:
    """Hash and decode files in order.

    Args:
        tasks: from `check_file`.
        known_contents: hashes of the contents in the index; such files are not decoded.
        rate: frames per second to sample.
        decoder: decodes the files.
        exact, threads: see `mova.video.reader.stream`.

    Yields:
        For each file `Known`, or `Begin`, its frames and `End`; `Failed` instead of any of these but `Begin`.
    """
    seen = set(known_contents)
    options: dict[str, Any] = {
        "fps": rate,
        "short_side": DECODE_SHORT_SIDE,
        "chunk": DECODE_CHUNK,
        "exact": exact,
        "threads": threads,
    }
    for task in tasks:
        try:
            uri = uri_of(task.path)
            task = replace(task, content=content_hash(task.path) if uri is None else content_key(uri))
            if task.content in seen:
                yield Known(task)
                continue
            yield Begin(task)
            count = 0
            for chunk in decoder.stream(task.path, **options):
                count += len(chunk)
                yield chunk
            if not count:
                raise VideoError(task.path, "no frame could be decoded")
            if status_of(task.path) != (task.size, task.mtime_ns):
                raise VideoError(task.path, "changed while it was read; run again once it is complete")
        except VideoError as error:
            yield Failed(task, error.cause)
        except OSError as error:
            yield Failed(task, reason(error))
        except MemoryError:
            yield Failed(task, TOO_LARGE)
        else:
            seen.add(task.content)
            yield End()


def frames_of_file(events: Iterator[Event]) -> Iterator[Frames]:
    """Yield the frames of the file that has just begun, up to its end.

    Raises:
        VideoError: the file cannot be read to its end.
    """
    for event in events:
        if isinstance(event, End):
            return
        if isinstance(event, Failed):
            raise VideoError(event.task.path, event.cause)
        assert isinstance(event, Frames)
        yield event


def skip_file(events: Iterator[Event]) -> None:
    """Pass over the rest of the file that has just begun."""
    for event in events:
        if isinstance(event, End | Failed):
            return
