"""Decode files in child processes that can be ended: a decoder that hangs, crashes or eats memory costs one file.

A child decodes one file at a time and lives on for the next one. It sends a message whenever it has read packets, so
that slow work differs from work that stands still. Frames come through a pipe; decoding goes on while they are used.
"""

from __future__ import annotations

import io
import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, prod
from pathlib import Path
from typing import IO, Any, Self, cast

import numpy as np
import numpy.typing as npt

from mova.errors import MovaError, NoVideoError, UsageError, VideoError
from mova.remote.objects import absolute
from mova.types import Frames, Span
from mova.video.display import CHUNK_BYTES, Damage, joined
from mova.video.limits import TIME_LIMIT, TOO_LARGE
from mova.video.probe import VideoInfo
from mova.video.reader import stream as read_stream
from mova.video.writer import replacing

MEMORY = 1536 << 20
"""Bytes that decoding one file may take: a limit of the system on Linux; elsewhere the process watches itself."""

OUT_OF_MEMORY = 97
"""Exit code of a process that has taken more memory than it may."""

CLIP_MEMORY = 4 << 30
"""Bytes that decoding and encoding a clip may take: the encoder holds some ten frames of full size per thread."""

START = "import sys; sys.path[:] = {path!r}; from mova.video.isolated_child import main; main({memory})"
PART = 0.5
"""Seconds waited at a time. Who waits this much longer than asked was stopped (Ctrl-Z, a suspended machine)."""

POLLS = hasattr(select, "poll") and hasattr(os, "readv")
"""Whether this system can wait for a pipe; Windows cannot."""

START_LIMIT = 120.0
"""Seconds that a child may take to start."""

ERRORS = {"VideoError": VideoError, "NoVideoError": NoVideoError}
DAMAGED = "the file is damaged; other files are not affected"
LARGEST = 16 * CHUNK_BYTES
"""Bytes of one message that are believed."""

log = logging.getLogger(__name__)


