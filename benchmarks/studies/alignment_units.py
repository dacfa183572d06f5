"""Emissions of an alignment: cosines, or MoVA's selection among the sentences of a caption?

The models are those of the proving ground (`--folder`: its folder; what is missing there is trained). Worlds of seeds
that nothing was trained or chosen on, in two styles of training and in one that was never trained on. One decoder with
weights chosen per video aligns all of them, so that the scale of an emission does not matter:

- cosines;
- selection: log-odds that a frame selects a sentence rather than none of the caption;
- cosines and selection: cosines with the logarithm of the selection's weights, which the model's own score pools with;
- cosines and untrained selection: the same by a new selector, which starts from the cosines;
- cosines, stretches unbounded: the weights before a long stretch counted as at most four seconds;
- cosines of the model that was trained without masks.

Sentences of a caption are read together, background sentences alone.

Shape legend: K sentences, T frames, B background sentences, d width.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.common import harness
from benchmarks.common.alignments import Case, Tally
from benchmarks.studies.alignment import LENGTHS, STYLES, worlds
from benchmarks.studies.proving_ground.arms import ARMS
from benchmarks.studies.proving_ground.stage import Budget, Stage
from benchmarks.studies.proving_ground.study import CONTROL, QUICK, trained
from mova.models.background_captions import encode_background
from mova.models.mova.model import Mova
from mova.models.mova.unit_masks import UnitMaskNetwork
from mova.scoring.adaptive_weights import weights_for_video
from mova.scoring.alignment import Alignment, align_relevance
from mova.scoring.emissions import AlignmentWeights
from mova.scoring.similarity import FRAME_TEMPERATURE, relevance

Curves = npt.NDArray[np.float32]
SEED = 989_001
SUBSETS = "MoVA, subsets"
COSINES, SELECTION, BOTH = "cosines", "selection", "cosines and selection"
UNTRAINED, UNBOUNDED = "cosines and untrained selection", "cosines, stretches unbounded"
WITHOUT_MASKS = "cosines of the model without masks"
VARIANTS = ("in order", "shuffled", "half foreign")
MEASURES = ("mIoU", "R@0.5", "frame F1")
LEAST_SHARE = 1e-7
"""Least weight of a sentence, and of everything else, whose logarithm is taken."""
Tallies = dict[tuple[str, float, str, str], Tally]
"""Style, seconds, emissions and variant of the caption -> measures."""


def logarithms(selector: UnitMaskNetwork, frames: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms of the weights (N, K, T) that frames give to units (N, K, d), and (N, 1, T) to none."""
    texts = selector.read(units, torch.ones(units.shape[:2], dtype=torch.bool))
    weights = selector(frames[None], torch.ones(1, len(frames), dtype=torch.bool), texts).log_weights[0]
    rest = 1 - weights.double().exp().sum(dim=1, keepdim=True)
    return weights, rest.clamp(min=LEAST_SHARE).log().float()


def emissions(name: str, case: Case, background: Tensor, selector: UnitMaskNetwork | None) -> tuple[Curves, Curves]:
    """Return the relevance (K, T) of a caption's sentences, and (B, T) of background sentences."""
    cosines, noise = relevance(case.vectors, case.frames), relevance(background, case.frames)
    if selector is not None and name in (SELECTION, BOTH, UNTRAINED):
        together, none = logarithms(selector, case.frames, case.vectors[None])
        alone, of_none = logarithms(selector, case.frames, background[:, None])
        if name == SELECTION:
            cosines, noise = (together - none)[0], (alone - of_none)[:, 0]
        else:
            cosines = cosines + FRAME_TEMPERATURE * together[0]
            noise = noise + FRAME_TEMPERATURE * alone[:, 0]
    return cosines.numpy(), noise.numpy()


def aligned(name: str, case: Case, background: Tensor, selector: UnitMaskNetwork | None) -> Alignment:
    """Align a case by one kind of emissions."""
    curves, noise = emissions(name, case, background, selector)
    weights = None
    if name == UNBOUNDED:
        cell = case.duration / len(case.times)
        chosen = weights_for_video(curves, noise, AlignmentWeights().peak_frames(cell))
        weights = replace(chosen, independent_seconds=None)
    place = (case.frames.numpy(), case.times, case.duration, weights)
    return align_relevance(curves, *place, background=noise, sentences=case.sentences)


