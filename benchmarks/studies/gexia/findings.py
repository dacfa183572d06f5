"""Table, claims and picture of the study; numbers are R@1 in percent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.studies.gexia.arms import ARMS

GALLERIES = ("short", "long", "twins", "brief")
DIRECTIONS = ("t2v", "v2t")
OWN = "own"
"""Form of an arm's training: its own `#iter`, or the subsets of a MoVA."""
BY_SIZE, ONE, THREE = "all three, #iter by size", "all three, #iter 1", "all three, #iter 3"
RANDOM_BY_SIZE, RANDOM_ONE = "all three at random, #iter by size", "all three at random, #iter 1"
FREE, FREE_SHORT = "all three, #iter by size, nothing frozen", "SVST, #iter 1, nothing frozen"
NO_VISION, NO_TEXT, SCRATCH = (f"{BY_SIZE}, {what}" for what in ("vision frozen", "text frozen", "from scratch"))
FEW, FEW_MOVA = "SVST, #iter 1, as few pairs", "MoVA, SVST, as few pairs"
SHORT_ONE, IMAGES = "SVST, #iter 1", "all three + images, #iter by size"
DRAWN = (
    *(
        "GEXIA as it starts",
        SHORT_ONE,
        "SVST, #iter 3",
        FEW,
        "+ LVLT, #iter 1",
        "+ LVST, #iter 1",
        ONE,
        RANDOM_ONE,
        THREE,
    ),
    *(BY_SIZE, RANDOM_BY_SIZE, IMAGES, NO_VISION, NO_TEXT, FREE, FREE_SHORT),
    *("MoVA as it starts", "MoVA, SVST", FEW_MOVA, "MoVA, + LVLT", "MoVA, + LVLT at random"),
)
"""Arms of the picture from top to bottom; arms trained from scratch would compress the scale."""
QUICK = (SHORT_ONE, BY_SIZE, "MoVA, SVST")
Runs = Sequence[dict[str, Any]]
Term = tuple[str, str]
"""An arm and one of its forms."""
DIFFERENCES: tuple[tuple[str, Term, Term, str], ...] = (
    *((f"LVLT besides SVST, {g}", ("+ LVLT, #iter 1", OWN), (SHORT_ONE, OWN), g) for g in GALLERIES),
    *((f"LVST besides SVST, {g}", ("+ LVST, #iter 1", OWN), (SHORT_ONE, OWN), g) for g in GALLERIES),
    *((f"all three above SVST, #iter 1, {g}", (ONE, OWN), (SHORT_ONE, OWN), g) for g in GALLERIES),
    *((f"all three above SVST with as few pairs, #iter 1, {g}", (ONE, OWN), (FEW, OWN), g) for g in GALLERIES),
    *((f"random concatenation above SVST, #iter 1, {g}", (RANDOM_ONE, OWN), (SHORT_ONE, OWN), g) for g in GALLERIES),
    *((f"source above random, #iter 1, {g}", (ONE, OWN), (RANDOM_ONE, OWN), g) for g in GALLERIES),
    *((f"source above random, #iter by size, {g}", (BY_SIZE, OWN), (RANDOM_BY_SIZE, OWN), g) for g in GALLERIES),
    *((f"training by size above all 1, {g}", (BY_SIZE, OWN), (ONE, OWN), g) for g in GALLERIES),
    *((f"training by size above all 3, {g}", (BY_SIZE, OWN), (THREE, OWN), g) for g in GALLERIES),
    ("inference 3-3 above 1-1, long", (BY_SIZE, "3-3"), (BY_SIZE, "1-1"), "long"),
    ("inference 3-3 above 1-1, twins", (BY_SIZE, "3-3"), (BY_SIZE, "1-1"), "twins"),
    ("inference 1-1 above 3-3, short", (BY_SIZE, "1-1"), (BY_SIZE, "3-3"), "short"),
    ("inference 3-1 above 1-1, brief", (BY_SIZE, "3-1"), (BY_SIZE, "1-1"), "brief"),
    ("inference 3-1 above 3-3, brief", (BY_SIZE, "3-1"), (BY_SIZE, "3-3"), "brief"),
    *((f"training SVST by 1 above 3, {g}", (SHORT_ONE, OWN), ("SVST, #iter 3", OWN), g) for g in GALLERIES),
    *((f"images besides, {g}", (IMAGES, OWN), (BY_SIZE, OWN), g) for g in (*GALLERIES, "image")),
    ("inference 0-1 above 1-1, image", (IMAGES, "0-1"), (IMAGES, "1-1"), "image"),
    ("inference 0-1 above 3-1, image", (IMAGES, "0-1"), (IMAGES, "3-1"), "image"),
    *((f"nothing frozen above both frozen, {g}", (FREE, OWN), (BY_SIZE, OWN), g) for g in GALLERIES),
    *(
        (f"nothing frozen above {what}, {g}", (FREE, OWN), (arm, OWN), g)
        for what, arm in (("vision frozen", NO_VISION), ("text frozen", NO_TEXT), ("from scratch", SCRATCH))
        for g in GALLERIES
    ),
    *((f"nothing frozen: all three by size above SVST, {g}", (FREE, OWN), (FREE_SHORT, OWN), g) for g in GALLERIES),
    *((f"MoVA: LVLT besides SVST, {g}", ("MoVA, + LVLT", OWN), ("MoVA, SVST", OWN), g) for g in GALLERIES),
    *(
        (f"MoVA: LVLT besides SVST with as few pairs, {g}", ("MoVA, + LVLT", OWN), (FEW_MOVA, OWN), g)
        for g in GALLERIES
    ),
    *(
        (f"MoVA: source above random, {g}", ("MoVA, + LVLT", OWN), ("MoVA, + LVLT at random", OWN), g)
        for g in GALLERIES
    ),
    *((f"GEXIA above mean pooling, SVST, {g}", (FREE_SHORT, OWN), ("MoVA, SVST", "global"), g) for g in GALLERIES),
    *((f"GEXIA by size above MoVA, SVST, {g}", (FREE, OWN), ("MoVA, SVST", OWN), g) for g in GALLERIES),
)
"""Findings of the paper (and two expectations at the end) as differences that should not be below 0."""


