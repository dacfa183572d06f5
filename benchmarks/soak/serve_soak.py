"""The memory of a service over many requests. Its kills are counted by `serve_kills`.

Clients search (no text twice), align, and look at pictures and curves; the resident memory of the service is read every
few seconds. The first part of the time, in which caches fill, does not count.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import harness
from benchmarks.speed.serve import resident, texts
from mova.search.index import Index
from mova.worlds.writer import write_worlds

MINUTES, QUICK_MINUTES = 10.0, 0.4
CLIENTS = 4
KNOWN, ADDED, SECONDS = 4, 6, 30
WARM = 0.2
"""Part of the time in which memory may grow."""
EVERY = 5.0
MOST_GROWTH = 1.1


class Service:
    """`mova serve` in a process of its own.

    Args:
        folder: holds the index, `index`, the films, and the state of the service.
    """

    def __init__(self, folder: Path) -> None:
        words = ["serve", "--index", str(folder / "index"), "--port", "0", "--folder", str(folder)]
        self.process = subprocess.Popen([sys.executable, "-m", "mova", *words], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        if "mova is at" not in line:
            raise RuntimeError(line + self.process.stderr.read())
        self.address = f"{line.split()[-1]}api/v1"
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        while self.ask("/health")["model_state"] != "ready":
            time.sleep(0.1)

    def ask(self, path: str, body: Any = None) -> Any:
        """Send a request; return the document, or the bytes of a picture."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            content = answer.read()
            return json.loads(content) if "json" in answer.headers["Content-Type"] else content

    def found(self, text: str) -> list[tuple[str, float]]:
        """Return the best moments for a text."""
        rows = self.ask("/search", {"query": text})["results"]
        return [(row["video"]["name"], row["start"]) for row in rows]

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> int:
        """End the service; return the exit code."""
        self.process.send_signal(sent)
        return self.process.wait(timeout=60)


class Queries:
    """Texts, all different, for several threads."""

    def __init__(self) -> None:
        self._lock, self._source = threading.Lock(), texts()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        with self._lock:
            return next(self._source)


def build(folder: Path, seed: int) -> None:
    """Write an index of a few films, and a folder of more."""
    write_worlds(folder / "films", KNOWN, SECONDS, "flat", seed=seed)
    write_worlds(folder / "more", ADDED, SECONDS, "flat", seed=seed + 1)
    Index(folder / "index", "mova-worlds-tiny").add([folder / "films"])


def soak(folder: Path, minutes: float, queries: Queries) -> tuple[list[float], Counter[str]]:
    """Use a service for some minutes; return its memory in MB over time, and counts of requests."""
    service, counts, ended = Service(folder), Counter[str](), threading.Event()
    videos = service.ask("/videos")["videos"]

    def client(number: int) -> None:
        for turn in itertools.count():
            if ended.is_set():
                return
            video = videos[(number + turn) % len(videos)]
            text = next(queries)
            try:
                page = service.ask("/search", {"query": text})
                service.ask(page["results"][0]["thumbnail"].removeprefix("/api/v1"))
                if turn % 5 == 0:
                    service.ask(f"/videos/{video['id']}/relevance?q=star")
                    service.ask(f"/videos/{video['id']}/align", {"text": f"{text} Then a blue ring grows."})
                counts["rounds"] += 1
            except (OSError, ValueError, LookupError):
                counts["failed"] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    memory = []
    deadline = time.monotonic() + 60 * minutes
    while time.monotonic() < deadline:
        time.sleep(min(EVERY, max(0.1, deadline - time.monotonic())))
        memory.append(resident(service.process.pid))
    ended.set()
    for thread in threads:
        thread.join()
    service.stop()
    return memory, counts


def main() -> None:
    """Measure memory; print and record."""
    args = harness.arguments(__doc__)
    report = harness.Report("serve_soak", [args.seed])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    minutes = QUICK_MINUTES if args.quick else MINUTES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "service"
        build(folder, args.seed)
        memory, requests = soak(folder, minutes, Queries())
    warm = memory[int(WARM * len(memory)) :]
    part = max(1, len(warm) // 4)
    start, end = float(np.median(warm[:part])), float(np.median(warm[-part:]))
    report.row(name="memory", minutes=minutes, **requests, megabytes_first=memory[0], megabytes_warm=start)
    report.row(name="memory at the end", megabytes_end=end, megabytes_highest=max(memory))
    growth = end / start
    report.claim(
        "memory: the last quarter as a multiple of the first, once warm", growth, MOST_GROWTH, growth <= MOST_GROWTH
    )
    report.claim("requests that failed", requests["failed"], 0, requests["failed"] == 0)
    report.finish()


if __name__ == "__main__":
    main()
