"""Concepts that no pairs of moments trained: what is best known about them from their words alone?

One of the seven factors of Worlds is left out; pairs of the six others train the basis. The words of all values are
known. Its mask in the basis is compared with the word subspace, which needs no training. The basis starts as the
identity or from the word subspaces, and is trained with or without a term that keeps the words of concepts apart. "Best
on validation" takes for each concept the similarity with the highest mean AUC of the *other* concepts on validation
moments, each of these left out in its turn.

Shape legend: N moments, K values of a concept, d width of the shared space.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common import harness
from benchmarks.common.relation_galleries import Gallery, concept_sentences, concept_vectors, draw_gallery
from benchmarks.studies.relations import QUICK, TEMPERATURES, pair_auc
from mova.models.registry import load
from mova.models.relations.fit import FitSettings, fit
from mova.models.worlds_tiny.model import WorldsTiny
from mova.scoring.respects import axis_energy, centered, concept_mask, rotation, word_subspace
from mova.worlds.factors import FACTORS
from mova.worlds.render import HELD_OUT_STYLE, TRAIN_STYLES

CONCEPTS = ("shape", "colour", "size", "motion", "place", "count", "relation")
CLIPS = {
    "train": (2400, TRAIN_STYLES),
    "validation": (600, TRAIN_STYLES),
    "seen": (600, TRAIN_STYLES),
    "unseen": (600, (HELD_OUT_STYLE,)),
}
APART = 3.0
FULL, SUBSPACE, BEST = "full cosine", "word subspace", "best on validation"
BASES = {
    "basis of the others": (False, 0.0),
    "basis of the others, words apart": (False, APART),
    "basis of the others, from the subspaces": (True, 0.0),
    "basis of the others, from the subspaces, words apart": (True, APART),
}
"""Similarities by a trained basis: whether it starts from the word subspaces, and the weight that keeps words apart."""
POSTERIORS = tuple(f"posterior over values, {temperature:g}" for temperature in TEMPERATURES)
CANDIDATES = (SUBSPACE, *BASES)
"""What "best on validation" chooses from; the posterior is a control without masks."""
GOAL = 0.0

Project = Callable[[Tensor], Tensor]
"""Centered moments (N, d) to vectors whose cosines are compared."""


def similarities(
    concept: str, frames: Tensor, labels: Mapping[str, Tensor], values: Mapping[str, Tensor], settings: FitSettings
) -> dict[str, Project]:
    """Return all similarities in a concept whose pairs are left out.

    Args:
        concept: which.
        frames: (N, d), centered training moments.
        labels: of every concept.
        values: vectors (K, d) of the values of every concept.
        settings: of the training.
    """
    subspace = word_subspace(values[concept])
    rows: dict[str, Project] = {FULL: lambda x: x, SUBSPACE: lambda x: x @ subspace}
    for name, temperature in zip(POSTERIORS, TEMPERATURES, strict=True):
        rows[name] = lambda x, t=temperature: torch.softmax(
            F.normalize(x, dim=-1) @ F.normalize(centered(values[concept]), dim=-1).T / t, dim=-1
        )
    others = {name: labels[name] for name in CONCEPTS if name != concept}
    for name, (from_words, apart) in BASES.items():
        start = subspaces_first(concept, values) if from_words else torch.eye(frames.shape[1])
        chosen = FitSettings(settings.steps, seed=settings.seed, apart=apart)
        known = {other: rows @ start for other, rows in values.items() if other != concept or apart}
        fitted = fit(frames @ start, others, known, chosen)
        basis = start @ rotation(fitted.generator)
        mask = concept_mask(axis_energy(values[concept], basis), fitted.sharpness, fitted.offset)
        rows[name] = lambda x, weights=basis * mask: x @ weights
    return rows


def subspaces_first(concept: str, values: Mapping[str, Tensor]) -> Tensor:
    """Return an orthogonal matrix (d, d): its first axes span the concept's word subspace, the next the others'."""
    names = [concept, *(name for name in values if name != concept)]
    spans = [word_subspace(values[name]) for name in names]
    matrix: Tensor = torch.linalg.qr(torch.cat([*spans, torch.eye(len(spans[0]))], dim=1))[0]
    return matrix


def run_seed(seed: int, quick: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Return the AUC of every similarity by gallery and concept."""
    model = cast(WorldsTiny, load("mova-worlds-tiny", device="cpu"))
    part = QUICK if quick else 1
    galleries: dict[str, Gallery] = {
        name: draw_gallery(model, (seed, 10 + number), count // part, styles)
        for number, (name, (count, styles)) in enumerate(CLIPS.items())
    }
    train = galleries.pop("train")
    sentences = concept_sentences((seed, 20), {name: FACTORS[name] for name in CONCEPTS})
    values = concept_vectors(model, sentences)
    center = train.frames.mean(dim=0)
    settings = FitSettings(FitSettings().steps // part, seed=seed)
    labels = {name: train.labels(name, FACTORS[name]) for name in CONCEPTS}
    result: dict[str, dict[str, dict[str, float]]] = {name: {} for name in galleries}
    for concept in CONCEPTS:
        for name, project in similarities(concept, train.frames - center, labels, values, settings).items():
            for style, gallery in galleries.items():
                auc = pair_auc(project(gallery.frames - center), gallery.labels(concept, FACTORS[concept]))
                result[style].setdefault(name, {})[concept] = auc
    return result


def best_on_validation(validation: Mapping[str, Mapping[str, float]], concept: str, names: tuple[str, ...]) -> str:
    """Return the similarity with the highest mean AUC of the other concepts; of equal ones the first."""
    return max(names, key=lambda name: statistics.fmean(validation[name][c] for c in CONCEPTS if c != concept))


def with_choices(run: Mapping[str, Any], style: str) -> dict[str, dict[str, float]]:
    """Return the AUC by similarity and concept, with the two that are chosen on validation."""
    validation, rows = run["validation"], dict(run[style])
    chosen = {BEST: CANDIDATES, "posterior over values": POSTERIORS}
    picks = {
        label: {c: rows[best_on_validation(validation, c, names)][c] for c in CONCEPTS}
        for label, names in chosen.items()
    }
    kept = {name: row for name, row in rows.items() if name not in POSTERIORS}
    return kept | picks


def main() -> None:
    """Run all seeds; print and record the means and the claims."""
    args = harness.runs_parser(__doc__).parse_args()
    seeds, runs = harness.seeds_of(args), harness.seed_runs(args, run_seed)
    if args.only_run:
        return
    report = harness.Report("open_concepts", seeds)
    for style in ("seen", "unseen"):
        tables = [with_choices(run, style) for run in runs]
        means: dict[str, float] = {}
        for name in tables[0]:
            each = [statistics.fmean(table[name].values()) for table in tables]
            means[name] = statistics.fmean(each)
            concepts = {c: round(statistics.fmean(table[name][c] for table in tables), 3) for c in CONCEPTS}
            spread = {"lowest": round(min(each), 3), "highest": round(max(each), 3)}
            report.row(name=name, form=f"{style} styles", mean=round(means[name], 3), **concepts, **spread)
        for name in (BEST, *BASES):
            gain = means[name] - means[SUBSPACE]
            text = f"concepts without pairs, {style} styles: AUC of {name} minus the word subspace"
            report.claim(text, round(gain, 3), GOAL, gain >= GOAL)
    report.finish(seconds=round(sum(run["seconds"] for run in runs), 1))


if __name__ == "__main__":
    main()