def recalls(runs: Runs, term: Term, gallery: str, directions: Sequence[str] = DIRECTIONS) -> npt.NDArray[np.float64]:
    """Return R@1 of each finished seed, in the order of seeds, averaged over directions."""
    arm, form = term
    values = [
        np.mean([row[direction] for direction in directions])
        for run in sorted(runs, key=lambda run: run["seed"])
        if run["arm"] == arm
        for row in run["rows"]
        if row["gallery"] == gallery and (row["own"] if form == OWN else row["form"] == form)
    ]
    return np.array(values, dtype=np.float64)


def table(runs: Runs) -> list[dict[str, Any]]:
    """Return one row per arm and form, then one per difference."""
    rows: list[dict[str, Any]] = []
    for arm in (name for name in ARMS if any(run["arm"] == name for run in runs)):
        arm_runs = [run for run in runs if run["arm"] == arm]
        facts = {key: arm_runs[0][key] for key in ("pairs", "parameters", "learning")}
        facts["train_seconds"] = round(float(np.mean([run["train_seconds"] for run in arm_runs])), 1)
        several = ARMS[arm].curve or not ARMS[arm].gexia
        forms = dict.fromkeys(row["form"] for row in arm_runs[0]["rows"] if several)
        for form in (OWN, *forms):
            rows.append({"name": arm, "form": form, **_cells(arm_runs, (arm, form)), **(facts if form == OWN else {})})
    limits = {
        f"{gallery}_{direction}": round(float(np.mean([run["ceiling"][gallery][i] for run in runs])), 1)
        for gallery in GALLERIES
        for i, direction in enumerate(DIRECTIONS)
    }
    rows.append({"name": "all facts known", "form": "", **limits, "spread": 0.0})
    for text, more, less, gallery in DIFFERENCES:
        seeds = _difference(runs, more, less, gallery)
        if len(seeds):
            rows.append({"difference": text, "mean": round(float(seeds.mean()), 2), "standard_error": _error(seeds)})
            rows[-1]["seeds"] = seeds.round(2).tolist()
    return rows


