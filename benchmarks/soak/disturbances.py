"""Disturbances that are not kills: a full disk, a drive that vanishes, a wrong clock, two writers, readers beside one.

A child process indexes videos while something goes wrong at a random moment. The stored state is then examined, and
the same work is done again without a disturbance. The result must be that of an index that was never disturbed, and
what was stored before must stay readable. A disturbed run may fail, but only with one of mova's own errors.

A full disk is simulated by a limit on the size of files (RLIMIT_FSIZE), beyond which every write fails.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import harness
from benchmarks.soak.kills import Contents, MeanColor, attempt, contents, make_films
from mova.errors import MovaError
from mova.search.index import Index
from mova.search.ingest import file_reader, writer

TRIALS, QUICK = 40, 3
"""Trials of each disturbance."""
BAD = ("lost", "twice", "wrong", "other_errors", "failed afterwards")
"""Counts that must be zero; the last one: of runs after the disturbance that did not do their work."""
COUNTED = ("trials", "refused", "failed files", *BAD)
YEARS = 20 * 365 * 86_400.0


class Trial:
    """Folders and counts of the trials of one disturbance.

    Args:
        folder: for films and indexes.
        films: folder of the films.
        complete: contents of an index that was never disturbed.
        usual: seconds that an undisturbed run takes.
        rng: draws the moments.
    """

    def __init__(self, folder: Path, films: Path, complete: Contents, usual: float, rng: np.random.Generator) -> None:
        self.folder, self.films, self.complete, self.usual, self.rng = folder, films, complete, usual, rng
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
        self.index = folder / "index"

    def work(self, wait: float = 0.005, largest: int = resource.RLIM_INFINITY) -> Callable[[], None]:
        """Return work that indexes the films, and writes down how it ended.

        Args:
            wait: seconds that the model takes for a frame.
            largest: bytes of a file beyond which every write fails.
        """

        def run() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
            try:
                report = Index(self.index, MeanColor(wait=wait)).add([self.films])
                problem = f"failed files: {report.failed}" if report.failed else ""
            except MovaError as error:
                problem = f"refused: {error}"
            except BaseException as error:  # noqa: BLE001  what must not happen is counted
                problem = f"{type(error).__name__}: {error}"
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            (self.folder / f"outcome-{os.getpid()}").write_text(problem, encoding="utf-8")

        return run

    def wait(self, child: int) -> None:
        """Wait for a process of `start`, which must end by itself."""
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            self.counts["other_errors"] += 1
            print(f"a run was ended by signal {os.WTERMSIG(status)}")

    def take_outcomes(self, disturbed: bool = True) -> None:
        """Count the outcomes of runs that ended; print what kept one that was not disturbed from its work."""
        for path in self.folder.glob("outcome-*"):
            problem = path.read_text(encoding="utf-8")
            kind = problem.split(":")[0]
            if problem and not disturbed:
                self.counts["failed afterwards"] += 1
                print(f"an undisturbed run did not do its work: {problem}")
            elif kind in ("refused", "failed files"):
                self.counts[kind] += 1
            elif problem:
                self.counts["other_errors"] += 1
                print(f"not one of mova's errors: {problem}")
            path.unlink()

    def examine(self, known: dict[str, tuple[list[float], bytes]] | None = None) -> Contents:
        """Count stored videos that differ from the undisturbed ones, and known ones that are gone."""
        stored = contents(self.index)
        self.counts["wrong"] += sum(stored.videos[name] != self.complete.videos[name] for name in stored.videos)
        self.counts["lost"] += sum(name not in stored.videos for name in known or {})
        return stored

    def finish(self) -> None:
        """Index without a disturbance; compare with the undisturbed index; begin anew."""
        if not attempt(self.work(wait=0.0), None):
            self.counts["failed afterwards"] += 1
            print("an undisturbed run was ended by a signal")
        self.take_outcomes(disturbed=False)
        stored = contents(self.index)
        self.counts["lost"] += sum(stored.videos.get(name) != frames for name, frames in self.complete.videos.items())
        self.counts["twice"] += max(0, stored.frames - self.complete.frames)
        self.counts["trials"] += 1
        shutil.rmtree(self.index, ignore_errors=True)

    def moment(self) -> float:
        """Return a random moment of a run, in seconds after its start."""
        return float(self.rng.uniform(0, self.usual))


def start(work: Callable[[], None]) -> int:
    """Run work in a child process; return its number."""
    child = os.fork()
    if child == 0:
        try:
            with open(os.devnull, "w") as silent:
                os.dup2(silent.fileno(), 1)
                os.dup2(silent.fileno(), 2)
                work()
        finally:
            os._exit(0)
    return child


def full_disk(trial: Trial) -> None:
    """Every write beyond a random size of file fails, in a run that adds to an index that has some films already."""
    half = sorted(trial.films.iterdir())[: int(trial.rng.integers(0, 6))]
    if half:
        attempt(lambda: Index(trial.index, MeanColor()).add(half), None)
    known = contents(trial.index).videos if half else {}
    size = int(trial.rng.choice([0, 100, 1_000, 4_000, 20_000, 100_000]) * trial.rng.uniform(0.5, 2))

    trial.wait(start(trial.work(largest=size)))
    trial.take_outcomes()
    trial.examine(known)
    trial.finish()


def vanished_drive(trial: Trial) -> None:
    """The folder of films is renamed in the middle of a run, and comes back; its films must not be dropped."""
    away = trial.films.with_name("unplugged")
    attempt(lambda: Index(trial.index, MeanColor()).add(sorted(trial.films.iterdir())[:4]), None)
    known = contents(trial.index).videos
    child = start(trial.work())
    time.sleep(trial.moment())
    trial.films.rename(away)
    try:
        trial.wait(child)
        attempt(trial.work(), None)  # as a user would, who did not notice
    finally:
        away.rename(trial.films)
    trial.take_outcomes()
    trial.examine(known)
    trial.finish()


def wrong_clock(trial: Trial) -> None:
    """The clock jumps by up to 20 years in either direction, before a run, in it, and in the next one."""
    usual = time.time
    for _ in range(2):
        first, later = trial.rng.uniform(-YEARS, YEARS, 2).tolist()
        moment = usual() + trial.moment()

        def run(first: float = first, later: float = later, moment: float = moment) -> None:
            time.time = lambda: usual() + (first if usual() < moment else later)
            trial.work()()

        attempt(run, trial.moment())
        trial.take_outcomes()
        trial.examine()
    trial.finish()


def two_writers(trial: Trial) -> None:
    """Two processes index the same films into one index at once; one may be refused."""
    first = start(trial.work())
    time.sleep(trial.moment() * 0.5)
    second = start(trial.work())
    for child in (first, second):
        trial.wait(child)
    trial.take_outcomes()
    trial.examine()
    trial.finish()


def readers_beside_a_writer(trial: Trial) -> None:
    """A process reads the index again and again while another writes; every video that it sees must be complete."""
    child = start(trial.work(wait=0.01))
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if trial.index.exists():
            _read_once(trial)
            trial.counts["reads"] += 1
    trial.take_outcomes()
    trial.finish()


def _read_once(trial: Trial) -> None:
    """Read the index in a child process, and count an error that is not mova's, and wrong videos."""

    def read() -> None:
        problem, wrong = "", 0
        try:
            index = Index(trial.index, MeanColor())
            for record in index.videos() if index.exists else ():
                embedding = index.stored(record.path)
                if embedding is not None:
                    frames = embedding.times.tolist(), embedding.frames.numpy().tobytes()
                    wrong += frames != trial.complete.videos[Path(record.path).name]
        except MovaError:
            problem = "refused"
        except BaseException as error:  # noqa: BLE001
            problem = f"{type(error).__name__}: {error}"
        (trial.folder / f"outcome-{os.getpid()}").write_text(problem, encoding="utf-8")
        (trial.folder / "wrong").write_bytes(pickle.dumps(wrong))

    attempt(read, None)
    trial.counts["wrong"] += pickle.loads((trial.folder / "wrong").read_bytes())
    trial.take_outcomes()


