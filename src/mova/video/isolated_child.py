"""The process in which `mova.video.isolated` decodes: requests on stdin, messages on stdout, one file at a time."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mova.errors import UsageError, VideoError
from mova.video import limits
from mova.video.display import find_damage
from mova.video.isolated import OUT_OF_MEMORY
from mova.video.probe import probe
from mova.video.reader import stream, stream_count, stream_times
from mova.video.writer import write_clip, writing

BEAT = 0.1
"""Seconds between two looks at the progress, and at the memory."""
PIPE_BYTES = 1 << 20


def main(memory: int) -> None:
    """Answer requests until stdin ends.

    Args:
        memory: bytes that decoding may take on top of what the process has now.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it ends this process
    exceeds = (lambda: False) if _limit_memory(memory) else _watch_memory(memory)
    channel = _Channel(os.dup(1))
    os.dup2(2, 1)  # what a library prints must not reach the pipe
    threading.Thread(target=_report_progress, args=(channel, os.getppid(), exceeds), daemon=True).start()
    logger = logging.getLogger("mova")
    logger.addHandler(_Forward(channel))
    logger.setLevel(logging.INFO)
    channel.send({"kind": "ready"})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            _answer(channel, request)
        except VideoError as error:
            _fail(channel, type(error).__name__, error.cause, error.path)
        except UsageError as error:
            _fail(channel, "UsageError", str(error), request["path"])
        except BrokenPipeError:
            return
        except Exception as error:  # noqa: BLE001 - one file never ends a run
            _fail(channel, "VideoError", f"{type(error).__name__}: {error}", request["path"])


def _fail(channel: _Channel, name: str, cause: str, path: str) -> None:
    channel.send({"kind": "error", "name": name, "cause": cause, "path": path})


def _answer(channel: _Channel, request: dict[str, Any]) -> None:
    path, options = request["path"], request["options"]
    if request["do"] == "probe":
        channel.send({"kind": "info", "info": dataclasses.asdict(probe(path))})
    elif request["do"] == "find_damage":
        channel.send({"kind": "damage", **dataclasses.asdict(find_damage(path, **options))})
    elif request["do"] == "write_clip":
        with writing(options.pop("name")):
            write_clip(path, **options)
        channel.send({"kind": "end"})
    else:
        read: dict[str, Any] = {"stream": stream, "read_times": stream_times, "read_count": stream_count}
        for frames in read[request["do"]](path, **options):
            if frames is None:
                channel.send({"kind": "again"})
                continue
            header = {"kind": "frames", "shape": frames.pixels.shape, "pts": frames.pts.tolist()}
            channel.send(header, frames.pixels.reshape(-1).data)
            del frames  # large ones must not stay while the next ones are decoded
        channel.send({"kind": "end"})


class _Channel:
    """The pipe to the parent; several threads may write."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        with suppress(ImportError, AttributeError, OSError):
            import fcntl

            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def send(self, header: dict[str, Any], data: memoryview | None = None) -> None:
        """Write a message."""
        text = json.dumps(header).encode()
        with self._lock:
            for view in (memoryview(len(text).to_bytes(4, "little") + text), data):
                while view:
                    view = view[os.write(self._descriptor, view) :]


class _Forward(logging.Handler):
    """Sends messages of the log to the parent."""

    def __init__(self, channel: _Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send a message."""
        with suppress(OSError):
            message = record.getMessage()
            self._channel.send({"kind": "log", "name": record.name, "level": record.levelno, "text": message})


def _report_progress(channel: _Channel, parent: int, exceeds: Callable[[], bool]) -> None:
    """Send a message whenever packets were read since the last one.

    End the process if its parent is gone, or if it has taken too much memory.
    """
    seen = limits.progress.packets
    while True:
        time.sleep(BEAT)
        if os.getppid() != parent:
            os._exit(1)
        if exceeds():
            os._exit(OUT_OF_MEMORY)
        if limits.progress.packets != seen:
            seen = limits.progress.packets
            with suppress(OSError):
                channel.send({"kind": "alive"})


def _limit_memory(memory: int) -> bool:
    """Limit the data of this process, where the system can do that; return whether it can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        status = dict(line.split(":", 1) for line in lines)
        limit = int(status["VmData"].split()[0]) * 1024 + memory
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        return True
    return False


def _watch_memory(memory: int) -> Callable[[], bool]:
    """Return a function that tells whether this process has taken more memory than it may, for macOS and Windows."""
    try:
        import resource
    except ImportError:
        return _watch_working_set(memory)
    unit = 1 if sys.platform == "darwin" else 1024
    limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit + memory
    return lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit > limit


def _watch_working_set(memory: int) -> Callable[[], bool]:
    """Do the same on Windows, by psutil; without it nothing is watched."""
    with suppress(ImportError):
        import psutil

        process = psutil.Process()
        limit = process.memory_info().rss + memory
        return lambda: bool(process.memory_info().rss > limit)
    return lambda: False
