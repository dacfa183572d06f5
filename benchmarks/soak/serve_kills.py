"""A service under load, killed (SIGKILL) again and again while it is searched and indexes.

Clients search without pause and a job indexes a folder, until the process of the service is killed at a random moment.
It is started again on the same folders: the job must still be there, and a search must find the moments that it found
before, in the same order; only moments of videos that the job added may stand between them, and displace the last ones.
It is killed again, until the job has ended or was interrupted `EACH` times. Then the index must be sound and hold every
video once, and the next job begins with the index of the beginning.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Container, Sequence
from http.client import HTTPException
from pathlib import Path

import numpy as np

from benchmarks.common import harness
from benchmarks.soak.serve_soak import ADDED, CLIENTS, KNOWN, Queries, Service, build
from mova.search.index import Index

KILLS, QUICK = 100, 2
EACH = 5
"""Kills during one job."""
ASKED = "A red star moves left."
LATEST = 6.0
"""Seconds after which the service is killed at the latest."""
PATIENCE = 600.0
Found = tuple[str, float]
BAD = ("jobs lost", "jobs that did not end", "videos missing or twice", "damaged", "searches that changed")


def load(service: Service, queries: Queries, ended: threading.Event, counts: Counter[str]) -> None:
    """Search without pause until the service is gone."""
    while not ended.is_set():
        try:
            service.ask("/search", {"query": next(queries)})
            counts["searches"] += 1
        except (OSError, ValueError, HTTPException):
            if not ended.is_set():
                counts["failed before the kill"] += 1
            return


def begin(folder: Path, kept: Path) -> tuple[Service, str]:
    """Start a service with the index of the beginning, and a job in it.

    Args:
        folder: of the films; its index is replaced.
        kept: the index of some of the films.
    """
    shutil.rmtree(folder / "index.serve", ignore_errors=True)
    shutil.rmtree(folder / "index", ignore_errors=True)
    shutil.copytree(kept, folder / "index")
    service = Service(folder)
    inside = service.ask("/folders")["folders"][0]["id"]
    more = next(row for row in service.ask(f"/folders?inside={inside}")["folders"] if row["name"] == "more")
    return service, str(service.ask("/jobs", {"folder": more["id"]})["id"])


def state_of(service: Service, job: str) -> str:
    """Return the state of a job; empty if the service does not know it."""
    return next((str(row["state"]) for row in service.ask("/jobs")["jobs"] if row["id"] == job), "")


def changed(before: Sequence[Found], after: Sequence[Found], old: Container[str]) -> bool:
    """Return whether an answer differs from an earlier one by more than moments of videos that were added.

    Args:
        before: the video and the start of each moment.
        after: the same later.
        old: names of the videos that both answers are about.
    """
    kept = [moment for moment in after if moment[0] in old]
    return len(after) < len(before) or kept != list(before[: len(kept)])


def kill(service: Service, seconds: float, queries: Queries, counts: Counter[str]) -> None:
    """Kill a service after some seconds of load."""
    ended = threading.Event()
    threads = [threading.Thread(target=load, args=(service, queries, ended, counts)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    ended.set()
    service.stop(signal.SIGKILL)
    for thread in threads:
        thread.join()
    counts["killed"] += 1


def kill_during_a_job(
    folder: Path, kept: Path, rng: np.random.Generator, most: int, queries: Queries, counts: Counter[str]
) -> None:
    """Kill a service up to `most` times while it does one job, and examine what is left."""
    service, job = begin(folder, kept)
    before = service.found(ASKED)
    old = {Path(record.path).name for record in Index(kept).videos()}
    for _ in range(most):
        kill(service, rng.uniform(0, LATEST), queries, counts)
        service = Service(folder)
        state = state_of(service, job)
        counts["jobs lost"] += not state
        counts["searches that changed"] += changed(before, service.found(ASKED), old)
        counts["job not done after the kill"] += state != "done"
        if state in ("", "done"):
            break
    deadline = time.monotonic() + PATIENCE
    while (state := state_of(service, job)) in {"queued", "running"} and time.monotonic() < deadline:
        time.sleep(0.2)
    counts["jobs that did not end"] += state != "done"
    counts["stops that were not clean"] += service.stop() not in {0, -signal.SIGTERM, 128 + signal.SIGTERM}
    index = Index(folder / "index")
    counts["videos missing or twice"] += abs(KNOWN + ADDED - len(index))
    counts["damaged"] += bool(index.verify().problems)
    counts["jobs compared"] += 1


def main() -> None:
    """Kill, restart, compare; print and record."""
    args = harness.arguments(__doc__)
    report = harness.Report("serve_kills", [args.seed])
    rng, queries = np.random.default_rng(args.seed), Queries()
    counts: Counter[str] = Counter(dict.fromkeys(("killed", "searches", *BAD, "stops that were not clean"), 0))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    kills = QUICK if args.quick else KILLS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "service"
        build(folder, args.seed)
        kept = Path(shutil.copytree(folder / "index", Path(name) / "kept"))
        while counts["killed"] < kills:
            kill_during_a_job(folder, kept, rng, min(EACH, kills - counts["killed"]), queries, counts)
    report.row(name="kills", **counts)
    lost = sum(counts[key] for key in (*BAD, "stops that were not clean"))
    report.claim("after every kill: index and jobs intact, searches as before", lost, 0, lost == 0)
    report.finish()


if __name__ == "__main__":
    main()
