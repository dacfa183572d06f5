"""What all benchmarks share: arguments, the environment, a table of ratios, and the JSON that records them.

Every benchmark prints a table, writes `benchmarks/results/NAME.json` and, where it has one, a picture beside it; the
quick form writes `NAME-quick.json`, which is not kept.
A claim is computed in the same run as its figures, and kept where it is false.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("mova", "torch", "transformers", "av", "lancedb", "numpy")


def arguments(doc: str | None) -> argparse.Namespace:
    """Parse `--quick` (a small form, under a minute) and `--seed` (another draw)."""
    return _parser(doc).parse_args()


def _parser(doc: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(doc or "").strip().split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small form in about a minute")
    parser.add_argument("--seed", type=int, default=0, help="another draw of whatever is random; the first of several")
    return parser


def runs_parser(doc: str | None) -> argparse.ArgumentParser:
    """For a benchmark of many runs, which can be stopped and go on: `--seeds`, `--folder` and `--only-run` too."""
    parser = _parser(doc)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--folder", type=Path, default=None, help="keep what was rendered and finished here")
    parser.add_argument("--only-run", action="store_true", help="run arms into the folder, write no results")
    return parser


def seeds_of(args: argparse.Namespace) -> list[int]:
    """The seeds that a parsed command names; the quick form has one."""
    return list(range(args.seed, args.seed + (1 if args.quick else args.seeds)))


def finished(path: Path, run: Callable[[], Any]) -> Any:
    """The JSON of a run, which is only made where its file is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(run(), indent=1), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """Processor time of the best round: other work on the machine only ever slows one down."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def resident(key: str) -> float:
    """MB of `VmRSS` (now) or `VmHWM` (peak) of this process."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(key))
    return int(line.split()[1]) / 1024


def costs(work: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Processor seconds of the best round, and MB of the peak above what is resident now.

    Do the work once in small beforehand: what libraries keep for good should be there already.
    """
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    return {"seconds": seconds(work, rounds), "megabytes": resident("VmHWM") - before}


def apart(benchmark: str, *given: str) -> Any:
    """Run `child(*given)` of a module in a process of its own, on one thread, and return the JSON that it prints."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", f"import sys; from {benchmark} import child; child(*sys.argv[1:])", *given]
    settings = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=settings).stdout)


def environment() -> dict[str, Any]:
    """Versions and machine, as far as they explain a figure."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": versions,
    }


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
        """Add one line of the table."""
        self.rows.append(values)

    def claim(self, text: str, value: float, bound: float, holds: bool) -> None:
        """Add a claim; `holds` is computed by the caller from value and bound."""
        self.claims.append({"claim": text, "value": value, "bound": bound, "holds": bool(holds)})

    def finish(
        self,
        plot: Callable[[Any], None] | None = None,
        columns: Sequence[str] | None = None,
        seconds: float | None = None,
    ) -> Path:
        """Print the table and the claims, write the JSON and the picture, and return the JSON's path.

        `columns` are those that the table shows, of rows that have them all; the JSON holds everything. `seconds` are
        those of the whole run where parts of it were finished before.
        """
        console = Console(width=None if sys.stdout.isatty() else 160)
        shown = columns or list(dict.fromkeys(key for row in self.rows for key in row))
        table = Table(title=self.name)
        for column in shown:
            table.add_column(column, justify="left" if column in ("name", "form") else "right")
        for row in self.rows:
            if columns is None or set(columns) <= set(row):
                table.add_row(*(_cell(row.get(column)) for column in shown))
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