def _cells(runs: Runs, term: Term) -> dict[str, Any]:
    """Return means over seeds, the largest standard deviation over seeds, and the largest binomial error, in points."""
    means: dict[str, Any] = {}
    spreads, errors = [], []
    for gallery in (*GALLERIES, "image"):
        queries = sum(run["queries"][gallery] for run in runs)
        for direction in DIRECTIONS:
            values = recalls(runs, term, gallery, (direction,))
            if len(values):
                share = values.mean() / 100
                means[f"{gallery}_{direction}"] = round(float(values.mean()), 1)
                spreads.append(float(values.std()))
                errors.append(100 * float(share * (1 - share) / queries) ** 0.5)
    return {**means, "spread": round(max(spreads), 1), "binomial_error": round(max(errors), 1)}


def _difference(runs: Runs, more: Term, less: Term, gallery: str) -> npt.NDArray[np.float64]:
    """Return the difference per seed, for seeds that have both."""
    seeds = [{run["seed"] for run in runs if run["arm"] == term[0]} for term in (more, less)]
    paired = [run for run in runs if run["seed"] in seeds[0] & seeds[1]]
    return recalls(paired, more, gallery) - recalls(paired, less, gallery)


def _error(seeds: npt.NDArray[np.float64]) -> float | None:
    """Return the standard error of the mean over seeds; None for a single seed."""
    return round(float(seeds.std(ddof=1) / len(seeds) ** 0.5), 2) if len(seeds) > 1 else None


def claims(runs: Runs) -> list[tuple[str, float, float]]:
    """Return (claim, value, lower bound) in points of R@1, averaged over directions and seeds."""
    rows = []
    for text, more, less, gallery in DIFFERENCES:
        seeds = _difference(runs, more, less, gallery)
        if len(seeds):
            rows.append((f"{text} (standard error {_error(seeds)})", round(float(seeds.mean()), 2), 0.0))
    steps = [recalls(runs, (BY_SIZE, f"{r}-{r}"), "long") for r in range(6)]
    if len(steps[0]):
        means = [float(values.mean()) for values in steps]
        rest = max(means[1:3] + means[4:])
        rows.append(("long videos: 3 iterations above the best of 1, 2, 4 and 5", round(means[3] - rest, 2), 0.0))
    return rows


def plot(runs: Runs, figure: Any) -> None:
    """Draw R@1 of every arm by gallery (dots are seeds), and of long videos by iterations at inference (as Fig. 3)."""
    figure.set_size_inches(15, 6)
    axes = figure.subplots(1, len(GALLERIES) + 1, gridspec_kw={"width_ratios": [1] * len(GALLERIES) + [1.25]})
    names = [name for name in DRAWN if any(run["arm"] == name for run in runs)][::-1]
    for axis, gallery in zip(axes[:-1], GALLERIES, strict=True):
        for y, name in enumerate(names):
            values = recalls(runs, (name, OWN), gallery)
            color = "#2b6cb0" if ARMS[name].gexia else "#e07a1f"
            axis.plot(values, [y] * len(values), ".", color=color, alpha=0.5)
            axis.plot(values.mean(), y, "D", color=color, markersize=5)
        axis.set(title=gallery, xlabel="R@1, mean of both directions, percent")
        axis.set_yticks(range(len(names)), names if gallery == GALLERIES[0] else [""] * len(names))
        axis.grid(axis="x", alpha=0.3)
    styles = {BY_SIZE: "#2b6cb0", ONE: "#2f855a", THREE: "#805ad5", SHORT_ONE: "#9aa5b1"}
    for name, color in styles.items():
        seeds = [recalls(runs, (name, f"{r}-{r}"), "long") for r in range(6)]
        if len(seeds[0]):
            means = np.array([values.mean() for values in seeds])
            spread = np.array([values.std() for values in seeds])
            axes[-1].plot(range(6), means, "o-", color=color, label=name)
            axes[-1].fill_between(range(6), means - spread, means + spread, color=color, alpha=0.15, linewidth=0)
    axes[-1].set(title="long, iterations at inference", xlabel="#iter of videos and texts")
    axes[-1].legend(fontsize=8)
    axes[-1].grid(alpha=0.3)
