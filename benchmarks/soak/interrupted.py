"""Kills at random moments of what `kills` leaves out: compaction, conversion, and indexing of stretches.

A child process is killed (SIGKILL) at a random moment, and what is on the disk is examined. Compaction: an index of
many small files is joined into few; every video must be there as before, once, and `--verify` must find nothing.
Conversion: annotations become a manifest, over an older one in every second run; the file must be the old or the new
one, byte by byte, or not there if there was none. Indexing of stretches (`--novelty`): as in `kills`, with the vectors
of a run that was never killed. Kills of a service are counted by `serve_kills`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import harness
from benchmarks.soak.kills import FILMS, MeanColor, attempt, contents, make_films
from mova.data.readers import registry
from mova.search.index import Index
from mova.search.ingest import file_reader, writer
from mova.search.storage import upkeep
from mova.search.storage.store import Store

KILLS, QUICK = 100, 4
NOVELTY = 1e-4
"""Some stretches for each film of moving noise."""
ROWS = 4000
"""Videos in the annotations that are converted."""
NEVER = 10**9


def sound(folder: Path) -> bool:
    """Return whether `--verify` finds no damage, in a child process."""

    def examine() -> None:
        answer.write_text("\n".join(Index(folder, MeanColor()).verify().problems))

    with tempfile.TemporaryDirectory() as name:
        answer = Path(name) / "problems"
        attempt(examine, None)
        return not answer.read_text()


def usual_seconds(work: Callable[[], object]) -> float:
    """Return how long work takes that is not killed."""
    began = time.perf_counter()
    attempt(work, None)
    return time.perf_counter() - began


def compact(target: Path) -> None:
    """Join the files of an index, as the end of a run does when there are many."""
    upkeep.SMALL_FRAGMENTS, upkeep.SMALL_ROWS = 1, NEVER
    store = Store(target)
    with store.lock():
        store.tidy(last=True)
        store.seal()
    Index(target, MeanColor()).refresh()


def kill_compaction(folder: Path, kills: int, rng: np.random.Generator) -> Counter[str]:
    """Kill compaction; compare all videos after each kill, and the number of files at the end."""
    films, scattered, target = make_films(folder / "films", rng), folder / "scattered", folder / "killed"

    def scatter() -> None:
        """Index with a file for a few frames, and leave them so."""
        file_reader.DECODE_CHUNK, writer.FLUSH_ROWS, writer.FLUSH_SECONDS = 8, 8, 0.0
        writer.TIDY_EVERY, upkeep.SMALL_FRAGMENTS = NEVER, NEVER
        Index(scattered, MeanColor()).add([films])

    attempt(scatter, None)
    complete = contents(scattered)
    files = len(list((scattered / "frames.lance" / "data").iterdir()))
    shutil.copytree(scattered, target)
    usual = usual_seconds(lambda: compact(target))
    counts: Counter[str] = Counter(killed=0, lost=0, twice=0, wrong=0)
    shutil.rmtree(target)
    shutil.copytree(scattered, target)
    while counts["killed"] < kills:
        ended = attempt(lambda: compact(target), rng.uniform(0, usual))
        counts["killed"] += not ended
        stored = contents(target)
        counts["lost"] += sum(stored.videos.get(name) != frames for name, frames in complete.videos.items())
        counts["twice"] += abs(stored.frames - complete.frames)
        counts["wrong"] += not sound(target)
        if ended or rng.random() < 0.2:
            attempt(lambda: compact(target), None)
            counts["wrong"] += contents(target) != complete or not sound(target)
            counts["wrong"] += len(list((target / "frames.lance" / "data").iterdir())) >= files
            counts["runs compared"] += 1
            shutil.rmtree(target)
            shutil.copytree(scattered, target)
    return counts


def kill_conversion(folder: Path, kills: int, rng: np.random.Generator) -> Counter[str]:
    """Kill conversions; the manifest must be that of before or that of after, byte by byte."""
    folder.mkdir(parents=True)
    versions = []
    for version in ("old", "new"):
        rows = {
            f"v_{number:011d}": {"duration": 60.0, "timestamps": [[0, 9.5]], "sentences": [f"A {version} dog runs."]}
            for number in range(ROWS)
        }
        source = folder / version
        source.mkdir()
        (source / "train.json").write_text(json.dumps(rows))
        registry.convert("activitynet", source, folder / f"{version}.jsonl")
        versions.append((folder / f"{version}.jsonl").read_bytes())
    target = folder / "killed.jsonl"
    usual = usual_seconds(lambda: registry.convert("activitynet", folder / "new", folder / "timed.jsonl"))
    counts: Counter[str] = Counter(killed=0, lost=0, twice=0, wrong=0)
    while counts["killed"] < kills:
        before = versions[0] if rng.random() < 0.5 else None
        target.unlink(missing_ok=True)
        if before is not None:
            target.write_bytes(before)
        ended = attempt(lambda: registry.convert("activitynet", folder / "new", target), rng.uniform(0, usual))
        counts["killed"] += not ended
        found = target.read_bytes() if target.exists() else None
        counts["lost"] += before is not None and found is None
        counts["wrong"] += found not in (before, versions[1]) or (ended and found != versions[1])
        attempt(lambda: registry.convert("activitynet", folder / "new", target), None)
        counts["wrong"] += target.read_bytes() != versions[1]
        counts["runs compared"] += 1
    return counts


def kill_stretches(folder: Path, kills: int, rng: np.random.Generator) -> Counter[str]:
    """Kill indexing with a novelty; compare the frames that are read with those of a run that was never killed."""
    films, target = make_films(folder / "films", rng), folder / "killed"
    file_reader.DECODE_CHUNK, writer.FLUSH_ROWS, writer.FLUSH_SECONDS, writer.TIDY_EVERY = 8, 4, 0.0, 3

    def work(place: Path, wait: float = 0.005) -> None:
        Index(place, MeanColor(wait=wait)).add([films], novelty=NOVELTY)

    usual = usual_seconds(lambda: work(folder / "complete"))
    complete, known = contents(folder / "complete"), set[str]()
    counts: Counter[str] = Counter(killed=0, lost=0, twice=0, wrong=0)
    while counts["killed"] < kills:
        ended = attempt(lambda: work(target), rng.uniform(0, usual))
        counts["killed"] += not ended
        stored = contents(target)
        counts["wrong"] += sum(stored.videos[name] != complete.videos[name] for name in stored.videos)
        counts["lost"] += len(known - stored.videos.keys())
        known = set(stored.videos)
        if ended or len(stored.videos) == FILMS or counts["killed"] == kills:
            attempt(lambda: work(target, 0.0), None)
            stored = contents(target)
            counts["lost"] += sum(stored.videos.get(name) != frames for name, frames in complete.videos.items())
            counts["twice"] += max(0, stored.frames - complete.frames)
            counts["wrong"] += not sound(target)
            counts["runs compared"] += 1
            shutil.rmtree(target)
            known = set()
    return counts


ARMS = {"compaction": kill_compaction, "conversion": kill_conversion, "indexing of stretches": kill_stretches}


def run(kills: int, seed: int) -> dict[str, Counter[str]]:
    """Kill every kind of work; return the counts of each."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        return {work: arm(Path(name) / work.replace(" ", "-"), kills, rng) for work, arm in ARMS.items()}


def child(kills: str, seed: str) -> None:
    """Print the counts as JSON (see `harness.in_subprocess`)."""
    print(json.dumps(run(int(kills), int(seed))))


def main() -> None:
    """Kill, examine, compare; print and record the counts."""
    args = harness.arguments(__doc__)
    report = harness.Report("interrupted", [args.seed])
    for work, counts in run(QUICK if args.quick else KILLS, args.seed).items():
        report.row(name=work, **counts)
        bad = counts["lost"] + counts["twice"] + counts["wrong"]
        report.claim(f"{work}: after every kill, nothing is lost, twice or wrong", bad, 0, bad == 0)
    report.finish()


if __name__ == "__main__":
    main()
