"""A drive that becomes read-only while it is written to; `disturbances` leaves it out, as it needs the right to mount.

An index has some films, and a child process adds others. At a random moment another mount covers the folder of the
index, on which nothing can be opened for writing, made or renamed. The run may fail, but only with one of mova's own
errors; the index is read and written once more in that state. Then the mount is taken away, and the same work is done
again. It needs Linux.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import harness
from benchmarks.soak.disturbances import BAD, Trial, start
from benchmarks.soak.kills import MeanColor, attempt, contents, make_films
from mova.search.index import Index
from mova.search.ingest import file_reader, writer

TRIALS, QUICK = 40, 3


@contextmanager
def covered(folder: Path, view: Path) -> Iterator[None]:
    """Cover a folder with itself, read-only.

    Args:
        folder: is covered while the context lasts.
        view: a folder that is mounted read-only beforehand (`read_only`).
    """
    _mount("--bind", str(view), str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def read_only(folder: Path, view: Path) -> Iterator[None]:
    """Show a folder at another place, read-only."""
    view.mkdir(exist_ok=True)
    _mount("--bind", str(folder), str(view))
    try:
        _mount("--options", "remount,bind,ro", str(view))
        yield
    finally:
        subprocess.run(["umount", str(view)], check=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


def permitted(folder: Path) -> bool:
    """Return whether this process may mount."""
    try:
        with read_only(folder, folder / "view"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def read_only_drive(trial: Trial) -> None:
    """The drive of an index becomes read-only in the middle of a run, and stays so for another run."""
    attempt(lambda: Index(trial.index, MeanColor()).add(sorted(trial.films.iterdir())[:4]), None)
    known = contents(trial.index).videos
    with read_only(trial.index, trial.folder / "view"):
        child = start(trial.work())
        time.sleep(trial.moment())
        with covered(trial.index, trial.folder / "view"):
            trial.wait(child)
            trial.take_outcomes()
            attempt(trial.work(), None)  # as a user would, who did not notice
            trial.examine(known)
    trial.take_outcomes()
    trial.examine(known)


def main() -> None:
    """Disturb, go on, and compare; print and record the counts."""
    args = harness.arguments(__doc__)
    torch.set_num_threads(1)
    report, rng = harness.Report("read_only", [args.seed]), np.random.default_rng(args.seed)
    file_reader.DECODE_CHUNK, writer.FLUSH_ROWS, writer.FLUSH_SECONDS, writer.TIDY_EVERY = 8, 16, 0.0, 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not permitted(folder):
            report.row(name="this system permits no mount")
            report.finish()
            return
        films = make_films(folder / "films", rng)
        began = time.perf_counter()
        attempt(lambda: Index(folder / "complete", MeanColor(wait=0.005)).add([films]), None)
        trial = Trial(folder, films, contents(folder / "complete"), time.perf_counter() - began, rng)
        for _ in range(QUICK if args.quick else TRIALS):
            read_only_drive(trial)
            trial.finish()
    report.row(name="read-only drive", **trial.counts)
    bad = sum(trial.counts[kind] for kind in BAD)
    report.claim("read-only drive: nothing is lost, twice or wrong, and no error escapes", bad, 0, bad == 0)
    report.finish()


if __name__ == "__main__":
    main()
