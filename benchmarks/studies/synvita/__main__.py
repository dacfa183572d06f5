"""SynViTA at a small scale: do an unreliable generator's videos of hard negatives help a Yes/No decoder?

All arms of a seed start from the same decoder and train on the same triplets in the same order for the same number of
steps; they differ in how synthetic videos are weighted. `--folder DIR` keeps rendered data and finished runs, so that
an interrupted run can be resumed; `--warm DIR` is the warm backbone of `benchmarks/common/warm_backbone.py`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.common import harness
from benchmarks.common.warm_backbone import warm_backbone
from benchmarks.studies.synvita.arms import ARMS, train_arm, weights_for
from benchmarks.studies.synvita.stage import Budget, Stage
from benchmarks.studies.synvita.trials import LOOKS, OPTIONS, entailment, near_duplicates
from mova.data.negatives.kinds import KINDS
from mova.eval.metrics.classification import roc_auc
from mova.models.registry import load
from mova.models.worlds_tiny.model import WorldsTiny

QUICK = Budget(
    warm_steps=2, begin_videos=64, begin_steps=4, begin_size=16, triplets=56, tested=28, groups=4, steps=3, size=8
)
TESTS = ("biased", "unbiased", "retrieval", "choice")
STRATEGIES = ("fixed", "own", "product", "indicator", "difference")
NONE, FULL = "none (Eq. 2)", "difference + consistency"
SCALED = "difference, mean 1"
KIND_TESTS = ("biased", "unbiased")


def main() -> None:
    """Run the missing arms and seeds, and report."""
    parser = harness.runs_parser(__doc__)
    parser.add_argument("--warm", type=Path, default=None, help="folder of a warm backbone (default: trained here)")
    args = parser.parse_args()
    seeds = harness.seeds_of(args)
    budget = QUICK if args.quick else Budget()
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        warm = args.warm or folder / "warm"
        results = [_seed(seed, budget, folder, warm) for seed in seeds]
    if not args.only_run:
        report(results, seeds, budget)


def _seed(seed: int, budget: Budget, folder: Path, warm: Path) -> dict[str, Any]:
    """Return all runs of a seed and the ensemble's scores; finished ones are read from disk."""
    home = folder / f"seed-{seed}"
    stage = cache(lambda: Stage(seed, budget, home, folder, _towers(budget, warm)))

    def scores() -> dict[str, Any]:
        began = time.process_time()
        shared = stage()
        return {"seconds": time.process_time() - began, **_agreement(shared)}

    first = harness.finished(home / "scores.json", scores)
    runs = {name: harness.finished(home / f"{name}.json", lambda name=name: _run(name, stage())) for name in ARMS}
    return {"scores": first, "runs": runs}


def _towers(budget: Budget, warm: Path) -> tuple[WorldsTiny, WorldsTiny]:
    """Load the warm backbone, and the shipped model, which was trained longer and differently."""
    shipped = load("mova-worlds-tiny")
    assert isinstance(shipped, WorldsTiny)
    return warm_backbone(warm, budget.warm_steps).eval(), shipped.float().eval()


def _run(name: str, stage: Stage) -> dict[str, Any]:
    """Train an arm and measure everything."""
    began, scored, budget = time.process_time(), stage.scored, stage.budget
    weights = weights_for(ARMS[name], scored.own, scored.other, scored.useful)
    rows = {**stage.rows, "weights": weights}
    folder = stage.folder / "runs" / name
    model = train_arm(ARMS[name], stage.start(), rows, budget.size, budget.steps, folder, stage.seed)
    return {**_tested(model, stage), "weight": float(weights.mean()), "seconds": time.process_time() - began}


def _tested(model: Any, stage: Stage) -> dict[str, Any]:
    scores = {name: entailment(model, pairs) for name, pairs in stage.pairs.items()}
    return {**scores, **near_duplicates(model, stage.groups)}


