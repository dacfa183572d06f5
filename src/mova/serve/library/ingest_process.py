"""The process that indexes for `mova.serve.library.jobs`: orders come on standard input, events go to standard output.

Events are lines of JSON. The process ends itself when its service is gone; the index is sound at every moment, and the
next run continues.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from mova.errors import MovaError
from mova.search.index import Index

STOPPED = 3
"""Exit code after the job was cancelled."""
PATIENCE = 5.0
"""Seconds in which it should end by itself once it reads; the index is sound at any moment."""
EVERY = 0.25
"""Seconds between two reports of progress."""


class Stopped(BaseException):
    """The job was cancelled, or the service is gone."""


class _Orders:
    """What the service wants now; read by a thread of its own."""

    def __init__(self) -> None:
        self.running = threading.Event()
        self.running.set()
        self.stopped = self.reads = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            if line.strip() == "pause":
                self.running.clear()
            elif line.strip() == "resume":
                self.running.set()
            else:
                break
        self.stopped = True
        self.running.set()
        if self.reads:  # before, while libraries and the model are loaded, there is nothing to finish
            time.sleep(PATIENCE)
        os._exit(STOPPED)

    def check(self) -> None:
        """Wait while paused.

        Raises:
            Stopped: the job was cancelled, or the service is gone.
        """
        self.reads = True
        self.running.wait()
        if self.stopped:
            raise Stopped


def main(words: list[str]) -> int:
    """Index folders, or everything that the index was made from.

    Args:
        words: index, model (empty: that of the index), and paths; without paths the whole index is updated.
    """
    os.nice(5)
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not reach the channel
    index, model, *paths = words
    orders = _Orders()
    last = 0.0

    def send(event: dict[str, Any]) -> None:
        channel.write(json.dumps(event) + "\n")
        channel.flush()

    def progress(path: str, done: float, total: float) -> None:
        """Follow orders, and send how far the work is, now and then."""
        nonlocal last
        orders.check()
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            send({"event": "progress", "path": path, "done": done, "total": total})

    try:
        store = Index(index, model or None)
        report = store.add(paths, progress=progress) if paths else store.update(progress=progress)
    except Stopped:
        return STOPPED
    except MovaError as error:
        send({"event": "error", "message": str(error)})
        return 1
    send({"event": "report", **report.to_json()})
    return 0
