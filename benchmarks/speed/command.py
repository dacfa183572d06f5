"""Processor time of whole commands on a small index, beside that of `python -c "import torch"` in the same run.

Every command is a new process. Its time is user and system time, children included, of the fastest of several rounds.
The search by the model and the tables is what every search was before there were snapshots and exported text towers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import harness
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


def _moments(rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["video"], row["start"], row["end"], round(row["score"], DIGITS)) for row in rows]


def measure(words: Sequence[str], rounds: int, code: int = 0) -> tuple[float, str]:
    """Return the least processor seconds of a process, and its output.

    Raises:
        RuntimeError: the exit code is another one than expected, so that the time says nothing.
    """
    environment = {**os.environ, "PYTHONPATH": str(harness.ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    best, output = float("inf"), ""
    for _ in range(rounds):
        before = os.times()
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
        after = os.times()
        if done.returncode != code:
            raise RuntimeError(f"{' '.join(words)}: exit code {done.returncode}, not {code}: {done.stderr[-500:]}")
        used = after.children_user - before.children_user + after.children_system - before.children_system
        best, output = min(best, used), done.stdout
    return best, output


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
    rows = {row["name"]: row for row in report.rows}
    for label in commands:
        seconds = rows[label]["seconds"]
        report.claim(f"{label}: at most {MOST:g} s of processor time", seconds, MOST, seconds <= MOST)
    ratio = rows["mova search"]["ratio"]
    report.claim("a search takes less processor time than importing torch", ratio, 1.0, ratio < 1.0)
    report.finish()


if __name__ == "__main__":
    main()