def _agreement(stage: Stage) -> dict[str, Any]:
    """Compare the ensemble's scores with the truth, and test the decoder before any arm."""
    scored = stage.scored
    difference = scored.own - scored.other
    return {
        "difference": {kind: difference[scored.kinds == kind].tolist() for kind in KINDS},
        "useful": {kind: float(scored.useful[scored.kinds == kind].mean()) for kind in KINDS},
        "auc": roc_auc(difference, scored.useful),
        "start": _tested(stage.start(), stage),
    }


def report(results: Sequence[dict[str, Any]], seeds: Sequence[int], budget: Budget) -> None:
    """Print the table and claims, and draw the picture."""
    result = harness.Report("synvita", seeds)
    result.row(name="before any arm", **_cells([seed["scores"]["start"] for seed in results], budget))
    for name in ARMS:
        runs = [seed["runs"][name] for seed in results]
        extra = {"weight": float(np.mean([run["weight"] for run in runs]))}
        extra["train_seconds"] = float(np.mean([run["seconds"] for run in runs]))
        result.row(name=name, **_cells(runs, budget), **extra)
    result.row(name="ensemble", **_ensemble(results))
    for text, value, bound in claims(results):
        result.claim(text, value, bound, value > bound)
    seconds = sum(s["scores"]["seconds"] + sum(run["seconds"] for run in s["runs"].values()) for s in results)
    result.finish(lambda figure: plot(results, figure), columns=("name", *TESTS, "spread", "error"), seconds=seconds)


def _value(run: dict[str, Any], test: str) -> float:
    """Return a result in percent."""
    return 100 * float(run[test]["all"] if test in KIND_TESTS else run[test])


def _cells(runs: Sequence[dict[str, Any]], budget: Budget) -> dict[str, Any]:
    """Return means over seeds in percent, the largest standard deviation over seeds, and the largest binomial error."""
    cells: dict[str, Any] = {}
    spread, error = [], []
    for test in TESTS:
        values = [_value(run, test) for run in runs]
        cells[test] = round(float(np.mean(values)), 1)
        spread.append(float(np.std(values)))
        drawn = budget.tested if test in KIND_TESTS else budget.groups * OPTIONS * (LOOKS if test == "choice" else 1)
        share = cells[test] / 100
        error.append(100 * (share * (1 - share) / (drawn * len(runs))) ** 0.5)
    kinds = {
        f"{test}: {kind}": round(100 * float(np.mean([run[test][kind] for run in runs])), 1)
        for test in KIND_TESTS
        for kind in KINDS
    }
    return {**cells, "spread": round(max(spread), 1), "error": round(max(error), 1), **kinds}


