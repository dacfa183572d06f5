"""What two natural moments share: place, animal and vehicle, over real clips and photographs.

Moments of the clips beside the checkout are labelled by hand (`benchmarks/common/real_moments.csv`), and compared in a
respect that only general words determine (`DualEncoder.respect`). Pairs of moments of one clip do not count, so the
figures are about clips; there are few of them. `--picture FILE` draws the moments that are most alike in one respect
beside those that are most alike in all, with the photographs of the demo among them; it holds frames of the clips.

Shape legend: N moments, d width.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common import harness
from mova.cli.commands.natural_demo import photographs
from mova.eval.metrics.classification import roc_auc
from mova.models.encoder import DualEncoder
from mova.models.registry import load
from mova.models.relations.basis import value_vectors
from mova.models.relations.concepts import general_values
from mova.scoring.respects import centered
from mova.video.reader import read_times

DATA = Path(os.environ.get("MOVA_SHARED_DATA", harness.ROOT.parent / "shared" / "data"))
TABLE = Path(__file__).parents[1] / "common" / "real_moments.csv"
MODEL = "mova-natural"
CONCEPTS = ("place", "animal", "vehicle")
FULL, RANDOM, RESPECT, POSTERIOR = "full cosine", "random mask", "word subspace", "posterior over general words"
TEMPERATURES = (0.02, 0.05, 0.1, 0.2)
KEPT, DRAWS = 0.25, 8
"""Share of axes that a random mask keeps, and masks whose figures are averaged."""
QUERIES = (("place", "pancake_flip"), ("animal", "puppy_on_grass"), ("vehicle", "motorway_bridge"))
"""Concept and clip of each row of the picture."""
SHOWN = 4
PIXELS = 160


class Moment(NamedTuple):
    """A frame with its labels; photographs have none."""

    source: str
    pixels: npt.NDArray[np.uint8]
    vector: Tensor
    labels: dict[str, str]


def read_moments(model: DualEncoder, quick: bool) -> list[Moment]:
    """Return three frames of each labelled interval, and the photographs of the demo if their packages are there."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    moments = []
    for row in [row for row in rows if quick_row(row)] if quick else rows:
        start, end = float(row["start"]), float(row["end"])
        times = start + (end - start) * np.array([1, 3, 5]) / 6
        frames = read_times(DATA / row["file"], times, short_side=PIXELS)
        vectors = F.normalize(model.encode_frames(frames), dim=-1)
        labels = {concept: row[concept] for concept in CONCEPTS}
        moments += [Moment(row["file"], *pair, labels) for pair in zip(frames.pixels, vectors, strict=True)]
    for path in photographs() or []:
        pixels = np.array(Image.open(path).convert("RGB"))
        vector = F.normalize(torch.as_tensor(model.encode(pixels, convert_to_tensor=True)), dim=-1)
        moments.append(Moment(path.stem, pixels, vector.reshape(-1), {}))
    return moments


def quick_row(row: dict[str, str]) -> bool:
    """Return whether the quick form reads this row: those with an animal or a vehicle, and the kitchens."""
    return bool(row["animal"] or row["vehicle"] or row["place"] == "kitchen")


def similarities(model: DualEncoder, vectors: Tensor, concept: str) -> dict[str, list[Tensor]]:
    """Return the similarities (N, N) by name; several of a random mask, and of each temperature of the posterior."""
    center = vectors.mean(dim=0)
    moments = vectors - center
    draws = torch.Generator().manual_seed(0)
    masks = [torch.rand(len(center), generator=draws) < KEPT for _ in range(DRAWS)]
    words = centered(value_vectors(general_values(concept), lambda texts: model.encode_text(list(texts)).pooled))
    cosines = F.normalize(moments, dim=-1) @ F.normalize(words, dim=-1).T
    projections = {
        FULL: [moments],
        RANDOM: [moments * mask for mask in masks],
        RESPECT: [model.respect(concept, center).project(vectors).cpu()],
        POSTERIOR: [torch.softmax(cosines / temperature, dim=-1) for temperature in TEMPERATURES],
    }
    units = {name: [F.normalize(part, dim=-1) for part in parts] for name, parts in projections.items()}
    return {name: [part @ part.T for part in parts] for name, parts in units.items()}


