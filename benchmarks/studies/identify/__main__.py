"""Test the theory: does MoVA's objective identify the causes of a simulated world, and which conditions does it need?

Each condition is fitted to worlds of several seeds and measured on held-out draws
(`benchmarks/studies/identify/study.py`). The table has one row per measure with the value predicted by the theory, the
mean over seeds, and the standard deviation below. The last rows are the rolled-pair test: the same objective fitted to
wrong pairs. `docs/research/theory.md` discusses the results.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from benchmarks.common import harness
from benchmarks.studies.identify.study import CONDITIONS, Outcome, identify, rolled_contrast

SEEDS = 3
ROLLED = {"full": "matching contrast", "published contrast": "published contrast"}
QUICK: dict[str, Any] = {"steps": 250, "batch": 128}
COLUMNS = {
    "to_truth": "code to truth",
    "from_truth": "truth to code",
    "absent": "code to absent",
    "text_nuisance": "text nuisance",
    "frame_nuisance": "frame nuisance",
    "jacobian": "d/d nuisance",
    "precision": "mask precision",
    "recall": "mask recall",
    "recall_far": "recall, far from zero",
    "atom_own": "atom: own",
    "atom_other": "atom: other",
    "video_to_truth": "video: code to truth",
    "video_from_truth": "video: truth to code",
    "video_absent": "video: code to absent",
    "video_atom_own": "video: atom own",
    "video_atom_other": "video: atom other",
}
THEORY = (1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 1, 0)

Outcomes = dict[str, list[Outcome]]
Rolled = dict[str, list[float]]


def run(seeds: list[int], fitting: dict[str, Any]) -> tuple[Outcomes, Rolled]:
    """Run all fits in parallel, one per core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    # A function of this module cannot be the initializer: the children of a package run with -m cannot import it.
    single_thread = {"initializer": torch.set_num_threads, "initargs": (1,)}
    with ProcessPoolExecutor(min(cores, 8), mp_context=context, **single_thread) as pool:
        fits: dict[str, list[Future[Outcome]]] = {
            name: [pool.submit(identify, name, seed, **fitting) for seed in seeds] for name in CONDITIONS
        }
        rolled: dict[str, list[Future[float]]] = {
            name: [pool.submit(rolled_contrast, name, seed, **fitting) for seed in seeds] for name in ROLLED
        }
        return (
            {name: [future.result() for future in futures] for name, futures in fits.items()},
            {name: [future.result() for future in futures] for name, futures in rolled.items()},
        )


def values(outcomes: list[Outcome], measure: str) -> np.ndarray:
    return np.array([asdict(outcome.measures)[measure] for outcome in outcomes])


def shares(outcomes: list[Outcome], rolled: list[float]) -> np.ndarray:
    """Return, per seed, the gain of wrong pairs over chance as a share of the gain of true pairs."""
    return np.array([(o.chance - r) / (o.chance - o.contrast) for o, r in zip(outcomes, rolled, strict=True)])


def add_rows(report: harness.Report, outcomes: Outcomes, rolled: Rolled) -> None:
    def add(title: str, predicted: float | None, parts: dict[str, np.ndarray]) -> None:
        report.row(
            name=title, wanted=predicted, **{name: round(float(part.mean()), 3) + 0.0 for name, part in parts.items()}
        )
        report.row(name="  sd", wanted=None, **{name: round(float(part.std()), 3) for name, part in parts.items()})

    for (measure, title), predicted in zip(COLUMNS.items(), THEORY, strict=True):
        add(title, predicted, {name: values(runs, measure) for name, runs in outcomes.items()})
    gains = {name: np.array([o.chance - o.contrast for o in runs]) for name, runs in outcomes.items()}
    add("gain over chance, nats", None, gains)
    wrong = {name: np.array([o.chance for o in outcomes[name]]) - rolled[name] for name in ROLLED}
    add("the same, wrong pairs", 0, wrong)
    add("share without match", 0, {name: shares(outcomes[name], rolled[name]) for name in ROLLED})


def add_claims(report: harness.Report, outcomes: Outcomes, rolled: Rolled) -> None:
    """Add the claims of the theory, the decreases it predicts, and the effect of the shortcut."""

    def mean(name: str, measure: str) -> float:
        return float(values(outcomes[name], measure).mean())

    def at_least(text: str, value: float, bound: float) -> None:
        report.claim(text, round(value, 4) + 0.0, bound, value >= bound)

    def at_most(text: str, value: float, bound: float) -> None:
        report.claim(text, round(value, 4) + 0.0, bound, value <= bound)

    at_least("full: R^2 from the active code to the concepts shown", mean("full", "to_truth"), 0.9)
    at_least("full: R^2 from the concepts shown to the active code", mean("full", "from_truth"), 0.9)
    at_most("full: R^2 from the active code to absent concepts", mean("full", "absent"), 0.1)
    at_most("full: R^2 of text nuisance on the active code", mean("full", "text_nuisance"), 0.05)
    at_most("full: |d code / d text nuisance| over |d code / d z|", mean("full", "jacobian"), 0.1)
    at_least("full: precision of mask supports", mean("full", "precision"), 0.9)
    at_least("full: recall of mask supports", mean("full", "recall"), 0.9)
    at_least("full: an intersection of masks predicts its concept (R^2)", mean("full", "atom_own"), 0.9)
    at_most("full: an intersection of masks predicts another concept (R^2)", mean("full", "atom_other"), 0.1)
    at_least("full: R^2 from the active frame code to what the frame shows", mean("full", "video_to_truth"), 0.9)
    at_least("full: R^2 from what the frame shows to the active frame code", mean("full", "video_from_truth"), 0.9)
    at_most("full: R^2 from the active frame code to absent concepts", mean("full", "video_absent"), 0.1)
    at_least("full: an intersection predicts its concept from frames (R^2)", mean("full", "video_atom_own"), 0.9)
    at_most("full: an intersection predicts another concept from frames (R^2)", mean("full", "video_atom_other"), 0.1)
    fall = mean("full", "precision") - mean("no sparsity", "precision")
    at_least("no sparsity: precision of mask supports falls by", fall, 0.1)
    at_least(
        "no view diversity: blocks are still identified (R^2 to truth)", mean("no view diversity", "to_truth"), 0.9
    )
    for name in ("no view diversity", "no temporal masks"):
        rise = mean(name, "atom_other") - mean("full", "atom_other")
        at_least(f"{name}: R^2 of an intersection for another concept rises by", rise, 0.5)
    fall = mean("full", "precision") - mean("no temporal masks", "precision")
    at_least("no temporal masks: precision of mask supports falls by", fall, 0.3)
    for name, title in ROLLED.items():
        share = float(shares(outcomes[name], rolled[name]).mean())
        at_most(f"{title}: needs the match (share of its gain that wrong pairs reach)", share, 0.05)
    name = "published contrast"
    at_least(f"{name}: R^2 from the active code to the concepts shown", mean(name, "to_truth"), 0.9)
    at_most(f"{name}: R^2 from the active code to absent concepts", mean(name, "absent"), 0.1)
    at_least(f"{name}: precision of mask supports", mean(name, "precision"), 0.9)


