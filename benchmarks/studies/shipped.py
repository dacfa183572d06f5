"""Should the shipped model become a MoVA? The same weights are trained further with and without masks.

All systems continue from mova-worlds-tiny for the same steps on the same batches, and are scored like those of the
proving ground, each calibrated on validation galleries, next to the model as shipped. In one of them, only masks are
trained and the towers stay as shipped.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.common import harness
from benchmarks.studies.proving_ground.arms import ARMS, Arm
from benchmarks.studies.proving_ground.stage import Budget, Stage
from benchmarks.studies.proving_ground.study import CONTROL, QUICK, cells, extras, mean, run
from mova.models.mova.model import Mova
from mova.models.worlds_tiny.model import WorldsTiny, shipped_folder
from mova.train.objectives.mova import MovaObjective

MASKS = "MoVA, subsets"


def _still(backbone: WorldsTiny) -> WorldsTiny:
    """Freeze the running statistics of batch normalization."""
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    return backbone


SYSTEMS: dict[str, Arm] = {
    "as it ships": replace(ARMS[CONTROL], trained=False),
    "masks trained around it": replace(
        ARMS[MASKS],
        build=lambda backbone: Mova.from_backbone(_still(backbone), "subsets", detached=True),
        objective=lambda: MovaObjective("subsets", pooled=0.0),
    ),
    "trained on without masks": ARMS[CONTROL],
    "trained on as a MoVA": ARMS[MASKS],
}
BUDGET = Budget(long=0)
GAIN = 2.0
"""Points of R@1 that count as a gain."""


def main() -> None:
    """Run all systems and seeds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small form that takes about a minute")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--folder", type=Path, default=None, help="keep finished runs here")
    args = parser.parse_args()
    seeds = [args.seed] if args.quick else list(range(args.seed, args.seed + 3))
    with tempfile.TemporaryDirectory() as name:
        runs = [run for seed in seeds for run in seed_runs(seed, args.folder or Path(name), args.quick)]
    report(runs, seeds)


def seed_runs(seed: int, folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Return the results of a seed; finished ones are read from disk."""
    home = folder / f"seed-{seed}"
    stage = cache(lambda: Stage(seed, QUICK if quick else BUDGET, home, shipped_folder()))
    return [
        harness.finished(home / f"{name}.json", lambda name=name, arm=arm: run(name, arm, stage()))
        for name, arm in SYSTEMS.items()
    ]


def report(runs: list[dict[str, Any]], seeds: list[int]) -> None:
    """Print the table and the claims."""
    result = harness.Report("shipped", seeds)
    for name, arm in SYSTEMS.items():
        arm_runs = [result for result in runs if result["arm"] == name]
        for form in dict.fromkeys(f"{arm.forms[0]}{end}" for end in ("", " K order")):
            result.row(name=name, form=form, **cells(arm_runs, form))
        result.row(name=name, form="everything else", **extras(arm_runs))
    pairs = (("masks trained around it", "as it ships"), ("trained on as a MoVA", "trained on without masks"))
    for masked, plain in pairs:
        for gallery in ("easy", "hard"):
            for direction in ("t2v", "v2t"):
                best = mean(runs, masked, "subsets K order", gallery, direction)
                gain = best - mean(runs, plain, "late K order", gallery, direction)
                text = f"{masked} finds more than {plain}, {gallery} {direction}"
                result.claim(text, round(gain, 1), GAIN, gain >= GAIN)
    columns = ("name", "form", "easy_t2v", "easy_v2t", "hard_t2v", "hard_v2t", "spread")
    result.finish(columns=columns, seconds=sum(run["seconds"] for run in runs))


if __name__ == "__main__":
    main()
