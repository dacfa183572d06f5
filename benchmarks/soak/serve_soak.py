"""A service under load: killed (SIGKILL) while it is searched and indexes, and its memory over many requests.

Kills: clients search without pause and a job indexes a folder, until the process of the service is killed at a random
moment. It is started again on the same folders. The job must still be there and end, the index must be sound and hold
every video once, and a search must find what it found before. Every kill begins with the same index.

Memory: clients search (no text twice), align, and look at pictures and curves; the resident memory of the service is
read every few seconds. The first part of the time, in which caches fill, does not count.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
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

KILLS, QUICK_KILLS = 4, 1
MINUTES, QUICK_MINUTES = 10.0, 0.4
CLIENTS = 4
KNOWN, ADDED, SECONDS = 4, 6, 30
ASKED = "A red star moves left."
LATEST = 8.0
"""Seconds after which the service is killed at the latest."""
WARM = 0.2
"""Part of the time in which memory may grow."""
EVERY = 5.0
PATIENCE = 600.0
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


def load(service: Service, queries: Queries, ended: threading.Event, counts: Counter[str]) -> None:
    """Search without pause until the service is gone."""
    while not ended.is_set():
        try:
            service.ask("/search", {"query": next(queries)})
            counts["searches"] += 1
        except (OSError, ValueError):
            if not ended.is_set():
                counts["failed before the kill"] += 1
            return


def kill_once(folder: Path, kept: Path, rng: np.random.Generator, queries: Queries, counts: Counter[str]) -> None:
    """Kill a service under load, start it again, and examine what is left.

    Args:
        folder: of the films; its index is replaced by `kept` first.
        kept: the index of some of the films.
        rng: draws the moment.
        queries: what is searched for.
        counts: what happened.
    """
    shutil.rmtree(folder / "index.serve", ignore_errors=True)
    shutil.rmtree(folder / "index", ignore_errors=True)
    shutil.copytree(kept, folder / "index")
    service = Service(folder)
    before = service.found(ASKED)
    inside = service.ask("/folders")["folders"][0]["id"]
    more = next(row for row in service.ask(f"/folders?inside={inside}")["folders"] if row["name"] == "more")
    job = service.ask("/jobs", {"folder": more["id"]})["id"]
    ended = threading.Event()
    threads = [threading.Thread(target=load, args=(service, queries, ended, counts)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(rng.uniform(0.5, LATEST))
    state = next(row["state"] for row in service.ask("/jobs")["jobs"] if row["id"] == job)
    counts[f"job {state} at the kill"] += 1
    ended.set()
    service.stop(signal.SIGKILL)
    for thread in threads:
        thread.join()
    counts["killed"] += 1
    again = Service(folder)
    jobs = {row["id"]: row for row in again.ask("/jobs")["jobs"]}
    counts["jobs lost"] += job not in jobs
    counts["searches that changed"] += not set(before) & set(again.found(ASKED))
    deadline = time.monotonic() + PATIENCE
    while job in jobs and jobs[job]["state"] in {"queued", "running"} and time.monotonic() < deadline:
        time.sleep(0.2)
        jobs = {row["id"]: row for row in again.ask("/jobs")["jobs"]}
    counts["jobs that did not end"] += job in jobs and jobs[job]["state"] != "done"
    counts["stops that were not clean"] += again.stop() not in {0, -signal.SIGTERM, 128 + signal.SIGTERM}
    index = Index(folder / "index")
    counts["videos missing or twice"] += abs(KNOWN + ADDED - len(index))
    counts["damaged"] += bool(index.verify().problems)


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
    """Kill, restart, compare; then measure memory; print and record."""
    args = harness.arguments(__doc__)
    report = harness.Report("serve_soak", [args.seed])
    rng, counts = np.random.default_rng(args.seed), Counter[str]()
    queries = Queries()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "service"
        build(folder, args.seed)
        kept = shutil.copytree(folder / "index", Path(name) / "kept")
        for _ in range(QUICK_KILLS if args.quick else KILLS):
            kill_once(folder, kept, rng, queries, counts)
        minutes = QUICK_MINUTES if args.quick else MINUTES
        memory, requests = soak(folder, minutes, queries)
    report.row(name="kills", **counts)
    warm = memory[int(WARM * len(memory)) :]
    part = max(1, len(warm) // 4)
    start, end = float(np.median(warm[:part])), float(np.median(warm[-part:]))
    report.row(name="memory", minutes=minutes, **requests, megabytes_first=memory[0], megabytes_warm=start)
    report.row(name="memory at the end", megabytes_end=end, megabytes_highest=max(memory))
    bad = ("jobs lost", "jobs that did not end", "videos missing or twice", "damaged", "searches that changed")
    lost = sum(counts[key] for key in (*bad, "stops that were not clean"))
    report.claim("after every kill: index and jobs intact, searches as before", lost, 0, lost == 0)
    growth = end / start
    report.claim(
        "memory: the last quarter as a multiple of the first, once warm", growth, MOST_GROWTH, growth <= MOST_GROWTH
    )
    report.claim("requests that failed", requests["failed"], 0, requests["failed"] == 0)
    report.finish()


if __name__ == "__main__":
    main()
