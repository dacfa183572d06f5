"""Compare MoVA with its baselines on Worlds, where all facts are known: same pixels, backbone, batches and steps.

Every arm starts from the same warm backbone, trains on the same batches of its seed, and is scored by each of its
forms, all calibrated in the same way on validation galleries. The seed determines the training data, the galleries and
the initialization of new modules.

`--arms main|ablations` selects the arms (default: both). `--arms masks` runs the arms of the table of scores through
masks, into results of their own, without the long videos. `--degrees` measures by degree of misalignment instead, into
results of their own. `--folder DIR` keeps rendered data and finished runs, so that an interrupted run can be resumed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from benchmarks.common import harness
from benchmarks.common.systems import System
from benchmarks.studies.proving_ground.arms import ABLATIONS, ARMS, Arm, train_arm
from benchmarks.studies.proving_ground.degrees import by_degree, forms_by_degree
from benchmarks.studies.proving_ground.degrees_report import report_degrees
from benchmarks.studies.proving_ground.scoring import (
    best_alpha,
    captions,
    localization,
    long_videos,
    reranked,
    retrieval,
    see,
    shortlist,
)
from benchmarks.studies.proving_ground.stage import Budget, Stage, ceiling

QUICK = Budget(warm_steps=4, steps=2, videos=4, easy=12, groups=3, long=1, described=6)
MASK_ARMS = ("MoVA, paper", "MoVA, repaired", "MoVA, subsets")
COLUMNS = ("name", "form", "easy_t2v", "easy_v2t", "hard_t2v", "hard_v2t", "spread")
CONTROL = "late interaction (no masks)"
PARTS = {
    "paper, TMN alone (no L_vt)": "global+tv",
    "paper, TMN alone, masks on raw tokens": "global+tv",
    "paper, CMN alone (mask of the caption)": "global+mod",
    "paper, no L_dfsm": "global+mod",
}
"""Ablations of the published objective, and the score through the masks that each of them trains."""
THROUGH_MASKS = (
    "CLIP4Clip, mean",
    "MoVA, paper",
    *PARTS,
    "paper, L_dfsm with the same video",
    "paper, L_tv without the same video",
    "repaired, pair negatives alone",
    "repaired, pair negatives alone, on mod",
    "repaired, pair negatives alone, on tv",
)
"""Arms of `--arms masks`."""


def main() -> None:
    """Run the missing arms and seeds, and report."""
    parser = harness.runs_parser(__doc__)
    parser.add_argument("--arms", choices=("main", "ablations", "masks", "all"), default="all")
    parser.add_argument("--degrees", action="store_true", help="measure by degree of misalignment instead")
    args = parser.parse_args()
    seeds = harness.seeds_of(args)
    arms = {**(ARMS if args.arms != "ablations" else {}), **(ABLATIONS if args.arms != "main" else {})}
    if args.arms == "masks":
        arms = {name: (ARMS | ABLATIONS)[name] for name in THROUGH_MASKS}
    if args.quick:
        few = [*list(ARMS)[:1], CONTROL, "MoVA, subsets"]
        arms = {name: arms[name] for name in (THROUGH_MASKS[:5] if args.arms == "masks" else few) if name in arms}
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        budget = QUICK if args.quick else Budget(long=0) if args.arms == "masks" else Budget()
        runs = [run for seed in seeds for run in seed_runs(seed, arms, budget, folder, args.degrees)]
    if args.only_run:
        return
    if args.degrees:
        report_degrees(runs, seeds)
    else:
        report(runs, seeds, "proving_ground_masks" if args.arms == "masks" else "proving_ground")


def seed_runs(
    seed: int, arms: dict[str, Arm], budget: Budget, folder: Path, degrees: bool = False
) -> list[dict[str, Any]]:
    """Return the results of all arms of a seed; finished ones are read from disk."""
    home = folder / f"seed-{seed}"
    stage = cache(lambda: Stage(seed, budget, home, folder / "warm"))
    results, measure = (home / "degrees", run_degrees) if degrees else (home / "results", run)
    return [
        harness.finished(
            results / f"{name.replace('/', '-')}.json", lambda name=name, arm=arm: measure(name, arm, stage())
        )
        for name, arm in arms.items()
    ]


def run(name: str, arm: Arm, stage: Stage) -> dict[str, Any]:
    """Train an arm and measure everything."""
    began = time.perf_counter()
    model, seconds = trained(name, arm, stage)
    system = System(model, arm.every)
    validation = [see(system, gallery) for gallery in stage.validation.values()]
    test = {name: see(system, gallery) for name, gallery in stage.test.items()}
    rows = [row for form in arm.forms if "+" not in form for row in retrieval(form, system, validation, test)]
    pairs = [form.split("+") for form in arm.forms if "+" in form]
    for base in dict.fromkeys(first for first, _ in pairs):
        rows += reranked(base, [second for first, second in pairs if first == base], system, validation, test)
    rng = np.random.default_rng(stage.seed)
    form = next((form for form in arm.forms if "+" not in form), "global")
    hard = test["hard"]
    truth = [short.truth()[:, :: arm.every] for short in hard.shorts]
    return {
        "arm": name,
        "seed": stage.seed,
        "own": arm.forms[0],
        "rows": rows,
        "captions": {form: captions(form, system, validation, hard, rng) for form in dict.fromkeys((form, "late"))},
        "localisation": localization(list(hard.frames), hard.texts.units, truth),
        "long": long_videos(system, arm.forms, stage.long),
        "queries": {gallery: len(seen.shorts) for gallery, seen in test.items()},
        "ceiling": {gallery: ceiling(seen.shorts) for gallery, seen in test.items()},
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "train_seconds": round(seconds, 1),
        "seconds": round(time.perf_counter() - began, 1),
    }


def run_degrees(name: str, arm: Arm, stage: Stage) -> dict[str, Any]:
    """Train an arm and measure it by degree of misalignment."""
    began = time.perf_counter()
    model, _ = trained(name, arm, stage)
    system, own = System(model, arm.every), arm.forms[0]
    alphas = {}
    if "+" in own:
        base, second = own.split("+")
        validation = [see(system, gallery) for gallery in stage.validation.values()]
        alphas[own] = best_alpha([shortlist(base, [second], system, encoded) for encoded in validation], second)
    return {
        "arm": name,
        "seed": stage.seed,
        "own": own,
        "alphas": alphas,
        "degrees": by_degree(system, stage.described, forms_by_degree(arm.forms), alphas, stage.seed),
        "seconds": round(time.perf_counter() - began, 1),
    }


def trained(name: str, arm: Arm, stage: Stage) -> tuple[nn.Module, float]:
    """Return the trained model of an arm and the seconds of its training."""
    folder = stage.folder / "runs" / name.replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    return train_arm(arm, stage, folder)


def report(runs: Sequence[dict[str, Any]], seeds: Sequence[int], results: str) -> None:
    """Print the table and claims, and draw the picture."""
    result = harness.Report(results, seeds)
    for name in dict.fromkeys(run["arm"] for run in runs):
        arm_runs = [run for run in runs if run["arm"] == name]
        for form in dict.fromkeys(row["form"] for row in arm_runs[0]["rows"]):
            result.row(name=name, form=form, **cells(arm_runs, form))
    for name in dict.fromkeys(run["arm"] for run in runs):
        arm_runs = [run for run in runs if run["arm"] == name]
        result.row(name=name, form="everything else", **extras(arm_runs))
    for text, value, bound in claims(runs):
        result.claim(text, value, bound, value >= bound)
    seconds = sum(run["seconds"] for run in runs)
    result.finish(plot=lambda figure: plot(runs, figure), columns=COLUMNS, seconds=seconds)


def cells(runs: Sequence[dict[str, Any]], form: str) -> dict[str, Any]:
    """Return the mean R@1 of a form over seeds, the largest standard deviation over seeds, and the binomial error."""
    means: dict[str, Any] = {}
    spread = []
    for gallery in ("easy", "hard"):
        for direction in ("t2v", "v2t"):
            values = [
                row[direction]
                for run in runs
                for row in run["rows"]
                if (row["form"], row["gallery"]) == (form, gallery)
            ]
            means[f"{gallery}_{direction}"] = round(float(np.mean(values)), 1)
            spread.append(float(np.std(values)))
    return {**means, "spread": round(max(spread), 1), "binomial_error": round(_error(runs, form), 1)}


def _error(runs: Sequence[dict[str, Any]], form: str) -> float:
    """Return the largest binomial standard error of a form's R@1 in points, over all queries of all seeds."""
    errors = []
    for gallery in ("easy", "hard"):
        queries = sum(run["queries"][gallery] for run in runs)
        for direction in ("t2v", "v2t"):
            values = [r[direction] for run in runs for r in run["rows"] if (r["form"], r["gallery"]) == (form, gallery)]
            share = float(np.mean(values)) / 100
            errors.append(100 * (share * (1 - share) / queries) ** 0.5)
    return max(errors)


