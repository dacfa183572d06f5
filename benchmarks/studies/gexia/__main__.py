"""Effects of granularity expansion and iterative approximation on Worlds; the paper's comparisons are confounded.

Every arm starts from the same warm model and trains on the same clips for the same number of steps with the same number
of clips per step; granularity expansion (`mova data expand` on their manifest) decides how clips are paired with texts.
Retrieval is tested in both directions among short clips with sentences, long videos with paragraphs, long videos with
brief texts, and images.

`--folder DIR` keeps rendered data and finished runs, so that an interrupted run can be resumed; `--warm DIR` is the
warm backbone of `benchmarks/common/warm_backbone.py` (default: trained here).
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import harness
from benchmarks.common.warm_backbone import warm_backbone
from benchmarks.studies.gexia import cost, findings
from benchmarks.studies.gexia.arms import ARMS, build, fit_arm, warm_gexia
from benchmarks.studies.gexia.footage import Footage, Queries, galleries, test_footage, train_footage
from benchmarks.studies.gexia.scoring import score
from mova.models.gexia.model import Gexia
from mova.models.worlds_tiny.model import WorldsTiny

COLUMNS = (
    "name",
    "form",
    *(f"{gallery}_{direction}" for gallery in findings.GALLERIES for direction in findings.DIRECTIONS),
    "spread",
)


@dataclass(frozen=True)
class Amount:
    """Sizes of the study: training and test sources, steps, long videos per batch, and steps of the warm models."""

    sources: int = 384
    tested: int = 120
    steps: int = 400
    videos: int = 10
    backbone_steps: int = 1000
    gexia_steps: int = 240


QUICK = Amount(16, 8, 2, 3, 2, 2)


@dataclass(frozen=True)
class Stage:
    """Data and models shared by the arms of a seed."""

    warm: tuple[WorldsTiny, Gexia]
    train: Footage
    test: Footage
    galleries: dict[str, Queries]


def main() -> None:
    """Run the missing arms and seeds, and report."""
    parser = harness.runs_parser(__doc__)
    parser.add_argument(
        "--steps", type=int, default=Amount.steps, help="training steps per arm; a --folder must keep the same number"
    )
    parser.add_argument("--warm", type=Path, default=None, help="folder of a trained warm backbone")
    parser.add_argument("--only-report", action="store_true", help="report finished arms of the folder, run none")
    args = parser.parse_args()
    seeds = harness.seeds_of(args)
    amount = QUICK if args.quick else Amount(steps=args.steps)
    names = [name for name in ARMS if not args.quick or name in findings.QUICK]
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        if args.only_report:
            names = [name for name in names if all(result_of(folder, seed, name).exists() for seed in seeds)]
        runs = run_all(seeds, names, amount, folder, args.warm or folder / "warm")
        costs = cost.table(1 if args.quick else cost.PASSES) if not args.only_run else []
    if not args.only_run:
        report(runs, costs, seeds)


def run_all(
    seeds: Sequence[int], names: Sequence[str], amount: Amount, folder: Path, warm: Path
) -> list[dict[str, Any]]:
    """Return the results of all arms, all seeds of an arm before the next; finished ones are read from disk."""

    @cache
    def stage(seed: int) -> Stage:
        return prepare(seed, amount, folder / f"seed-{seed}", folder / "gexia", warm)

    def figures(name: str, seed: int) -> dict[str, Any]:
        return run(name, seed, amount, stage(seed), folder / f"seed-{seed}" / "runs" / name)

    return [
        harness.finished(result_of(folder, seed, name), partial(figures, name, seed))
        for name in names
        for seed in seeds
    ]


def result_of(folder: Path, seed: int, name: str) -> Path:
    """Return the path of the results of a run."""
    return folder / f"seed-{seed}" / "results" / f"{name}.json"


def prepare(seed: int, amount: Amount, folder: Path, gexia: Path, warm: Path) -> Stage:
    """Render and train what is missing."""
    backbone = warm_backbone(warm, amount.backbone_steps)
    start = warm_gexia(copy.deepcopy(backbone), amount.gexia_steps, 2 * amount.sources, amount.videos, gexia)
    test = test_footage(seed, amount.tested, folder)
    return Stage((backbone, start), train_footage(seed, amount.sources, folder), test, galleries(test))


def run(name: str, seed: int, amount: Amount, stage: Stage, folder: Path) -> dict[str, Any]:
    """Train an arm and measure everything."""
    began, arm = time.process_time(), ARMS[name]
    model = build(arm, *copy.deepcopy(stage.warm), seed).eval()
    if arm.trained:
        model = fit_arm(arm, model, stage.train, amount.steps, amount.videos, seed, folder)
    trained = time.process_time()
    return {
        "arm": name,
        "seed": seed,
        "rows": score(arm, model, stage.test, stage.galleries),
        "queries": {gallery: len(queries.texts) for gallery, queries in stage.galleries.items()},
        "ceiling": {gallery: queries.ceiling for gallery, queries in stage.galleries.items() if gallery != "image"},
        "pairs": {key: len(stage.train.expanded[arm.way][key]) for key in arm.granularities},
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "learning": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        "train_seconds": round(trained - began, 1),
        "seconds": round(time.process_time() - began, 1),
    }


def report(runs: Sequence[dict[str, Any]], costs: Sequence[dict[str, Any]], seeds: Sequence[int]) -> None:
    """Print the table and claims, and draw the picture."""
    result = harness.Report("gexia", seeds)
    for row in findings.table(runs):
        result.row(**row)
    for name in ARMS:
        if not any(run["arm"] == name for run in runs):
            result.row(name=name, form="not run")
    for row in costs:
        result.row(**row)
    above = next(row["above_mean_pooling_percent"] for row in costs if row["cost"] == "#iter 3")
    result.claim(
        f"inference at #iter 3 costs at most {cost.PAPER} % above mean pooling", above, cost.PAPER, above <= cost.PAPER
    )
    for text, value, bound in findings.claims(runs):
        result.claim(text, value, bound, value >= bound)
    seconds = sum(run["seconds"] for run in runs)
    result.finish(plot=lambda figure: findings.plot(runs, figure), columns=COLUMNS, seconds=seconds)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
