"""Decode files in child processes that can be ended: a decoder that hangs, crashes or eats memory costs one file.

A child decodes one file at a time and lives on for the next one. It sends a message whenever it has read packets, so
that slow work differs from work that stands still. Frames come through a pipe; decoding goes on while they are used.
"""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, prod
from pathlib import Path
from typing import Any, Self

import numpy as np

from mova.errors import MovaError, NoVideoError, UsageError, VideoError
from mova.types import Frames, Span
from mova.video.limits import TOO_LARGE
from mova.video.probe import VideoInfo
from mova.video.reader import CHUNK_BYTES, Damage
from mova.video.reader import stream as read_stream

TIME_LIMIT = 60.0
"""Seconds without any progress after which a decoder is ended."""

MEMORY = 1536 << 20
"""Bytes that decoding one file may take, on systems that can limit it (Linux)."""

START = "import sys; sys.path[:] = {path!r}; from mova.video.isolated_child import main; main({memory})"
LONGEST_WAIT = 2**31 - 1
"""Milliseconds that the system can wait at once: 24 days."""

START_LIMIT = 120.0
"""Seconds that a child may take to start."""

ERRORS = {"VideoError": VideoError, "NoVideoError": NoVideoError}
DAMAGED = "the file is damaged; other files are not affected"
LARGEST = 16 * CHUNK_BYTES
"""Bytes of one message that are believed."""

log = logging.getLogger(__name__)


class Isolated:
    """Decodes like `mova.video.probe.probe`, `mova.video.reader.stream` and `find_damage`, in child processes.

    It may be used by several threads; each file that is being read has a child of its own. Close it at the end.

    Args:
        time_limit: seconds without progress after which a file counts as broken; infinity for no limit.
        memory: bytes that decoding one file may take.
    """

    def __init__(self, time_limit: float = TIME_LIMIT, memory: int = MEMORY) -> None:
        if not time_limit > 0:
            raise UsageError(f"the time limit must be a positive number of seconds, not {time_limit}")
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
            child.send({"do": "probe", "path": os.path.abspath(path)})
            info = child.receive(path)[0]["info"]
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
        return self._stream(path, options)

    def find_damage(self, path: str | Path, *, threads: int | None = None) -> Damage:
        """Decode a file and return what is damaged, see `mova.video.reader.find_damage`.

        Raises:
            VideoError: the file cannot be read to its end, or not within the limits.
        """
        with self._child() as child:
            child.send({"do": "find_damage", "path": os.path.abspath(path), "threads": threads})
            answer = child.receive(path)[0]
        return Damage(tuple(Span(**gap) for gap in answer["gaps"]), answer["lost"])

    def _stream(self, path: str | Path, options: dict[str, Any]) -> Iterator[Frames]:
        with self._child() as child:
            child.send({"do": "stream", "path": os.path.abspath(path), "options": options})
            while True:
                header, pixels = child.receive(path)
                if pixels is None:
                    return
                yield Frames(pixels, np.array(header["pts"], dtype=np.float64))

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


class _Child:
    """A process that decodes; see `mova.video.isolated_child` for its side.

    A message is 4 bytes (the length of the header), the header in JSON, and the pixels that the header announces.
    """

    def __init__(self, time_limit: float, memory: int) -> None:
        if not hasattr(select, "poll") or not hasattr(os, "readv"):
            raise MovaError("decoding in processes of their own needs Linux or macOS")
        self._time_limit = time_limit
        self.answered = True
        """Whether the last request was answered to its end."""
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

    def send(self, request: dict[str, Any]) -> None:
        """Send a request."""
        self.answered = False
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            log.debug("the decoding process ended while it waited")

    def receive(self, path: str | Path) -> tuple[dict[str, Any], np.ndarray[Any, Any] | None]:
        """Return the next message of an answer, and its pixels if it has some.

        Raises:
            VideoError: the child reports one, it ended, or it stands still; it is ended then.
        """
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
                signal = f"signal {-number}" if number < 0 else f"exit code {number}"
                raise VideoError(path, f"the decoder crashed ({signal}): {DAMAGED}") from None
            if header["kind"] == "log":
                logging.getLogger(header["name"]).log(header["level"], "%s", header["text"])
            elif header["kind"] != "alive":
                break
        self.answered = header["kind"] != "frames"
        if header["kind"] == "error":
            raise ERRORS.get(header["name"], VideoError)(path, header["cause"])
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
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        view = target.data
        while len(view):
            if not poll.poll(None if limit == float("inf") else min(ceil(limit * 1000), LONGEST_WAIT)):
                raise TimeoutError
            count = os.readv(pipe.fileno(), [view])
            if not count:
                raise EOFError
            view = view[count:]