def variants(cases: list[Case], rng: np.random.Generator) -> Iterator[dict[str, Case]]:
    """Yield every caption as it is, out of order, and with as many sentences of other videos."""
    for i, case in enumerate(cases):
        shuffled = case.reordered(rng.permutation(len(case.sentences)).tolist())
        mixed = case.with_foreign([*cases[:i], *cases[i + 1 :]], rng)
        yield dict(zip(VARIANTS, (case, shuffled, mixed), strict=True))


@torch.inference_mode()
def measure(model: Mova, cases: list[Case], names: tuple[str, ...], seed: int) -> dict[tuple[str, str], Tally]:
    """Count emissions on cases that the model encoded."""
    untrained = UnitMaskNetwork(model.embedding_dim).eval()
    background, counts = encode_background(model), {(name, kind): Tally() for name in names for kind in VARIANTS}
    for items in variants(cases, np.random.default_rng(seed)):
        for kind, case in items.items():
            for name in names:
                selector = untrained if name == UNTRAINED else model.selector
                found = aligned(name, case, background, selector)
                counts[name, kind].add(case, found.spans, found.posterior, found.shown)
    return counts


def run(seed: int, args: argparse.Namespace, folder: Path, tallies: Tallies) -> None:
    """Measure the models of one seed."""
    stage = Stage(seed, QUICK if args.quick else Budget(), folder / f"seed-{seed}", folder / "warm")
    for arm, names in ((SUBSETS, (COSINES, SELECTION, BOTH, UNTRAINED, UNBOUNDED)), (CONTROL, (COSINES,))):
        model = cast(Mova, trained(arm, ARMS[arm], stage)[0])
        for seconds, count in LENGTHS.items():
            for style in STYLES:
                first = SEED + seed + (10 if seconds > 100 else 0)
                cases = worlds(model, first, seconds, style, 2 if args.quick else 2 * count)
                for (name, kind), tally in measure(model, cases, names, SEED + seed).items():
                    place = (style, seconds, name if arm == SUBSETS else WITHOUT_MASKS, kind)
                    tallies.setdefault(place, Tally()).extend(tally)
            if args.quick:
                break


def claims(report: harness.Report, tallies: Tallies) -> None:
    """State what selection must gain to be kept, and that the bound of stretches does no harm."""
    rows = {place: tally.row() for place, tally in tallies.items()}
    pairs = [(SELECTION, COSINES), (BOTH, COSINES), (BOTH, UNTRAINED), (COSINES, UNBOUNDED)]
    for style, seconds in dict.fromkeys(place[:2] for place in tallies):
        for name, other in pairs:
            for key in MEASURES:
                gain = rows[style, seconds, name, "in order"][key] - rows[style, seconds, other, "in order"][key]
                text = f"{style}, {seconds:.0f} s: {name}, {key} minus that of {other}"
                gain = round(gain, 3)
                report.claim(text, gain, 0.0, gain >= 0 if other == UNBOUNDED else gain > 0)


def main() -> None:
    """Measure the models of all seeds."""
    args = harness.runs_parser(__doc__).parse_args()
    torch.set_num_threads(1)
    seeds = harness.seeds_of(args)
    tallies: Tallies = {}
    report = harness.Report("alignment_units", seeds)
    with tempfile.TemporaryDirectory() as temporary:
        for seed in seeds:
            run(seed, args, args.folder or Path(temporary), tallies)
    for (style, seconds, name, kind), tally in tallies.items():
        figures: dict[str, float] = tally.row()
        if kind == VARIANTS[-1]:
            figures["AUC of absent sentences"] = round(tally.absent_auc(), 3)
        report.row(style=style, seconds=seconds, emissions=name, caption=kind, sentences=len(tally.overlaps), **figures)
    claims(report, tallies)
    report.finish()


if __name__ == "__main__":
    main()