DISTURBANCES: dict[str, Callable[[Trial], None]] = {
    "full disk": full_disk,
    "vanished drive": vanished_drive,
    "wrong clock": wrong_clock,
    "two writers": two_writers,
    "readers beside a writer": readers_beside_a_writer,
}


def run(disturbances: Mapping[str, Callable[[Trial], None]], trials: int, seed: int) -> dict[str, Counter[str]]:
    """Disturb indexing in every way, examine, go on and compare; return the counts of each."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    file_reader.DECODE_CHUNK, writer.FLUSH_ROWS, writer.FLUSH_SECONDS, writer.TIDY_EVERY = 8, 16, 0.0, 3
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        films = make_films(Path(name) / "films", rng)
        began = time.perf_counter()
        attempt(lambda: Index(Path(name) / "complete", MeanColor(wait=0.005)).add([films]), None)
        usual, complete = time.perf_counter() - began, contents(Path(name) / "complete")
        for what, disturb in disturbances.items():
            folder = Path(name) / disturb.__name__
            folder.mkdir()
            trial = Trial(folder, films, complete, usual, rng)
            for _ in range(trials):
                disturb(trial)
            counts[what] = trial.counts
    return counts


def child(trials: str, seed: str) -> None:
    """Print the counts as JSON (see `harness.in_subprocess`)."""
    print(json.dumps(run(DISTURBANCES, int(trials), int(seed))))


def record(study: str, seed: int, counts: Mapping[str, Counter[str]]) -> None:
    """Print and record the counts, which must be those of nothing lost."""
    report = harness.Report(study, [seed])
    for what, row in counts.items():
        report.row(name=what, **row)
        bad = sum(row[kind] for kind in BAD)
        report.claim(f"{what}: nothing is lost, twice or wrong, and no error escapes", bad, 0, bad == 0)
    report.finish()


def main() -> None:
    """Disturb, examine, go on, and compare; print and record the counts."""
    args = harness.arguments(__doc__)
    record("disturbances", args.seed, run(DISTURBANCES, QUICK if args.quick else TRIALS, args.seed))


if __name__ == "__main__":
    main()
