"""Captions that say "in the same place" or "in another colour": is what two moments share enough to find their video?

Pairs of videos differ in one thing: whether two events share the value of a factor that no sentence names. Late
interaction cannot tell them apart, by construction. What two moments share, by one of the similarities of `relations`,
is added with a weight that is chosen on validation pairs, 0 included. Validation pairs have the named half of the
values, test pairs the half that was neither named nor trained.

Shape legend: N moments, d width of the shared space.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor

from benchmarks.common import harness
from benchmarks.common.comparison_galleries import (
    CONCEPTS,
    Pairs,
    choose_weight,
    draw_pairs,
    recall,
    shared,
    told_apart,
)
from benchmarks.common.relation_galleries import concept_sentences, concept_vectors, draw_gallery
from benchmarks.studies import relations
from benchmarks.studies.relations import CLIPS, MASK_FREE, OURS, Project, posteriors, split_values, trained, untrained
from mova.models.registry import load
from mova.models.relations.fit import FitSettings
from mova.models.worlds_tiny.model import WorldsTiny
from mova.worlds.render import HELD_OUT_STYLE, TRAIN_STYLES

PAIRS = 40
"""Pairs of videos per concept and style."""
STYLES = {"seen": TRAIN_STYLES, "unseen": (HELD_OUT_STYLE,)}
LATE = "late interaction alone"
POSTERIOR = MASK_FREE[2]
ONE_MASK = "one mask for all, learned basis"
CONTROLS = ("full cosine", "random mask", ONE_MASK, "word subspace", POSTERIOR, relations.FREE)
GAIN = 10.0
"""Points of R@1 that count as well above late interaction."""
FIGURES = ("t2v", "v2t", "pairs told apart")


def run_seed(seed: int, quick: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Return R@1 in both directions and the share of pairs told apart, by style and similarity."""
    model = cast(WorldsTiny, load("mova-worlds-tiny", device="cpu"))
    part = relations.QUICK if quick else 1
    named, never = split_values(seed)
    count, styles = CLIPS["train"]
    train = draw_gallery(model, (seed, 1), count // part, styles)
    values = concept_vectors(model, concept_sentences((seed, 4), named))
    center = train.frames.mean(dim=0)
    labels = {concept: train.labels(concept, named[concept]) for concept in relations.CONCEPTS}
    steps = FitSettings().steps // part
    arms = untrained(values, center, seed) | trained(train.frames - center, labels, values, steps, seed)
    arms = {name: arms[name] for name in (OURS, *CONTROLS) if name in arms}
    pairs = PAIRS // part

    def galleries(number: int, chosen: Mapping[str, Sequence[str]], looks: Sequence[str]) -> list[Pairs]:
        return [draw_pairs(model, (seed, number), concept, pairs, chosen[concept], looks) for concept in CONCEPTS]

    validation = galleries(0, named, TRAIN_STYLES)
    arms[POSTERIOR] = best_of(posteriors(values, center), validation, center)
    weights = {name: choose_weight(seconds(validation, project, center)) for name, project in arms.items()}
    result: dict[str, dict[str, dict[str, float]]] = {}
    for number, (style, looks) in enumerate(STYLES.items(), start=1):
        test = galleries(number, never, looks)
        result[style] = {LATE: figures([(gallery.late, gallery.late) for gallery in test], 0.0)}
        for name, project in arms.items():
            result[style][name] = figures(seconds(test, project, center), weights[name]) | {"weight": weights[name]}
    return result


def seconds(galleries: Sequence[Pairs], project: Project, center: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return late interaction and the second score of every gallery."""
    return [(gallery.late, shared(gallery, project, center)) for gallery in galleries]


def best_of(projects: Sequence[Project], validation: Sequence[Pairs], center: Tensor) -> Project:
    """Return the similarity with the highest R@1 on validation pairs, at its best weight."""

    def reached(project: Project) -> float:
        scores = seconds(validation, project, center)
        weight = choose_weight(scores)
        return sum(sum(recall(*pair, weight)) for pair in scores)

    return max(projects, key=reached)


def figures(galleries: Sequence[tuple[Tensor, Tensor]], weight: float) -> dict[str, float]:
    """Return the means over galleries."""
    rows = [(*recall(*pair, weight), told_apart(*pair, weight)) for pair in galleries]
    return {name: statistics.fmean(row[i] for row in rows) for i, name in enumerate(FIGURES)}


def main() -> None:
    """Run all seeds; print and record the means and the claims."""
    args = harness.runs_parser(__doc__).parse_args()
    seeds, runs = harness.seeds_of(args), harness.seed_runs(args, run_seed)
    if args.only_run:
        return
    report = harness.Report("comparisons", seeds)
    for style in STYLES:
        means: dict[str, float] = {}
        for arm in runs[0][style]:
            rows = [run[style][arm] for run in runs]
            each = [(row["t2v"] + row["v2t"]) / 2 for row in rows]
            means[arm] = statistics.fmean(each)
            report.row(
                name=arm,
                form=f"{style} styles",
                **{name: round(statistics.fmean(row[name] for row in rows), 1) for name in FIGURES},
                lowest=round(min(each), 1),
                highest=round(max(each), 1),
                weights=[row.get("weight", 0.0) for row in rows],
            )
        claims(report, means, style)
    report.finish(seconds=round(sum(run["seconds"] for run in runs), 1))


def claims(report: harness.Report, means: Mapping[str, float], style: str) -> None:
    """Add the claims of one kind of styles; all are about R@1, the mean of both directions."""
    ours = means[OURS]
    gain = ours - means[LATE]
    text = f"{style} styles, values never named: R@1 with the word mask in the learned basis minus"
    report.claim(f"{text} {LATE}", round(gain, 1), GAIN, gain >= GAIN)
    for control in CONTROLS:
        gain = ours - means[control]
        report.claim(f"{text} {control} in its place", round(gain, 1), 0.0, gain >= 0)


if __name__ == "__main__":
    main()