def extras(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the means over seeds of everything except retrieval among short videos."""
    means: dict[str, Any] = {}
    for section in ("captions", "localisation", "long"):
        for key in _flat(runs[0][section]):
            values = [_flat(run[section])[key] for run in runs]
            means[f"{section}: {key}"] = round(float(np.mean(values)), 3)
    means["parameters"] = runs[0]["parameters"]
    means["train_seconds"] = round(float(np.mean([run["train_seconds"] for run in runs])), 1)
    return means


def _flat(section: dict[str, Any]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for key, value in section.items():
        flat |= {f"{key}, {k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def mean(runs: Sequence[dict[str, Any]], arm: str, form: str, gallery: str, direction: str) -> float:
    """Return the mean R@1 over seeds; NaN if the arm or form was not run."""
    values = [
        row[direction]
        for run in runs
        if run["arm"] == arm
        for row in run["rows"]
        if (row["form"], row["gallery"]) == (form, gallery)
    ]
    return float(np.mean(values)) if values else float("nan")


def claims(runs: Sequence[dict[str, Any]]) -> list[tuple[str, float, float]]:
    """Return (claim, value, lower bound) of the acceptance criteria; values are means over seeds."""
    best = "subsets K order"
    rows = []
    for gallery, bound in (("easy", 28.0), ("hard", 40.0)):
        for direction in ("t2v", "v2t"):
            gain = mean(runs, "MoVA, subsets", best, gallery, direction) - mean(
                runs, "CLIP4Clip, mean", "global", gallery, direction
            )
            rows.append((f"default MoVA minus mean-pool global, {gallery} {direction}", gain, bound))
            tie = mean(runs, "MoVA, subsets", best, gallery, direction) - mean(
                runs, CONTROL, "late K order", gallery, direction
            )
            rows.append(
                (f"subset masks minus the same without masks, equally calibrated, {gallery} {direction}", tie, -5.0)
            )
            rival = mean(runs, "MoVA, subsets", best, gallery, direction) - mean(
                runs, "X-Pool", "head K", gallery, direction
            )
            rows.append((f"default MoVA minus X-Pool, {gallery} {direction}", rival, 0.0))
    rows += claims_of_the_paper(runs)
    default = [run for run in runs if run["arm"] == "MoVA, subsets"]
    if default:
        extra = extras(default)
        rows += [
            ("order-swapped pairs distinguished", extra["captions: subsets, order kept above swapped"], 85.0),
            ("foreign sentence detected", extra["captions: subsets, true above true + foreign sentence"], 95.0),
            ("sentence-to-frame mAP", extra["localisation: sentence to frame, mAP"], 0.90),
            ("irrelevant-frame AUC", extra["localisation: irrelevant frame, AUC"], 0.85),
        ]
    return [(text, round(value, 3), bound) for text, value, bound in rows if not np.isnan(value)]


def claims_of_the_paper(runs: Sequence[dict[str, Any]]) -> list[tuple[str, float, float]]:
    """Return the claims of the paper's ablation (mean R@1 of directions and galleries), and of masks over no masks."""

    def overall(arm: str, form: str) -> float:
        return float(
            np.mean([mean(runs, arm, form, g, direction) for g in ("easy", "hard") for direction in ("t2v", "v2t")])
        )

    paper_recall = overall("MoVA, paper", "global+mod")
    rows = [
        (
            "paper: the whole objective (global + mod) minus the global loss alone (global)",
            paper_recall - overall("CLIP4Clip, mean", "global"),
            0.0,
        ),
        *(
            (
                f"paper: the whole objective (global + mod) minus "
                f"{arm.removeprefix('paper, ')} ({form.replace('+', ' + ')})",
                paper_recall - overall(arm, form),
                0.0,
            )
            for arm, form in PARTS.items()
        ),
    ]
    for score in ("mod", "mod-top", "mod-relevance", "tv", "tv-top", "tv-relevance"):
        gain = overall("MoVA, paper", f"global+{score}") - overall("MoVA, paper", "global")
        rows.append((f"paper: {score} added to the global score gains a point over it", gain, 1.0))
    for arm in ("MoVA, repaired", "repaired, pair negatives alone"):
        gain = overall(arm, "global+masks") - overall(arm, "global+relevance")
        rows.append((f"{arm}: masks added to the global score minus relevance added to it", gain, 0.0))
    return rows


def plot(runs: Sequence[dict[str, Any]], figure: Any) -> None:
    """Draw R@1 of each arm's default form and its best calibrated form, easy and hard; dots are seeds."""
    names = list(dict.fromkeys(run["arm"] for run in runs))[::-1]
    figure.set_size_inches(11, 2.5 + 0.33 * len(names))
    for axis, gallery in zip(figure.subplots(1, 2, sharey=True), ("easy", "hard"), strict=True):
        for y, name in enumerate(names):
            arm_runs = [run for run in runs if run["arm"] == name]
            forms = {"global": "global", "own form": arm_runs[0]["own"], "late interaction, calibrated": "late K order"}
            for (label, form), color in zip(forms.items(), ("#9aa5b1", "#e07a1f", "#2b6cb0"), strict=True):
                values = [
                    (row["t2v"] + row["v2t"]) / 2
                    for run in arm_runs
                    for row in run["rows"]
                    if (row["form"], row["gallery"]) == (form, gallery)
                ]
                axis.plot(values, [y] * len(values), ".", color=color, alpha=0.4)
                if values:
                    text = label if y == 0 else None
                    axis.plot(np.mean(values), y, "D", color=color, label=text, markersize=6)
        ceilings = [sum(run["ceiling"][gallery]) / 2 for run in runs]
        axis.axvline(float(np.mean(ceilings)), color="black", linestyle=":", label="all facts known")
        axis.set(title=f"{gallery} gallery", xlabel="R@1, mean of both directions, percent", xlim=(0, 102))
        axis.set_yticks(range(len(names)), names)
        axis.grid(axis="x", alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