def _ensemble(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return Fig. 2 in numbers: mean difference and share of useful videos by kind, and their ROC-AUC."""
    scores = [seed["scores"] for seed in results]
    means = {kind: float(np.mean([v for s in scores for v in s["difference"][kind]])) for kind in KINDS}
    useful = {kind: float(np.mean([s["useful"][kind] for s in scores])) for kind in KINDS}
    return {"mean_difference": means, "useful": useful, "auc": float(np.mean([s["auc"] for s in scores]))}


def gain(results: Sequence[dict[str, Any]], first: str, second: str, test: str) -> float:
    """Return the mean difference of two arms over seeds, in points."""
    return float(np.mean([_value(s["runs"][first], test) - _value(s["runs"][second], test) for s in results]))


def noise(results: Sequence[dict[str, Any]], test: str) -> float:
    """Return the standard error over seeds of a difference from the arm without synthetic videos, pooled over arms."""
    if len(results) < 2:
        return 0.0
    others = [name for name in ARMS if name != NONE]
    gains = [[_value(s["runs"][name], test) - _value(s["runs"][NONE], test) for s in results] for name in others]
    return float((np.var(gains, axis=1, ddof=1).mean() / len(results)) ** 0.5)


def claims(results: Sequence[dict[str, Any]]) -> list[tuple[str, float, float]]:
    """Return the findings of the paper as (claim, value in points, bound: twice the standard error)."""
    rows = []
    for test in TESTS[1:]:
        bound = 2 * noise(results, test)
        best = gain(results, "difference", NONE, test)
        rest = max(gain(results, name, NONE, test) for name in STRATEGIES if name != "difference")
        rows += [
            (f"synthetic videos help, whole method minus none, {test}", gain(results, FULL, NONE, test), bound),
            (f"unweighted they hurt, none minus fixed, {test}", gain(results, NONE, "fixed", test), bound),
            (f"weighting helps, difference minus fixed, {test}", gain(results, "difference", "fixed", test), bound),
            (f"difference minus the best other strategy, {test}", best - rest, bound),
            (f"consistency helps, with minus without, {test}", gain(results, FULL, "difference", test), bound),
            (f"difference at mean 1 minus fixed, {test}", gain(results, SCALED, "fixed", test), bound),
            (f"consistency helps at mean 1, {test}", gain(results, f"{SCALED} + consistency", SCALED, test), bound),
            (f"true weights help, oracle minus none, {test}", gain(results, "oracle", NONE, test), bound),
        ]
    losses = [_value(s["scores"]["start"], "choice") - _value(s["runs"][NONE], "choice") for s in results]
    before = float(np.mean(losses))
    rows.append(("negative captions alone hurt, before minus none, choice", before, 2 * noise(results, "choice")))
    fixed = gain(results, NONE, "fixed", "biased")
    full_gain = gain(results, NONE, FULL, "biased")
    bound = 2 * noise(results, "biased")
    rows += [
        ("they hurt on tests like the training set, none minus fixed, biased", fixed, bound),
        ("they hurt on tests like the training set, none minus whole method, biased", full_gain, bound),
    ]
    means = _ensemble(results)["mean_difference"]
    useful = _ensemble(results)["useful"]
    rest = min(value for kind, value in means.items() if kind not in ("flip", "hallucination"))
    lowest = max(means["flip"], means["hallucination"])
    rank = float(spearmanr([means[kind] for kind in KINDS], [useful[kind] for kind in KINDS]).statistic)
    return [
        *rows,
        ("Fig. 2: flip and hallucination have the lowest mean f~s - f~r", rest - lowest, 0.0),
        ("Fig. 2: mean f~s - f~r ranks kinds as the share of useful videos does, Spearman", rank, 0.5),
        ("f~s - f~r separates useful videos from others, ROC-AUC", _ensemble(results)["auc"], 0.5),
    ]


def plot(results: Sequence[dict[str, Any]], figure: Any) -> None:
    """Draw Fig. 2 of this run, and the gains over training without synthetic videos; dots are seeds."""
    figure.set_size_inches(13, 5)
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    differences = [[v for s in results for v in s["scores"]["difference"][kind]] for kind in KINDS]
    bodies = left.violinplot(differences, showmeans=True, showextrema=False)["bodies"]
    for body, values in zip(bodies, differences, strict=True):
        body.set_facecolor("#c53030" if np.mean(values) < 0 else "#2b6cb0")
    left.axhline(0, color="black", linewidth=0.8)
    left.set_xticks(range(1, len(KINDS) + 1), KINDS, rotation=30, ha="right")
    left.set_title("f~(V^s, t^s) - f~(V^s, t^r); red: mean below 0")
    others = [name for name in ARMS if name != NONE]
    for i, (test, color) in enumerate(zip(TESTS, ("#9aa5b1", "#2b6cb0", "#e07a1f", "#2f855a"), strict=True)):
        for y, name in enumerate(others):
            gains = [_value(s["runs"][name], test) - _value(s["runs"][NONE], test) for s in results]
            at = y + 0.18 * (1.5 - i)
            right.plot(gains, [at] * len(gains), ".", color=color, alpha=0.5)
            right.plot(np.mean(gains), at, "D", color=color, label=None if y else test, markersize=6)
    right.axvline(0, color="black", linewidth=0.8)
    right.set_yticks(range(len(others)), others)
    right.invert_yaxis()
    right.set(title="points above training on real videos alone", xlabel="AUC, AUC, mAP, accuracy: points")
    right.grid(axis="x", alpha=0.3)
    right.legend()


if __name__ == "__main__":
    main()
