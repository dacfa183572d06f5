"""Do two moments share one thing? Concept masks in a learned basis, against similarities without masks.

Half of the values of each concept are named (in the concept's sentences) and trained (as pairs of moments); the pairs
of the test have values of the other half. The towers have seen all of them. AUC of "same value" against "different".

Shape legend: N moments, K values of a concept, d width of the shared space.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common import harness
from benchmarks.common.relation_galleries import (
    STREAM,
    Gallery,
    concept_sentences,
    concept_vectors,
    draw_gallery,
)
from mova.eval.metrics.classification import roc_auc
from mova.models.registry import load
from mova.models.relations.fit import FitSettings, Fitted, fit
from mova.models.worlds_tiny.model import WorldsTiny
from mova.scoring.respects import centered, rotation, word_subspace
from mova.worlds.factors import FACTORS
from mova.worlds.render import HELD_OUT_STYLE, TRAIN_STYLES

CONCEPTS = ("shape", "colour", "motion", "place")
"""Concepts with enough values for halves."""
CLIPS = {"train": (2400, TRAIN_STYLES), "seen": (600, TRAIN_STYLES), "unseen": (600, (HELD_OUT_STYLE,))}
QUICK = 5
"""Divisor of clips and steps in the quick form."""
TEMPERATURES = (0.02, 0.05, 0.1, 0.2)
KEPT = 0.25
"""Share of axes that masks without training keep."""
OURS, LEFT_OUT, SUBSPACE = "word mask, learned basis", "word mask, concept left out", "word subspace"
FREE = "free mask per concept, learned basis"
MASK_FREE = ("full cosine", SUBSPACE, "posterior over named values")
GOAL, MARGIN = 0.88, 0.05

Project = Callable[[str, Tensor], Tensor]
"""A concept and centered moments (N, d) to vectors whose cosines are compared."""


def pair_auc(vectors: Tensor, labels: Tensor) -> float:
    """Return the AUC of pairs with the same value against pairs with different ones; -1 is in no pair."""
    real = labels >= 0
    unit, values = F.normalize(vectors[real], dim=-1), labels[real]
    first, second = torch.triu_indices(len(values), len(values), 1)
    return float(roc_auc((unit @ unit.T)[first, second].numpy(), (values[first] == values[second]).numpy()))


def split_values(seed: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the named and the never-named half of each concept's values."""
    rng = np.random.default_rng([STREAM, seed, 0])
    named, never = {}, {}
    for concept in CONCEPTS:
        values = [FACTORS[concept][i] for i in rng.permutation(len(FACTORS[concept]))]
        named[concept], never[concept] = values[: len(values) // 2], values[len(values) // 2 :]
    return named, never


def untrained(values: Mapping[str, Tensor], center: Tensor, seed: int) -> dict[str, Project]:
    """Return similarities that need no training."""
    width = len(center)
    spread = {name: centered(rows).square().mean(dim=0) for name, rows in values.items()}
    kept = {name: (e >= e.quantile(1 - KEPT)).float() for name, e in spread.items()}
    draws = torch.Generator().manual_seed(seed)
    chance = {name: (torch.rand(width, generator=draws) < KEPT).float() for name in values}
    subspaces = {name: word_subspace(rows) for name, rows in values.items()}
    return {
        "full cosine": lambda concept, x: x,
        "random mask": lambda concept, x: x * chance[concept],
        "axes of highest variance": lambda concept, x: x * kept[concept],
        SUBSPACE: lambda concept, x: x @ subspaces[concept],
    }


def posteriors(values: Mapping[str, Tensor], center: Tensor) -> list[Project]:
    """Return the posteriors over the named values, by temperature, with and without centering."""

    def build(tau: float, plain: bool) -> Project:
        def project(concept: str, x: Tensor) -> Tensor:
            rows = values[concept] if plain else centered(values[concept])
            seen = F.normalize(x + center if plain else x, dim=-1)
            return torch.softmax(seen @ F.normalize(rows, dim=-1).T / tau, dim=-1)

        return project

    return [build(tau, plain) for tau in TEMPERATURES for plain in (True, False)]


def masked(fitted: Fitted, values: Mapping[str, Tensor], hard: bool = False) -> Project:
    """Return the similarity by a trained basis and its masks."""
    masks = dict(zip(values, fitted.masks(list(values.values())), strict=True))
    basis = rotation(fitted.generator)

    def project(concept: str, x: Tensor) -> Tensor:
        mask = masks[concept]
        return (x @ basis) * (mask > 0.5 if hard else mask)

    return project


def trained(
    frames: Tensor, labels: Mapping[str, Tensor], values: Mapping[str, Tensor], steps: int, seed: int
) -> dict[str, Project]:
    """Train every arm."""

    def run(names: Sequence[str] = CONCEPTS, **settings: Any) -> Fitted:
        chosen = FitSettings(steps=steps, seed=seed, **settings)
        return fit(frames, {n: labels[n] for n in names}, {n: values[n] for n in names}, chosen)

    ours = run()
    left_out = {n: masked(run([m for m in CONCEPTS if m != n]), values) for n in CONCEPTS}
    return {
        "word mask, axes as they are": masked(run(rotate=False), values),
        "one mask for all, learned basis": masked(run(masks="one"), values),
        FREE: masked(run(masks="free"), values),
        OURS: masked(ours, values),
        f"{OURS}, hard": masked(ours, values, hard=True),
        LEFT_OUT: lambda concept, x: left_out[concept](concept, x),
    }


def run_seed(seed: int, quick: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Return the AUC of each arm by style and concept."""
    model = cast(WorldsTiny, load("mova-worlds-tiny", device="cpu"))
    part = QUICK if quick else 1
    galleries = {
        name: draw_gallery(model, (seed, number), count // part, styles)
        for number, (name, (count, styles)) in enumerate(CLIPS.items(), start=1)
    }
    named, never = split_values(seed)
    values = concept_vectors(model, concept_sentences((seed, 4), named))
    train = galleries.pop("train")
    center = train.frames.mean(dim=0)
    labels = {concept: train.labels(concept, named[concept]) for concept in CONCEPTS}
    steps = FitSettings().steps // part
    arms = untrained(values, center, seed) | trained(train.frames - center, labels, values, steps, seed)

    def measure(project: Project, gallery: Gallery) -> dict[str, float]:
        moments = gallery.frames - center
        return {c: pair_auc(project(c, moments), gallery.labels(c, never[c])) for c in CONCEPTS}

    result: dict[str, dict[str, dict[str, float]]] = {}
    for style, gallery in galleries.items():
        rows = {name: measure(project, gallery) for name, project in arms.items()}
        tries = [measure(project, gallery) for project in posteriors(values, center)]
        rows[MASK_FREE[2]] = max(tries, key=lambda row: statistics.fmean(row.values()))
        result[style] = rows
    return result


def main() -> None:
    """Run all seeds; print and record the means and the claims."""
    args = harness.runs_parser(__doc__).parse_args()
    seeds, runs = harness.seeds_of(args), harness.seed_runs(args, run_seed)
    if args.only_run:
        return
    report = harness.Report("relations", seeds)
    for style in ("seen", "unseen"):
        means: dict[str, float] = {}
        for arm in runs[0][style]:
            concepts = {c: statistics.fmean(run[style][arm][c] for run in runs) for c in CONCEPTS}
            each = [statistics.fmean(run[style][arm].values()) for run in runs]
            means[arm] = statistics.fmean(each)
            rounded = {c: round(value, 3) for c, value in concepts.items()}
            spread = {"lowest": round(min(each), 3), "highest": round(max(each), 3)}
            report.row(name=arm, form=f"{style} styles", mean=round(means[arm], 3), **rounded, **spread)
        claims(report, means, style)
    report.finish(seconds=round(sum(run["seconds"] for run in runs), 1))


def claims(report: harness.Report, means: Mapping[str, float], style: str) -> None:
    """Add the claims of one kind of styles."""
    ours = means[OURS]
    what = f"never-named values, {style} styles"
    report.claim(f"{what}: mean AUC of the word mask in the learned basis", round(ours, 3), GOAL, ours >= GOAL)
    for control in MASK_FREE:
        gain = ours - means[control]
        report.claim(f"{what}: gain of the word mask over {control}", round(gain, 3), MARGIN, gain >= MARGIN)
    gain = ours - means[FREE]
    report.claim(f"{what}: gain of the word mask over a free mask per concept", round(gain, 3), MARGIN, gain >= MARGIN)
    gain = means[LEFT_OUT] - means[SUBSPACE]
    report.claim(f"{what}: concept without pairs, its mask against its word subspace", round(gain, 3), 0.0, gain >= 0)


if __name__ == "__main__":
    main()
