"""Concurrent searching clients of `mova serve`, beside the bare query and a process per query.

The service runs in a process of its own on an index of rendered videos, with the model that ships with mova. Clients
keep their connection and send the next query when they have the answer of the last; no query is sent twice. "The bare
query" is `Index.search` in one process, with the same number of moments. "A process per query" is `mova search` after
`mova search`. All are measured in the same run on the same machine, which the clients share with the service.
"""

from __future__ import annotations

import http.client
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import harness
from mova.search.index import Index
from mova.serve.finder import FEW
from mova.worlds.writer import write_worlds

FILMS, SECONDS = 40, 60
CLIENTS = 50
FACTOR = 5.0
"""Least throughput of many clients, as a multiple of that of a process per query."""
COLORS = ("red", "blue", "green", "yellow", "white", "black")
SHAPES = ("star", "ring", "square", "disc", "triangle", "cross")
ACTIONS = ("moves left", "moves right", "grows", "shrinks", "turns", "bounces")


FORMS = ("A {} and a {}.", "{}, {}", "A {} at the same time as a second {} there.")


def texts() -> Iterator[str]:
    """Return queries, all different, of different lengths."""
    things = [" ".join(words) for words in itertools.product(COLORS, SHAPES, ACTIONS)]
    for number, (first, second) in enumerate(itertools.product(things, repeat=2)):
        yield FORMS[number % len(FORMS)].format(first, second)


@contextmanager
def service(index: Path) -> Iterator[tuple[int, int]]:
    """Run `mova serve`; return its process id and port once it is ready."""
    words = ["serve", "--index", str(index), "--port", "0", "--state", str(index.parent / "state")]
    process = subprocess.Popen([sys.executable, "-m", "mova", *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    port = int(process.stderr.readline().strip().rstrip("/").rsplit(":", 1)[1])
    threading.Thread(target=process.stderr.read, daemon=True).start()
    try:
        while ask(port, "GET", "/health")["model_state"] != "ready":
            time.sleep(0.1)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(timeout=60)


def ask(port: int, method: str, path: str, body: Any = None, connection: Any = None) -> Any:
    """Send one request; return the document.

    Raises:
        RuntimeError: the answer is an error.
    """
    used = connection or http.client.HTTPConnection("localhost", port, timeout=300)
    used.request(method, f"/api/v1{path}", json.dumps(body) if body else None, {"Content-Type": "application/json"})
    answer = used.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: status {answer.status}: {content[:200]!r}")
    return json.loads(content)


def load(port: int, queries: Sequence[Sequence[str]]) -> dict[str, float]:
    """Let one client per sequence of queries search at the same time; return latencies and throughput."""
    seconds: list[float] = []
    failed: list[Exception] = []

    def client(own: Sequence[str]) -> None:
        connection = http.client.HTTPConnection("localhost", port, timeout=300)
        try:
            for text in own:
                began = time.perf_counter()
                ask(port, "POST", "/search", {"query": text}, connection)
                seconds.append(time.perf_counter() - began)
        except Exception as error:  # noqa: BLE001 - counted
            failed.append(error)

    threads = [threading.Thread(target=client, args=(own,)) for own in queries]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - began
    return {**latency(seconds), "per_second": len(seconds) / spent, "failed": float(len(failed))}


def latency(seconds: Sequence[float]) -> dict[str, float]:
    """Return percentiles in milliseconds."""
    return {f"p{share}_ms": 1000 * float(np.percentile(seconds, share)) for share in (50, 99)}


def one_by_one(work: Callable[[str], object], queries: Sequence[str]) -> dict[str, float]:
    """Return latencies and throughput of queries after each other."""
    seconds = []
    for text in queries:
        began = time.perf_counter()
        work(text)
        seconds.append(time.perf_counter() - began)
    return {**latency(seconds), "per_second": len(queries) / sum(seconds), "failed": 0.0}


def cold(index: Path, text: str) -> None:
    """Search in a process of its own."""
    words = ["search", text, "--index", str(index), "--json", "--rescore", "none", "-k", "24"]
    subprocess.run([sys.executable, "-m", "mova", *words], check=True, capture_output=True)


def main() -> None:
    """Measure, compare, and record."""
    args = harness.arguments(__doc__)
    rounds = 3 if args.quick else 20
    report = harness.Report("serve", seeds=[args.seed])
    source = texts()

    def take(count: int) -> list[str]:
        return list(itertools.islice(source, count))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        films = write_worlds(folder / "films", 8 if args.quick else FILMS, SECONDS, "flat", seed=args.seed).parent
        made = Index(folder / "index", "mova-worlds-tiny")
        made.add([films])
        bare = Index(folder / "index")
        bare.search(take(1)[0])
        rows = {
            "a process per query": one_by_one(lambda text: cold(folder / "index", text), take(max(5, rounds))),
            "the bare query": one_by_one(lambda text: bare.search(text, k=FEW), take(10 * rounds)),
        }
        with service(folder / "index") as (pid, port):
            load(port, [take(3)])
            rows["1 client"] = load(port, [take(5 * rounds)])
            before = batches(port)
            rows[f"{CLIENTS} clients"] = load(port, [take(rounds) for _ in range(CLIENTS)])
            taken = CLIENTS * rounds / max(1, batches(port) - before)
            memory = resident(pid)
    for label, row in rows.items():
        report.row(name=label, **row)
    report.row(name="memory of the service at the end", megabytes=memory)
    report.row(name=f"{CLIENTS} clients: searches per batch", count=taken)
    many, alone = rows[f"{CLIENTS} clients"], rows["1 client"]
    ratio = many["per_second"] / rows["a process per query"]["per_second"]
    report.claim("50 clients: throughput as a multiple of a process per query", ratio, FACTOR, ratio >= FACTOR)
    gain = many["per_second"] / alone["per_second"]
    report.claim("50 clients together get more answers per second than one client", gain, 1.0, gain > 1)
    report.claim("50 clients: searches that failed", many["failed"], 0, many["failed"] == 0)
    share = alone["p50_ms"] / rows["the bare query"]["p50_ms"]
    report.claim("one client: p50 as a multiple of the bare query", share, 3.0, share <= 3)
    report.finish()


def batches(port: int) -> int:
    """Return the number of batches so far."""
    connection = http.client.HTTPConnection("localhost", port, timeout=60)
    connection.request("GET", "/api/v1/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    return int(next(float(line.split()[1]) for line in lines if line.startswith("mova_batches_total")))


def resident(pid: int) -> float:
    """Return the memory of a process in MB."""
    line = next(row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
