"""Processor time of whole commands on a small index, beside that of `python -c "import torch"` in the same run.

Every command is a new process. Its time is user and system time, children included, of the fastest of several rounds.
With a service that runs for the index, the time from start to end counts, too: the service does a part of the work.
The search by the model and the tables is what every search was before there were snapshots and exported text towers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.common import harness
from mova.search.cold.service import NAME
from mova.search.index import Index
from mova.worlds.writer import write_worlds

QUERY = ("a", "red", "star", "moves", "left")
BY_MODEL = """
import json
import sys
import mova.cli.main
from mova.search.index import Index
from mova.search.storage.store import Store
index = Index(sys.argv[1])
index.model
index._reader = lambda: Store(sys.argv[1])
print(json.dumps([moment.to_json() for moment in index.search(sys.argv[2], rescore="none")]))
"""
MISSING = "mova search, no such index"
DIGITS = 3
"""Digits of scores that are compared: vectors are stored in half precision, and the text tower is another program."""
MOST = 1.0
"""Processor seconds that a command may take."""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(harness.ROOT / "src"), "HF_HUB_OFFLINE": "1"}
ASKED = "mova search, a service runs"
MOST_ASKED = 0.3
"""Seconds that a search by a service may take."""
START_SECONDS = 60.0
"""Time in which the service must start."""


def _moments(rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["video"], row["start"], row["end"], round(row["score"], DIGITS)) for row in rows]


def measure(words: Sequence[str], rounds: int, code: int = 0) -> tuple[float, str]:
    """Return the least processor seconds of a process, and its output.

    Raises:
        RuntimeError: the exit code is another one than expected, so that the time says nothing.
    """
    best, _, output = measure_both(words, rounds, code)
    return best, output


def measure_both(words: Sequence[str], rounds: int, code: int = 0) -> tuple[float, float, str]:
    """Return the least processor seconds of a process, the least seconds from start to end, and its output.

    Raises:
        RuntimeError: see `measure`.
    """
    best, elapsed, output = float("inf"), float("inf"), ""
    for _ in range(rounds):
        before = os.times()
        done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, check=False)
        after = os.times()
        if done.returncode != code:
            raise RuntimeError(f"{' '.join(words)}: exit code {done.returncode}, not {code}: {done.stderr[-500:]}")
        used = after.children_user - before.children_user + after.children_system - before.children_system
        best, elapsed, output = min(best, used), min(elapsed, after.elapsed - before.elapsed), done.stdout
    return best, elapsed, output


@contextmanager
def service(mova: Sequence[str], index: Path) -> Iterator[None]:
    """Run `mova serve` inside the block.

    Raises:
        RuntimeError: it does not start.
    """
    process = subprocess.Popen(
        [*mova, "serve", "--index", str(index), "--port", "0"], env=ENVIRONMENT, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + START_SECONDS
        while not (index / NAME).exists():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("mova serve does not start")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Measure all commands."""
    args = harness.arguments(__doc__)
    rounds = 2 if args.quick else 5
    report = harness.Report("command", seeds=[args.seed])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        films = write_worlds(folder / "films", 12, 20, "flat", seed=args.seed).parent
        index = folder / "index"
        Index(index, "mova-worlds-tiny").add([films])
        mova = [sys.executable, "-m", "mova"]
        torch, _ = measure([sys.executable, "-c", "import torch"], rounds)
        report.row(name="import torch", seconds=torch, ratio=1.0)
        commands = {
            "mova search": [*mova, "search", *QUERY, "--index", str(index), "--json", "--rescore", "none"],
            "mova index, nothing new": [*mova, "index", str(films), "--index", str(index)],
            "mova status": [*mova, "status", "--index", str(index)],
            "mova models": [*mova, "models"],
            "mova --help": [*mova, "--help"],
            MISSING: [*mova, "search", "x", "--index", str(folder / "nothing")],
        }
        outputs: dict[str, str] = {}
        for label, words in commands.items():
            seconds, output = measure(words, rounds, code=2 if label == MISSING else 0)
            outputs[label] = output
            report.row(name=label, seconds=seconds, ratio=seconds / torch)
        slow, output = measure([sys.executable, "-c", BY_MODEL, str(index), " ".join(QUERY)], rounds)
        same = _moments(json.loads(outputs["mova search"])["results"]) == _moments(json.loads(output))
        report.claim("the cold search and the one by the model return the same moments", int(same), 1, same)
        report.row(name="the same search by the model and the tables", seconds=slow, ratio=slow / torch)
        with service(mova, index):
            measure(commands["mova search"], 1)  # the first search opens the files of the index
            seconds, elapsed, output = measure_both(commands["mova search"], rounds)
        report.row(name=ASKED, seconds=seconds, ratio=seconds / torch, elapsed_seconds=elapsed)
        same = json.loads(output)["results"] == json.loads(outputs["mova search"])["results"]
        report.claim("the service and the command without it return the same moments", int(same), 1, same)
        report.claim(f"{ASKED}: at most {MOST_ASKED:g} s from start to end", elapsed, MOST_ASKED, elapsed <= MOST_ASKED)
    rows = {row["name"]: row for row in report.rows}
    for label in commands:
        seconds = rows[label]["seconds"]
        report.claim(f"{label}: at most {MOST:g} s of processor time", seconds, MOST, seconds <= MOST)
    ratio = rows["mova search"]["ratio"]
    report.claim("a search takes less processor time than importing torch", ratio, 1.0, ratio < 1.0)
    report.finish()


if __name__ == "__main__":
    main()
