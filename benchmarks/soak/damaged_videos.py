"""Damaged videos by the thousand: through probe, stream, samples and the index, with no traceback and no hang.

A child process reads the mutants one after another: it describes each, streams all frames, samples at a rate, reads
random times, and N frames. It writes a line before and after each step. The parent ends it if a step takes too long or
too much memory, and starts another one behind that mutant. The same mutants are then indexed by the command line in
batches. Every mutant must be indexed or reported, and nothing may escape but a `VideoError`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.common import harness
from benchmarks.common.mutants import write_mutants, write_seeds

MUTANTS, QUICK = 5000, 240
BATCH = 500
"""Files indexed by one command."""
STEP_LIMIT = 30.0
"""Seconds of one step of one file."""
MEMORY_LIMIT = 2e9
"""Bytes of resident memory of the process that reads, or of a command with its decoders."""
STEPS = ("probe", "stream", "rate", "times", "count")


def child(folder: str, first: str, seed: str) -> None:
    """Read the files of a folder from position `first` on; print one JSON line per step."""
    for number, path in enumerate(sorted(Path(folder).iterdir())):
        if number < int(first):
            continue
        for step in STEPS:
            print(json.dumps({"file": number, "step": step}), flush=True)
            began = time.perf_counter()
            outcome = _outcome(step, path, np.random.default_rng([int(seed), number]))
            print(json.dumps({"outcome": outcome, "seconds": time.perf_counter() - began}), flush=True)


def _outcome(step: str, path: Path, rng: np.random.Generator) -> str:
    """Run a step, and return "read", "refused", or the name of an error that escaped."""
    from mova.errors import VideoError
    from mova.video.probe import probe
    from mova.video.reader import read_count, read_times, stream

    try:
        if step == "probe":
            probe(path)
        elif step == "stream":
            for _ in stream(path, fps=None, short_side=16, threads=1):
                pass
        elif step == "rate":
            for _ in stream(path, fps=2.0, short_side=16, threads=1):
                pass
        elif step == "times":
            read_times(path, np.sort(rng.uniform(0, probe(path).duration, 3)), short_side=16, threads=1)
        else:
            read_count(path, 4, short_side=16, threads=1)
    except VideoError:
        return "refused"
    except Exception as error:  # noqa: BLE001 - the error that escapes is the result
        return f"{type(error).__name__}: {error}"[:200]
    return "read"


class Reader:
    """Runs `child` over all files, and ends it where it stands still or takes too much memory."""

    def __init__(self, folder: Path, total: int, seed: int) -> None:
        self.folder, self.total, self.seed = folder, total, seed
        self.outcomes: Counter[str] = Counter()
        self.escaped: list[dict[str, Any]] = []
        self.peak = 0.0
        self.slowest = 0.0

    def run(self) -> None:
        """Read all files."""
        position = 0
        while position < self.total:
            position = self._run_from(position)

    def _run_from(self, first: int) -> int:
        """Read from a position on; return the position of the first file that was not read."""
        command = [sys.executable, "-c", _CALL, str(self.folder), str(first), str(self.seed)]
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.DEVNULL, env=_environment())
            watched = psutil.Process(process.pid)
            read, cause, changed, memory = 0, "", time.monotonic(), 0
            while process.poll() is None and not cause:
                time.sleep(0.05)
                size = os.fstat(log.fileno()).st_size
                now = time.monotonic()
                if size != read:
                    read, changed = size, now
                elif now - changed > STEP_LIMIT:
                    cause = "hangs"
                try:
                    memory = watched.memory_info().rss
                except psutil.Error:
                    continue
                self.peak = max(self.peak, memory)
                if memory > MEMORY_LIMIT:
                    cause = "takes too much memory"
            if cause:
                process.kill()
            code = process.wait()
            log.seek(0)
            return self._count(log.read().splitlines(), first, cause or f"ends the process ({code})")

    def _count(self, lines: list[str], first: int, cause: str) -> int:
        """Add the lines of a child; return the position behind its last file."""
        current: dict[str, Any] = {"file": first, "step": STEPS[0]}  # a child without lines ended before its first file
        finished = False
        for line in lines:
            row = json.loads(line)
            if "step" in row:
                current, finished = row, False
                continue
            finished = True
            self.slowest = max(self.slowest, row["seconds"])
            known = row["outcome"] in ("read", "refused")
            self.outcomes[f"{current['step']} {row['outcome']}" if known else "escaped"] += 1
            if not known:
                self.escaped.append(current | row)
        if not finished:
            self.outcomes[cause.split(" (")[0]] += 1
            self.escaped.append(current | {"outcome": cause})
        return int(current["file"]) + 1


_CALL = "import sys; from benchmarks.soak.damaged_videos import child; child(*sys.argv[1:])"


def _environment() -> dict[str, str]:
    paths = os.pathsep.join([str(harness.ROOT), str(harness.ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


def index_all(files: list[Path], folder: Path) -> Counter[str]:
    """Index files in batches by the command line; return counts of outcomes."""
    counts: Counter[str] = Counter()
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        words = ["index", *map(str, batch), "--index", str(folder / "index"), "--model", "mova-worlds-tiny", "--json"]
        process = subprocess.Popen(
            [sys.executable, "-m", "mova", *words],
            stdout=(folder / "out.json").open("w"),
            stderr=(folder / "err.txt").open("w"),
            env=_environment(),
        )
        counts["peak memory, MB"] = max(counts["peak memory, MB"], int(_watch(process) / 1e6))
        text = (folder / "err.txt").read_text(encoding="utf-8", errors="replace")
        counts["tracebacks"] += text.count("Traceback")
        try:
            report = json.loads((folder / "out.json").read_text(encoding="utf-8"))
        except ValueError:
            counts["runs without a report"] += 1
            continue
        named = {row["path"] for row in report["failed"]}
        named |= {path for key in ("indexed", "unchanged", "moved") for path in report[key]}
        counts["indexed"] += len(report["indexed"])
        counts["reported"] += len(report["failed"])
        counts["not accounted for"] += sum(str(path.resolve()) not in named for path in batch)
    return counts


def _watch(process: subprocess.Popen[bytes]) -> float:
    """Wait for a command; return the largest resident memory of it or of one of its children, in bytes."""
    peak = 0.0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        time.sleep(0.2)
        try:
            peak = max(peak, *(p.memory_info().rss for p in (watched, *watched.children(recursive=True))))
        except psutil.Error:
            continue
    return peak


def main() -> None:
    """Damage, read, index; print and record the counts."""
    args = harness.arguments(__doc__)
    count = QUICK if args.quick else MUTANTS
    report = harness.Report("damaged_videos", [args.seed])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "seeds").mkdir()
        (folder / "mutants").mkdir()
        seeds = write_seeds(folder / "seeds", args.seed)
        files = sorted(write_mutants(seeds, folder / "mutants", count, args.seed))
        reader = Reader(folder / "mutants", len(files), args.seed)
        reader.run()
        indexed = index_all(files, folder)
    for outcome, number in sorted((reader.outcomes + indexed).items()):
        report.row(name=outcome, count=number)
    report.row(name="seed videos", count=len(seeds))
    report.row(name="mutants", count=len(files))
    for row in reader.escaped[:50]:
        report.row(name=f"{files[row['file']].name}: {row['step']}: {row['outcome']}", count=1)
    escaped = reader.outcomes["escaped"] + reader.outcomes["ends the process"] + indexed["tracebacks"]
    memory = max(reader.peak, indexed["peak memory, MB"] * 1e6)
    report.claim("at least 20 kinds of seed videos", len(seeds), 20, len(seeds) >= 20)
    report.claim("no error escapes and no process ends", escaped, 0, escaped == 0)
    report.claim("no step takes longer than its limit", reader.outcomes["hangs"], 0, not reader.outcomes["hangs"])
    report.claim("memory stays below 2 GB", round(memory / 1e9, 2), 2.0, memory < MEMORY_LIMIT)
    missing = indexed["not accounted for"] + indexed["runs without a report"]
    report.claim("every file is indexed or reported", missing, 0, missing == 0)
    report.finish()


if __name__ == "__main__":
    main()