def draw(figure: Any, outcomes: Outcomes, rolled: Rolled) -> None:
    """Draw which coordinates open for which concept (top), all measures and the rolled-pair test (bottom)."""
    figure.set_size_inches(19, 8.5)
    above, below = figure.subfigures(2, 1, height_ratios=(2, 3))
    above.suptitle("How often masks of frames that show a concept (rows) open each coordinate of the code (columns)")
    for axes, (name, runs) in zip(above.subplots(1, len(outcomes), sharey=True), outcomes.items(), strict=True):
        opened = runs[0].opened
        order = np.lexsort((-opened.max(axis=0), opened.argmax(axis=0) + len(opened) * (opened.max(axis=0) < 0.05)))
        picture = axes.imshow(opened[:, order], vmin=0, vmax=1, cmap="Blues", aspect="auto")
        axes.set_title(f"{name}\n", fontsize=12)
        axes.text(0.5, 1.03, CONDITIONS[name].title, ha="center", fontsize=8, transform=axes.transAxes)
        axes.set_xticks([])
        axes.set_yticks(range(len(opened)), [f"concept {k + 1}" for k in range(len(opened))])
    above.colorbar(picture, ax=above.axes, fraction=0.02, label="share of frames")
    left, right = below.subplots(1, 2, width_ratios=(6, 1))
    draw_table(left, outcomes)
    positions = np.arange(len(ROLLED))
    for offset, label, color in ((-0.2, "true pairs", "#2b6cb0"), (0.2, "wrong pairs", "#e07a1f")):
        nats = [[o.contrast for o in outcomes[n]] if offset < 0 else rolled[n] for n in ROLLED]
        start = [np.mean([o.chance for o in outcomes[n]]) for n in ROLLED]
        gain = [c - np.mean(v) for c, v in zip(start, nats, strict=True)]
        spread = [np.std(v) for v in nats]
        right.bar(positions + offset, gain, 0.4, yerr=spread, label=label, color=color)
    right.axhline(0, color="black", linewidth=1)
    right.set_xticks(positions, [title.replace(" ", "\n") for title in ROLLED.values()])
    right.set_ylabel("held-out gain over chance (nats)")
    right.set_title("Every video with a wrong text:\ndoes the contrast still decrease?", fontsize=11)
    right.legend(fontsize=9)


def draw_table(axes: Any, outcomes: Outcomes) -> None:
    """Draw means and standard deviations; darker cells are further from the prediction of the theory."""
    cells = {name: [values(runs, measure) for measure in COLUMNS] for name, runs in outcomes.items()}
    away = [
        [abs(float(part.mean()) - value) for part, value in zip(row, THEORY, strict=True)] for row in cells.values()
    ]
    axes.imshow(np.clip(away, 0, 1), cmap="Oranges", vmin=0, vmax=1.4, aspect="auto")
    for y, row in enumerate(cells.values()):
        for x, part in enumerate(row):
            axes.text(x, y, f"{part.mean():.2f}\n± {part.std():.2f}", ha="center", va="center", fontsize=9)
    titles = [
        f"{title.replace(' ', chr(10), 1)}\n(theory: {value})"
        for title, value in zip(COLUMNS.values(), THEORY, strict=True)
    ]
    axes.set_xticks(range(len(titles)), titles, fontsize=9)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(cells)), list(cells))
    axes.tick_params(length=0)
    axes.set_xlabel(
        "R² of regressions, sizes of derivatives, and mask supports, on held-out draws; mean ± sd over seeds"
    )


def main() -> None:
    """Fit, measure, print and record the results."""
    args = harness.arguments(__doc__)
    seeds = [args.seed] if args.quick else list(range(args.seed * SEEDS, (args.seed + 1) * SEEDS))
    report = harness.Report("identify", seeds=seeds)
    outcomes, rolled = run(seeds, QUICK if args.quick else {})
    add_rows(report, outcomes, rolled)
    add_claims(report, outcomes, rolled)
    report.finish(lambda figure: draw(figure, outcomes, rolled))


if __name__ == "__main__":
    main()
