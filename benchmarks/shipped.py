"""Whether the model that ships with mova should become a MoVA: the same weights, trained on with masks and without.

Both go on from mova-worlds-tiny for the same steps on the same batches, and are scored like every system of the proving
ground, each calibrated on validation galleries; the model as it ships is scored beside them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
from proving.arms import ARMS
from proving.stage import Budget, Stage
from proving_ground import CONTROL, QUICK, cells, extras, mean, run

from mova.models.worlds_tiny import shipped_folder

MASKS = "MoVA, subsets"
NAMES = {"as it ships": CONTROL, "trained on without masks": CONTROL, "trained on as a MoVA": MASKS}
BUDGET = Budget(long=0)
TIE = 2.0
"""Points of R@1 that count as a gain."""


def main() -> None:
    """Three systems, three seeds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small form in about a minute")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--folder", type=Path, default=None, help="keep finished runs here")
    args = parser.parse_args()
    seeds = [args.seed] if args.quick else list(range(args.seed, args.seed + 3))
    with tempfile.TemporaryDirectory() as name:
        runs = [found for seed in seeds for found in seed_runs(seed, args.folder or Path(name), args.quick)]
    report(runs, seeds)


def seed_runs(seed: int, folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Results of a seed, read where they are finished."""
    home = folder / f"seed-{seed}"
    home.mkdir(parents=True, exist_ok=True)
    stage, found = None, []
    for name, arm in NAMES.items():
        path = home / f"{name}.json"
        if not path.exists():
            stage = stage or Stage(seed, QUICK if quick else BUDGET, home, shipped_folder())
            trained = replace(ARMS[arm], trained=name != "as it ships")
            path.write_text(json.dumps(run(name, trained, stage), indent=1), encoding="utf-8")
        found.append(json.loads(path.read_text(encoding="utf-8")))
    return found


def report(runs: list[dict[str, Any]], seeds: list[int]) -> None:
    """Table and the claim that decides."""
    result = harness.Report("shipped", seeds)
    for name, arm in NAMES.items():
        mine = [found for found in runs if found["arm"] == name]
        for form in dict.fromkeys(f"{ARMS[arm].forms[0]}{end}" for end in ("", " K order")):
            result.row(name=name, form=form, **cells(mine, form))
        result.row(name=name, form="everything else", **extras(mine))
    masked, plain = "trained on as a MoVA", "trained on without masks"
    for gallery in ("easy", "hard"):
        for way in ("t2v", "v2t"):
            gain = mean(runs, masked, "subsets K order", gallery, way) - mean(runs, plain, "late K order", gallery, way)
            text = f"a MoVA finds more than the same without masks, {gallery} {way}"
            result.claim(text, round(gain, 1), TIE, gain >= TIE)
    shown = ("name", "form", "easy_t2v", "easy_v2t", "hard_t2v", "hard_v2t", "spread")
    result.finish(columns=shown, seconds=sum(found["seconds"] for found in runs))


if __name__ == "__main__":
    main()
