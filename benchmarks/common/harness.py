"""Shared code of all benchmarks: arguments, environment, timing, and the report of rows and claims.

Every benchmark prints a table and writes `benchmarks/results/NAME.json`, optionally with a picture of the same name.
The quick form writes `NAME-quick.json`, which is not tracked. Claims are computed in the same run as their numbers, and
kept if they are false.

A result names the version and the commit that made it (`environment.commit`). Results from before commits were recorded
name the commit that added them instead (`environment.recorded_in`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mova._version import __version__

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("mova", "torch", "transformers", "av", "lancedb", "numpy")


def arguments(doc: str | None) -> argparse.Namespace:
    """Parse `--quick` (a small form, under a minute) and `--seed` (another random draw)."""
    return plain_parser(doc).parse_args()


def result_name(study: str, model: str, usual: str = "mova-worlds-tiny") -> str:
    """Return the name of a study's results: its own for the usual model, with the model's for any other.

    >>> result_name("judge", "mova-worlds-tiny"), result_name("judge", "runs/mine")
    ('judge', 'judge-mine')
    """
    return study if model == usual else f"{study}-{Path(model).name}"


def plain_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return the parser of `--quick` and `--seed`."""
    parser = argparse.ArgumentParser(description=(doc or "").strip().split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small form that takes about a minute")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random draws; the first of several")
    return parser


def runs_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return the parser of a benchmark with many resumable runs: also `--seeds`, `--folder` and `--only-run`."""
    parser = plain_parser(doc)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--folder", type=Path, default=None, help="keep rendered data and finished runs here")
    parser.add_argument("--only-run", action="store_true", help="run the arms into the folder without writing results")
    return parser


def seeds_of(args: argparse.Namespace) -> list[int]:
    """Return the seeds to run; the quick form has one."""
    return list(range(args.seed, args.seed + (1 if args.quick else args.seeds)))


def finished(path: Path, run: Callable[[], Any]) -> Any:
    """Return the JSON of a run, and run it only if its file does not exist."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(run(), indent=1), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def seed_runs(args: argparse.Namespace, run: Callable[[int, bool], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `run(seed, quick)` of every seed with its `seconds`; finished runs are read from `--folder`."""

    def timed(seed: int) -> dict[str, Any]:
        began = time.perf_counter()
        return {**run(seed, args.quick), "seconds": time.perf_counter() - began}

    folder = args.folder or Path(tempfile.mkdtemp())
    suffix = "-quick" if args.quick else ""
    return [finished(folder / f"{seed}{suffix}.json", lambda s=seed: timed(s)) for seed in seeds_of(args)]


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """Return the processor time of the fastest round: other load can only slow a round down."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def resident(key: str) -> float:
    """Return `VmRSS` (current) or `VmHWM` (peak) of this process in MB."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(key))
    return int(line.split()[1]) / 1024


def costs(work: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Return the processor seconds of the fastest round, and the peak memory above the current level in MB.

    Run the work once at a small size beforehand, so that memory which libraries keep is already allocated.
    """
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    return {"seconds": seconds(work, rounds), "megabytes": resident("VmHWM") - before}


def in_subprocess(benchmark: str, *arguments: str) -> Any:
    """Run `child(*arguments)` of a module in a subprocess on one thread, and return the JSON that it prints."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", f"import sys; from {benchmark} import child; child(*sys.argv[1:])", *arguments]
    settings = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=settings).stdout)


def environment() -> dict[str, Any]:
    """Return the commit, versions and machine that produced a result."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "version": __version__,
        "commit": commit(ROOT),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": versions,
    }


def commit(folder: Path) -> str | None:
    """Return the git commit of a checkout, with "-dirty" if tracked files other than results have changed.

    None outside a checkout.
    """

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        head = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)benchmarks/results")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}-dirty" if changed else head


class Report:
    """Rows and claims of one run."""

    def __init__(self, name: str, seeds: Sequence[int]) -> None:
        self.name = name
        self.quick = "--quick" in sys.argv
        self.seeds = list(seeds)
        self.rows: list[dict[str, Any]] = []
        self.claims: list[dict[str, Any]] = []
        self._began = time.perf_counter()

    def row(self, **values: Any) -> None:
        """Add a row to the table."""
        self.rows.append(values)

    def claim(self, text: str, value: float, bound: float, holds: bool) -> None:
        """Add a claim; the caller computes `holds` from value and bound."""
        self.claims.append({"claim": text, "value": value, "bound": bound, "holds": bool(holds)})

    def finish(
        self,
        plot: Callable[[Any], None] | None = None,
        columns: Sequence[str] | None = None,
        seconds: float | None = None,
    ) -> Path:
        """Print the table and the claims, write the JSON and the picture, and return the path of the JSON.

        Args:
            plot: draws the picture into a figure, optional.
            columns: columns to print, of rows that have them all (default: all columns). The JSON has everything.
            seconds: duration of the whole run, if parts of it were finished before.
        """
        console = Console(width=None if sys.stdout.isatty() else 160)
        printed = columns or list(dict.fromkeys(key for row in self.rows for key in row))
        table = Table(title=self.name)
        for column in printed:
            table.add_column(column, justify="left" if column in ("name", "form") else "right")
        for row in self.rows:
            if columns is None or set(columns) <= set(row):
                table.add_row(*(_cell(row.get(column)) for column in printed))
        console.print(table)
        for claim in self.claims:
            mark = "holds" if claim["holds"] else "FAILS"
            console.print(f"{mark}: {claim['claim']} (value {_cell(claim['value'])}, bound {_cell(claim['bound'])})")
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}{'-quick' if self.quick else ''}.json"
        document = {
            "name": self.name,
            "quick": self.quick,
            "environment": environment(),
            "seeds": self.seeds,
            "seconds": round(time.perf_counter() - self._began if seconds is None else seconds, 1),
            "rows": self.rows,
            "claims": self.claims,
        }
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        if plot is not None:
            from matplotlib.figure import Figure

            figure = Figure(figsize=(8, 4.5), layout="constrained")
            plot(figure)
            figure.savefig(path.with_suffix(".png"), dpi=120)
        return path


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
