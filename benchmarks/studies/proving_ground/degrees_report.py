"""Table, claims and picture of retrieval by degree of misalignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.common import harness
from benchmarks.studies.proving_ground.degrees import CLIPS, SAME_SHARE

NAME = "proving_ground_degrees"
SENTENCES = 2
"""Length of the caption where the share of frames without a sentence varies."""
LAST = CLIPS - SENTENCES
"""Most clips without a sentence at that length."""
BY_SHARE = tuple((SENTENCES, u) for u in range(LAST + 1))
COLUMNS = ("name", "sentences", "untold", "global", "late", "spread")
NOT_FORMS = ("sentences", "untold", "videos", "every fact known", "sentence to frame, mAP", "chance mAP")
CONTROL = "late interaction (no masks)"
COMPARED = (
    ("default MoVA, its score", ("MoVA, subsets", "subsets"), "mean pooling", ("CLIP4Clip, mean", "global")),
    ("default MoVA, late", ("MoVA, subsets", "late"), "trained by mean pooling, late", ("CLIP4Clip, mean", "late")),
    ("default MoVA, late", ("MoVA, subsets", "late"), "trained without masks, late", (CONTROL, "late")),
    ("default MoVA, its score", ("MoVA, subsets", "subsets"), "late, trained without masks", (CONTROL, "late")),
    ("published MoVA with its masks", ("MoVA, paper", "relevance+masks"), "without", ("MoVA, paper", "relevance")),
    ("repaired MoVA with its masks", ("MoVA, repaired", "relevance+masks"), "without", ("MoVA, repaired", "relevance")),
)
"""Pairs of a system and what it is compared with, each with its scoring form: name, (arm, form), name, (arm, form)."""

Run = Mapping[str, Any]
Degree = tuple[int, int]


def report_degrees(runs: Sequence[Run], seeds: Sequence[int]) -> None:
    """Write the means over seeds of every system and degree, the claims and the picture."""
    result = harness.Report(NAME, seeds)
    for arm in dict.fromkeys(run["arm"] for run in runs):
        for row in mean_degrees([run for run in runs if run["arm"] == arm]):
            result.row(name=arm, **row)
    for text, value in claims(runs):
        result.claim(text, round(value, 3), 0.0, value >= 0)
    result.finish(plot=lambda figure: plot(runs, figure), columns=COLUMNS, seconds=sum(run["seconds"] for run in runs))


def mean_degrees(runs: Sequence[Run]) -> list[dict[str, float]]:
    """Return every degree with means over runs, and the largest standard deviation over runs of a form's R@1."""
    rows = []
    for cells in zip(*(run["degrees"] for run in runs), strict=True):
        forms = [name for name in cells[0] if name not in NOT_FORMS]
        row = {name: round(fmean(cell[name] for cell in cells), 3) for name in cells[0]}
        row["spread"] = round(max(float(np.std([cell[form] for cell in cells])) for form in forms), 1)
        rows.append(row)
    return rows


def recalls(runs: Sequence[Run], arm: str, form: str, degree: Degree) -> list[float]:
    """Return the R@1 of a system at a degree (sentences, clips without a sentence), one per seed."""
    sentences, untold = degree
    share = round(untold / (sentences + untold), 4)
    return [
        cell[form]
        for run in runs
        if run["arm"] == arm
        for cell in run["degrees"]
        if (cell["sentences"], cell["untold"]) == (sentences, share) and form in cell
    ]


def claims(runs: Sequence[Run]) -> list[tuple[str, float]]:
    """Return (claim, value); a claim holds at 0 and above. Systems that were not run have none."""
    rows = []
    for name, system, other, control in COMPARED:
        gains = {
            degree: _gain(runs, system, control, degree)
            for degree in (BY_SHARE[0], BY_SHARE[-1], SAME_SHARE[0], SAME_SHARE[-1])
        }
        if not all(gain is not None for gain in gains.values()):
            continue
        low, high, short, long = (float(gain or 0.0) for gain in gains.values())
        pair = f"{name} minus {other}, R@1"
        most = round(100 * LAST / CLIPS)
        rows += [
            (f"{pair}: {most} % of frames without a sentence", high),
            (f"{pair}: gain at {most} % of frames without a sentence minus gain at 0 %", high - low),
            (f"{pair}: gain with {SAME_SHARE[-1][0]} sentences minus gain with one, half without", long - short),
        ]
    return rows


def _gain(runs: Sequence[Run], system: tuple[str, str], control: tuple[str, str], degree: Degree) -> float | None:
    """Return the mean R@1 of a system minus that of its control; None if one of them was not run."""
    ours, theirs = (recalls(runs, *which, degree) for which in (system, control))
    return fmean(ours) - fmean(theirs) if ours and theirs else None


def plot(runs: Sequence[Run], figure: Any) -> None:
    """Draw R@1 of every system by share of frames without a sentence, and by number of sentences."""
    from matplotlib import colormaps

    figure.set_size_inches(12, 5.5)
    arms = list(dict.fromkeys(run["arm"] for run in runs))
    colors = colormaps["tab10"](range(10))
    axes = figure.subplots(1, 3, sharey=True)
    untold = [100 * u / (k + u) for k, u in BY_SHARE]
    lengths = [k for k, _ in SAME_SHARE]
    panels = (
        (axes[0], BY_SHARE, untold, "own score"),
        (axes[1], BY_SHARE, untold, "late interaction"),
        (axes[2], SAME_SHARE, lengths, "own score"),
    )
    for axis, degrees, places, score in panels:
        for arm, color in zip(arms, colors, strict=False):
            own = next(run["own"] for run in runs if run["arm"] == arm)
            form = "late" if score == "late interaction" else own
            values = [recalls(runs, arm, form, degree) for degree in degrees]
            if not all(values):
                continue
            middle, spread = [fmean(row) for row in values], [float(np.std(row)) for row in values]
            axis.errorbar(places, middle, spread, color=color, marker="o", markersize=4, capsize=2, label=arm)
        axis.plot(places, [_known(runs, degree) for degree in degrees], "k:", label="every fact known")
        axis.grid(alpha=0.3)
        axis.set(ylim=(0, 102))
    axes[0].set(title=f"captions of {SENTENCES} sentences, own score", ylabel="R@1, mean of directions, percent")
    axes[1].set(title=f"captions of {SENTENCES} sentences, late interaction")
    axes[2].set(title="50 % of frames without one, own score", xlabel="sentences in the caption")
    axes[2].set_xticks(lengths)
    for axis in axes[:2]:
        axis.set(xlabel="frames without a sentence, percent")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)


def _known(runs: Sequence[Run], degree: Degree) -> float:
    arm = runs[0]["arm"]
    return fmean(recalls(runs, arm, "every fact known", degree))