class Isolated:
    """Decodes as `mova.video.probe`, `mova.video.reader` and `mova.video.writer.cut_clip` do, in child processes.

    It may be used by several threads; each file that is being read has a child of its own. Close it at the end.

    Args:
        time_limit: seconds without progress after which a file counts as broken; infinity for no limit.
        memory: bytes that decoding one file may take.
    """

    def __init__(self, time_limit: float = TIME_LIMIT, memory: int = MEMORY) -> None:
        if isinstance(time_limit, str) or not time_limit > 0:
            raise UsageError(f"the time limit must be a positive number of seconds, not {time_limit!r}")
        self.time_limit, self.memory = time_limit, memory
        self._idle: list[_Child] = []
        self._busy: list[_Child] = []
        self._closed = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all children. A file that another thread is reading fails, and no other can be read."""
        with self._lock:
            self._closed = True
            idle, busy, self._idle, self._busy = self._idle, self._busy, [], []
        for child in idle:
            child.end()
        for child in busy:
            child.kill()

    def probe(self, path: str | Path) -> VideoInfo:
        """Describe a file, see `mova.video.probe.probe`.

        Raises:
            VideoError: the file cannot be read as video, or not within the limits.
        """
        with self._child() as child:
            child.send("probe", path)
            info = child.receive()[0]["info"]
        if "gaps" in info:
            info["gaps"] = tuple(Span(**gap) for gap in info["gaps"])
        return VideoInfo(**{**info, "path": str(path)})

    def stream(self, path: str | Path, **options: Any) -> Iterator[Frames]:
        """Decode a file in chunks; arguments and results are those of `mova.video.reader.stream`.

        Raises:
            UsageError: an argument is out of range.
            VideoError: the file cannot be read to its end, or not within the limits.
        """
        read_stream(path, **options)  # raises for wrong arguments; nothing is read yet
        return (frames for frames in self._frames("stream", path, options) if frames is not None)

    def read_times(self, path: str | Path, times: npt.ArrayLike, **options: Any) -> Frames:
        """Read the frames on display at some times; arguments and result are those of `mova.video.reader.read_times`.

        Raises:
            UsageError: an argument is out of range.
            VideoError: the file cannot be read there, or not within the limits.
        """
        requested = np.atleast_1d(np.asarray(times, dtype=np.float64)).tolist()
        return joined(self._frames("read_times", path, {"times": requested, **options}))

    def read_count(self, path: str | Path, count: int, **options: Any) -> Frames:
        """Read `count` frames by a rule; arguments and result are those of `mova.video.reader.read_count`.

        Raises:
            UsageError: an argument is out of range.
            VideoError: the file cannot be read there, or not within the limits.
        """
        return joined(self._frames("read_count", path, {"count": count, **options}))

    def cut_clip(self, source: str | Path, target: str | Path, start: float, end: float, **options: Any) -> Path:
        """Cut a clip out of a file; arguments and result are those of `mova.video.writer.cut_clip`.

        Raises:
            UsageError: an argument is out of range.
            VideoError: the source cannot be read there, or not within the limits, or the target cannot be written.
        """
        with replacing(target) as temporary, self._child() as child:
            options |= {"target": os.path.abspath(temporary), "start": start, "end": end}
            child.send("write_clip", source, {"name": str(target), **options})
            child.receive()
        return Path(target)

    def find_damage(self, path: str | Path, *, threads: int | None = None) -> Damage:
        """Decode a file and return what is damaged, see `mova.video.display.find_damage`.

        Raises:
            VideoError: the file cannot be read to its end, or not within the limits.
        """
        with self._child() as child:
            child.send("find_damage", path, {"threads": threads})
            answer = child.receive()[0]
        return Damage(tuple(Span(**gap) for gap in answer["gaps"]), answer["lost"], answer["unread"])

    def _frames(self, do: str, path: str | Path, options: dict[str, Any]) -> Iterator[Frames | None]:
        """Yield the parts of an answer that is frames; None if those before it do not count."""
        with self._child() as child:
            child.send(do, path, options)
            while (message := child.receive())[0]["kind"] != "end":
                header, pixels = message
                yield None if pixels is None else Frames(pixels, np.array(header["pts"], dtype=np.float64))

    @contextmanager
    def _child(self) -> Iterator[_Child]:
        """Yield a waiting child, or a new one; it waits again unless its answer was not read to the end."""
        with self._lock:
            child = self._idle.pop() if self._idle else None
        child = child or _Child(self.time_limit, self.memory)
        try:
            with self._lock:
                if self._closed:
                    raise MovaError("decoding was stopped")
                self._busy.append(child)
            yield child
        finally:
            with self._lock:
                if child in self._busy:
                    self._busy.remove(child)
                if waits := child.answered and not self._closed:
                    self._idle.append(child)
            if not waits:
                child.end()


class Decoding:
    """Mixin of models that decode files: directly, or in child processes.

    Attributes:
        decoder: decodes files in child processes (see `isolated`); None: directly.
    """

    decoder: Isolated | None = None

    @contextmanager
    def isolated(self, time_limit: float = TIME_LIMIT) -> Iterator[None]:
        """Decode files in child processes inside the `with` block: a decoder that hangs or crashes costs one file.

        Args:
            time_limit: seconds without progress after which a file counts as broken.
        """
        with Isolated(time_limit) as self.decoder:
            try:
                yield
            finally:
                self.decoder = None


class _Child:
    """A process that decodes; see `mova.video.isolated_child` for its side.

    A message is 4 bytes (the length of the header), the header in JSON, and the pixels that the header announces.
    """

    def __init__(self, time_limit: float, memory: int) -> None:
        self._time_limit = time_limit
        self.answered = True
        """Whether the last request was answered to its end."""
        self._path: str | Path = ""
        code = START.format(path=[*sys.path], memory=memory)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env={**os.environ, **threads},
            )
        except OSError as error:
            raise MovaError(f"cannot start a process for decoding: {error}") from error
        try:
            self._message(START_LIMIT)
        except (OSError, EOFError, ValueError) as error:
            self.end()
            cause = str(error) or f"it ended with exit code {self._process.returncode}, or does not answer"
            raise MovaError(f"cannot start a process for decoding: {cause}") from error

    def send(self, do: str, path: str | Path, options: dict[str, Any] | None = None) -> None:
        """Send a request about a file."""
        self.answered, self._path = False, path
        request = {"do": do, "path": absolute(path), "options": options or {}}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            log.debug("the decoding process ended while it waited")

    def receive(self) -> tuple[dict[str, Any], np.ndarray[Any, Any] | None]:
        """Return the next message of an answer, and its pixels if it has some.

        Raises:
            UsageError: the child reports one.
            VideoError: the child reports one, it ended, or it stands still; it is ended then.
        """
        path = self._path
        while True:
            try:
                header, pixels = self._message(self._time_limit)
            except TimeoutError:
                self.end()
                cause = f"decoding stood still for {self._time_limit:g} s and was ended: {DAMAGED}"
                raise VideoError(path, cause) from None
            except MemoryError as error:
                self.end()
                raise VideoError(path, TOO_LARGE) from error
            except (EOFError, ValueError, OSError):
                self.end()
                number = self._process.returncode
                if number == OUT_OF_MEMORY:
                    raise VideoError(path, TOO_LARGE) from None
                signal = f"signal {-number}" if number < 0 else f"exit code {number}"
                raise VideoError(path, f"the decoder crashed ({signal}): {DAMAGED}") from None
            if header["kind"] == "log":
                logging.getLogger(header["name"]).log(header["level"], "%s", header["text"])
            elif header["kind"] != "alive":
                break
        self.answered = header["kind"] not in ("frames", "again")
        if header["kind"] == "error":
            if header["name"] == "UsageError":
                raise UsageError(header["cause"].replace(absolute(path), str(path), 1))
            name = path if header["path"] == absolute(path) else header["path"]
            raise ERRORS.get(header["name"], VideoError)(name, header["cause"])
        return header, pixels

    def kill(self) -> None:
        """End the process; whoever reads its answer gets an error."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """End the process when nobody reads its answer."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()

    def _message(self, limit: float) -> tuple[dict[str, Any], np.ndarray[Any, Any] | None]:
        """Read a message.

        Raises:
            TimeoutError: nothing came for `limit` seconds.
            EOFError: the process ended.
            ValueError: this is no message.
        """
        size = np.zeros(1, "<u4")
        self._fill(size.view(np.uint8), limit)
        if size[0] > LARGEST:
            raise ValueError("a message is too large")
        text = np.empty(int(size[0]), np.uint8)
        self._fill(text, limit)
        header = json.loads(text.tobytes())
        if header["kind"] != "frames":
            return header, None
        shape = [int(side) for side in header["shape"]]
        if len(shape) != 4 or min(shape) <= 0 or prod(shape) > LARGEST:
            raise ValueError("a message is too large")
        pixels = np.empty(shape, np.uint8)
        self._fill(pixels.reshape(-1), limit)
        return header, pixels

    def _fill(self, target: np.ndarray[Any, Any], limit: float) -> None:
        """Fill an array of bytes from the pipe."""
        pipe = self._process.stdout
        assert pipe is not None
        view = target.data
        while len(view):
            count = _read_polled(pipe, view, limit) if POLLS else self._read_watched(pipe, view, limit)
            if not count:
                raise EOFError
            view = view[count:]

    def _read_watched(self, pipe: IO[bytes], view: memoryview, limit: float) -> int:
        """Read some bytes where a pipe cannot be polled (Windows): a timer ends the process that stands still."""
        stopped = threading.Event()

        def stop() -> None:
            stopped.set()
            self._process.kill()

        timer = threading.Timer(min(limit, threading.TIMEOUT_MAX), stop)
        timer.daemon = True
        timer.start()
        try:
            count = cast(io.RawIOBase, pipe).readinto(view)
        finally:
            timer.cancel()
        if stopped.is_set():
            raise TimeoutError
        return count or 0


def _read_polled(pipe: IO[bytes], view: memoryview, limit: float) -> int:
    """Read some bytes from a pipe that can be polled; 0 at its end.

    Raises:
        TimeoutError: nothing came for `limit` seconds.
    """
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    if not _arrives(poll, limit):
        raise TimeoutError
    return os.readv(pipe.fileno(), [view])


def _arrives(poll: select.poll, limit: float) -> bool:
    """Wait for a pipe; return whether anything comes within `limit` seconds.

    The clock goes on while this process and its child are stopped. After that, the time begins anew.
    """
    waited = 0.0
    while waited < limit:
        part = min(PART, limit - waited)
        began = time.monotonic()
        if poll.poll(ceil(part * 1000)):
            return True
        waited = 0.0 if time.monotonic() - began > part + PART else waited + part
    return False
