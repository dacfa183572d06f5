"""What near samples cost in moments: `mova bench sampling` with many more sentences, and the described clips.

An index is made twice of the same films: with exact samples (`--exact`), and with the frames nearest to them that are
decoded anyway. A sentence is found if one of the best moments (one: R@1, five: R@5) is of its film and overlaps its
time by an IoU of 0.5. Worlds are those of `sampling`, with `mova-worlds-tiny`, which reads motion and is exact unless
it is asked not to be: the hardest case. Clips are those of `benchmarks/studies/natural.py`, with `mova-natural`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import harness
from benchmarks.speed.sampling import recall
from benchmarks.studies.natural import DATA
from mova.models.registry import load
from mova.search.index import Index
from mova.types import Span

WORLDS, QUICK = 24, 2
"""Films per seed; each has three or four sentences."""
SEEDS = 3
LEAST_IOU = 0.5
MODEL = "mova-natural"
Hits = list[tuple[bool, bool, bool]]


def clips(folder: Path, *, exact: bool) -> Hits:
    """Return of each event of the clips whether it is found first, among five, and whether its clip is the first."""
    index = Index(folder, load(MODEL))
    index.add(DATA / "realclips", exact=exact)
    found: Hits = []
    for line in (DATA / "realclips.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for event in row["events"]:
            moments = index.search(event["text"], 5)
            truth = Span(event["start"], event["end"])
            own = [Path(moment.video).name == Path(row["video"]).name for moment in moments]
            right = [
                mine and Span(moment.start, moment.end).iou(truth) >= LEAST_IOU
                for mine, moment in zip(own, moments, strict=True)
            ]
            found.append((right[0], any(right), own[0]))
    return found


def measure_clips(report: harness.Report, folder: Path) -> None:
    """Compare both kinds of samples on the clips."""
    hits = {name: np.array(clips(folder / name, exact=name == "exact"), float) for name in ("exact", "near")}
    for name, found in hits.items():
        first, five, clip = (100 * found.mean(axis=0)).tolist()
        report.row(name=f"clips, {name} samples", sentences=len(found), r1=first, r5=five, clip_r1=clip)
    for k, kind in enumerate(("R@1", "R@5", "R@1 of clips")):
        lost = 100 * float(np.mean(hits["exact"][:, k] - hits["near"][:, k]))
        report.claim(f"clips: near samples cost at most 1 point of {kind}", lost, 1.0, lost <= 1.0)


def main() -> None:
    """Compare both kinds of samples."""
    args = harness.arguments(__doc__)
    seeds = list(range(args.seed, args.seed + (1 if args.quick else SEEDS)))
    report = harness.Report("near_samples", seeds=seeds)
    with tempfile.TemporaryDirectory() as name:
        count = QUICK if args.quick else WORLDS
        every = [recall(report, seed, Path(name) / f"worlds-{seed}", count) for seed in seeds]
        for k, kind in enumerate(("R@1", "R@5")):
            losses = [run["exact"][k] - run["near"][k] for run in every]
            lost = float(np.mean(losses))
            report.row(name=f"Worlds, {kind} lost", points=lost, sd=float(np.std(losses)))
            report.claim(f"Worlds: near samples cost at most 1 point of {kind}", lost, 1.0, lost <= 1.0)
        if DATA.is_dir():
            measure_clips(report, Path(name))
    report.finish()


if __name__ == "__main__":
    main()