def pair_figures(scores: Sequence[Tensor], moments: Sequence[Moment], concept: str) -> tuple[list[float], int, int]:
    """Return the AUC of each similarity over pairs of different clips, and how many have equal and other values."""
    known = [i for i, moment in enumerate(moments) if moment.labels.get(concept)]
    pairs = [(i, j) for i in known for j in known if i < j and moments[i].source != moments[j].source]
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    equal = np.array([moments[i].labels[concept] == moments[j].labels[concept] for i, j in pairs])
    aucs = [float(roc_auc(part.numpy()[first, second], equal)) for part in scores]
    return aucs, int(equal.sum()), int((~equal).sum())


def main() -> None:
    """Measure, print and record; draw the picture."""
    parser = harness.plain_parser(__doc__)
    parser.add_argument("--picture", type=Path, default=None, help="draw the most similar moments into this file")
    args = parser.parse_args()
    model = load(MODEL)
    moments = read_moments(model, args.quick)
    vectors = torch.stack([moment.vector.cpu() for moment in moments])
    report = harness.Report("natural_relations", [args.seed])
    alike = {}
    for concept in CONCEPTS:
        found = similarities(model, vectors, concept)
        means = {}
        for name, scores in found.items():
            aucs, equal, other = pair_figures(scores, moments, concept)
            means[name] = max(aucs) if name == POSTERIOR else float(np.mean(aucs))
            row: dict[str, Any] = {"name": name, "concept": concept, "auc": round(means[name], 3)}
            report.row(**row, pairs_equal=equal, pairs_other=other)
        for control in (FULL, RANDOM, POSTERIOR):
            gain = means[RESPECT] - means[control]
            text = f"{concept}: AUC of the word subspace minus {control}"
            report.claim(text, round(gain, 3), 0.0, gain >= 0)
        alike[concept] = (found[FULL][0], found[RESPECT][0])
    for concept, clip in QUERIES:
        for part, name in enumerate((FULL, RESPECT)):
            found_clips = [moments[i].source for i in nearest(alike[concept][part], moments, query_of(moments, clip))]
            report.row(name=name, concept=concept, query=clip, nearest=found_clips)
    report.finish(columns=("name", "concept", "auc", "pairs_equal", "pairs_other"))
    if args.picture is not None:
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        plot(figure, moments, alike)
        figure.savefig(args.picture, dpi=120)


def query_of(moments: Sequence[Moment], clip: str) -> int:
    """Return the middle moment of a clip."""
    return [i for i, moment in enumerate(moments) if clip in moment.source][1]


def nearest(scores: Tensor, moments: Sequence[Moment], query: int) -> list[int]:
    """Return the best moment of each of the best other clips, best first."""
    order = torch.argsort(scores[query], descending=True, stable=True).tolist()
    best: dict[str, int] = {}
    for i in order:
        if moments[i].source != moments[query].source:
            best.setdefault(moments[i].source, i)
    return list(best.values())[:SHOWN]


def plot(figure: Any, moments: Sequence[Moment], alike: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Draw for each query the most similar moments of other clips, in all respects and in one."""
    figure.set_size_inches(12, 2.1 * 2 * len(QUERIES))
    axes = figure.subplots(2 * len(QUERIES), SHOWN + 1)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, (concept, clip) in enumerate(QUERIES):
        query = query_of(moments, clip)
        for part, name in enumerate(("in all respects", f"in {concept}")):
            line = axes[2 * row + part]
            _show(line[0], moments[query], f"query, {name}")
            for axis, i in zip(line[1:], nearest(alike[concept][part], moments, query), strict=False):
                _show(axis, moments[i], f"{float(alike[concept][part][query, i]):.2f}")


def _show(axis: Any, moment: Moment, title: str) -> None:
    axis.imshow(moment.pixels)
    axis.set_title(title, fontsize=9)


if __name__ == "__main__":
    main()
