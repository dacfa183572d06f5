"""A drive that becomes read-only, vanishes or is full while an index on it is written to.

`disturbances` leaves these out, as they need Linux and the right to mount. An index has some films, and a child process
adds others. At a random moment another mount covers the folder of the index, on which nothing can be opened for
writing, made or renamed; or the drive with the index is unmounted; or the drive, a file system in memory, has no space
left. The run may fail, but only with one of mova's own errors. A read-only index is read and written once more in that
state. Then all is as before, and the same work is done again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.common import harness
from benchmarks.soak.disturbances import Trial, record, run, start
from benchmarks.soak.kills import MeanColor, attempt, contents
from mova.search.index import Index

TRIALS, QUICK = 40, 3
PAGE = 4096
"""Bytes that a file system in memory gives to a file at a time."""


@contextmanager
def mounted(folder: Path, *what: str) -> Iterator[None]:
    """Mount something over a folder; unmount it at the end at once, even if a process uses it."""
    _mount(*what, str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


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
    trial.finish()


def vanished_index(trial: Trial) -> None:
    """The drive of an index vanishes in the middle of a run, and comes back; an empty folder is left in between."""
    real = trial.folder / "drive"
    real.mkdir(exist_ok=True)
    trial.index.mkdir(exist_ok=True)
    with mounted(trial.index, "--bind", str(real)):
        attempt(lambda: Index(trial.index, MeanColor()).add(sorted(trial.films.iterdir())[:4]), None)
        known = contents(trial.index).videos
        child = start(trial.work())
        time.sleep(trial.moment())
    trial.wait(child)
    trial.take_outcomes()
    shutil.rmtree(trial.index)  # what the run may have written into the empty folder
    real.rename(trial.index)
    trial.examine(known)
    trial.finish()


def full_drive(trial: Trial) -> None:
    """The drive of an index has a random space left, too little for most runs, and gets more for the next one."""
    drive = trial.folder / "drive"
    drive.mkdir(exist_ok=True)
    usual, trial.index = trial.index, drive / "index"
    half = sorted(trial.films.iterdir())[: int(trial.rng.integers(0, 6))]
    with mounted(drive, "--types", "tmpfs", "tmpfs"):
        if half:
            attempt(lambda: Index(trial.index, MeanColor()).add(half), None)
        known = contents(trial.index).videos if half else {}
        state = os.statvfs(drive)
        space = (state.f_blocks - state.f_bfree) * state.f_frsize + PAGE * int(10 ** trial.rng.uniform(0, 2.5))
        _mount("--options", f"remount,size={space}", str(drive))
        trial.wait(start(trial.work()))
        trial.take_outcomes()
        _mount("--options", "remount,size=1G", str(drive))
        trial.examine(known)
        trial.finish()
    trial.index = usual


DISTURBANCES: dict[str, Callable[[Trial], None]] = {
    "read-only drive": read_only_drive,
    "vanished drive of the index": vanished_index,
    "full drive": full_drive,
}


def may_mount() -> bool:
    """Return whether this process may mount."""
    with tempfile.TemporaryDirectory() as name:
        return permitted(Path(name))


def child(trials: str, seed: str) -> None:
    """Print the counts as JSON (see `harness.in_subprocess`); nothing where mounts are not permitted."""
    print(json.dumps(run(DISTURBANCES, int(trials), int(seed)) if may_mount() else {}))


def main() -> None:
    """Disturb, examine, go on, and compare; print and record the counts."""
    args = harness.arguments(__doc__)
    if not may_mount():
        print("this system permits no mount: nothing was tried")
        return
    record("drives", args.seed, run(DISTURBANCES, QUICK if args.quick else TRIALS, args.seed))


if __name__ == "__main__":
    main()
