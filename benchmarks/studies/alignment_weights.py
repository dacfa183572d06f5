"""Fit the weights of an alignment (`mova.scoring.emissions.AlignmentWeights`) on Worlds with known spans.

The loss is the cross-entropy of the posteriors of frames, per frame of the truth, and of the probabilities that
sentences are shown, over captions in order, the same with as many sentences of other videos, and single sentences.
The simplex of Nelder and Mead (1965) moves the weights named in `FREE`; the map of posteriors to calibrated ones is
fitted anew for each of its points.

Shape legend: K sentences, T frames.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit, logit, xlogy

from benchmarks.common import harness
from benchmarks.common.alignments import Array, Case
from benchmarks.studies.alignment import worlds
from mova.models.background_captions import encode_background
from mova.models.encoder import DualEncoder
from mova.models.registry import load
from mova.scoring.chain import infer_chain
from mova.scoring.emissions import AlignmentWeights, Background, log_odds, novelty
from mova.scoring.free_chain import infer_free
from mova.scoring.similarity import relevance

VIDEOS = (
    ("flat", 630.0, 941_001, 2),
    ("shaded", 630.0, 941_001, 2),
    ("sketch", 630.0, 945_001, 4),
    ("flat", 60.0, 941_002, 6),
    ("shaded", 60.0, 941_002, 6),
    ("outline", 60.0, 941_002, 6),
)
"""Style, seconds, seed and number of the videos; no seed of the study of alignment (`alignment.py`)."""
FOREIGN_SEED = 3
SENTENCE_WEIGHT = 0.3
"""Weight of the cross-entropy of sentences beside that of frames."""
FREE = ("sharpness", "offset", "limit", "change", "enter", "skip")
"""What moves: `sharpness` multiplies `level`, `contrast` and `peak`."""
STEP = 0.15
"""First step of each coordinate."""
ENTER_SCALE = 4.0
CERTAIN = 1e-6
BINS = np.linspace(-14.0, 14.0, 281)
"""Edges of log-odds in which posteriors are counted."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """A caption and a video: relevance (K, T), its background, novelty (T,) and truth (K, T)."""

    relevance: Array
    background: Background
    change: Array
    truth: Array
    case: Case

    @classmethod
    def of(cls, case: Case, background: torch.Tensor, weights: AlignmentWeights) -> Evidence:
        """Measure a case."""
        cell = case.duration / len(case.times)
        return cls(
            relevance(case.vectors, case.frames).double().numpy(),
            Background.measure(relevance(background, case.frames).numpy()),
            novelty(case.frames.numpy(), max(1, round(weights.novelty_seconds / cell))),
            np.stack([case.inside(spans) for spans in case.truth]).astype(np.float64),
            case,
        )

    def posteriors(self, weights: AlignmentWeights, alone: bool) -> tuple[Array, Array]:
        """Return posteriors (K, T) before calibration, and probabilities (K,), of the chain or of single sentences."""
        cell = self.case.duration / len(self.case.times)
        odds = log_odds(self.relevance, self.background, weights, weights.peak_frames(cell))
        infer = infer_free if alone else infer_chain
        result = infer(odds, weights.novelty * self.change, weights.costs)
        return result.marginals.astype(np.float64), result.shown


def weights_at(point: Sequence[float], start: AlignmentWeights) -> AlignmentWeights:
    """Return the weights at a point of the simplex: logarithms of factors, and a difference of `enter`."""
    moved = dict(zip(FREE, point, strict=True))
    sharp = math.exp(moved["sharpness"])
    costs = replace(
        start.costs,
        change=start.costs.change * math.exp(moved["change"]),
        skip=start.costs.skip * math.exp(moved["skip"]),
        enter=start.costs.enter + ENTER_SCALE * moved["enter"],
    )
    return replace(
        start,
        level=start.level * sharp,
        contrast=start.contrast * sharp,
        peak=start.peak * sharp,
        offset=start.offset * math.exp(moved["offset"]),
        limit=start.limit * math.exp(moved["limit"]),
        costs=costs,
    )


def platt(posteriors: Array, truth: Array) -> tuple[float, float, float]:
    """Return the slope and the intercept that calibrate posteriors best, and the cross-entropy per frame of the truth.

    Posteriors are counted in `BINS` first.
    """
    scores = logit(np.clip(posteriors, CERTAIN, 1 - CERTAIN))
    true, _ = np.histogram(scores, BINS, weights=truth)
    every, _ = np.histogram(scores, BINS)
    middles = (BINS[1:] + BINS[:-1]) / 2

    def entropy(x: Array) -> float:
        p = np.clip(expit(x[0] * middles + x[1]), CERTAIN, 1 - CERTAIN)
        return -float(np.sum(true * np.log(p) + (every - true) * np.log1p(-p))) / max(1.0, float(true.sum()))

    found = minimize(entropy, np.array([1.0, 0.0]), method="Nelder-Mead", options={"maxiter": 60})
    return float(found.x[0]), float(found.x[1]), float(found.fun)


def loss_of(items: Sequence[tuple[Evidence, bool]], weights: AlignmentWeights) -> tuple[float, AlignmentWeights]:
    """Return the loss of weights, and the same weights with their calibration; `items` say which captions are alone."""
    frames, truths, shown, present = [], [], [], []
    for evidence, alone in items:
        posterior, probability = evidence.posteriors(weights, alone)
        frames.append(posterior.ravel())
        truths.append(evidence.truth.ravel())
        shown.append(np.clip(probability, CERTAIN, 1 - CERTAIN))
        present.append(evidence.truth.any(axis=1))
    slope, intercept, entropy = platt(np.concatenate(frames), np.concatenate(truths))
    q, y = np.concatenate(shown), np.concatenate(present)
    sentences = -float(np.mean(xlogy(y, q) + xlogy(1 - y, 1 - q)))
    return entropy + SENTENCE_WEIGHT * sentences, replace(weights, slope=slope, intercept=intercept)


def fit(
    items: Sequence[tuple[Evidence, bool]],
    start: AlignmentWeights,
    points: int,
    log: Callable[[float, AlignmentWeights], None],
) -> AlignmentWeights:
    """Return the best weights of at most so many points, beginning at `start`."""
    best: tuple[float, AlignmentWeights] = (math.inf, start)

    def value(point: Array) -> float:
        nonlocal best
        loss, weights = loss_of(items, weights_at(point.tolist(), start))
        if loss < best[0]:
            best = loss, weights
            log(loss, weights)
        return loss

    simplex = np.vstack([np.zeros(len(FREE)), STEP * np.eye(len(FREE))])
    options = {"maxfev": points, "initial_simplex": simplex}
    minimize(value, simplex[0], method="Nelder-Mead", options=options)
    return best[1]


def collect(model: DualEncoder, weights: AlignmentWeights, folder: Path | None) -> list[tuple[Evidence, bool]]:
    """Return the captions to fit on: in order, with foreign sentences, and those as single sentences."""
    background, rng = encode_background(model), np.random.default_rng(FOREIGN_SEED)
    items = []
    for style, seconds, seed, count in VIDEOS:
        cases = worlds(model, seed, seconds, style, count, folder)
        for i, case in enumerate(cases):
            plain = Evidence.of(case, background, weights)
            mixed = Evidence.of(case.with_foreign([*cases[:i], *cases[i + 1 :]], rng), background, weights)
            items += [(plain, False), (mixed, False), (mixed, True)]
    return items


def main() -> None:
    """Fit, and print the weights."""
    parser = harness.plain_parser(__doc__)
    parser.add_argument("--model", default="mova-worlds-tiny", help="model to fit the weights of, from its own ones")
    parser.add_argument("--points", type=int, default=80, help="number of weights to try")
    parser.add_argument("--folder", type=Path, default=None, help="keep the vectors of rendered videos here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load(args.model)
    start = model.alignment or AlignmentWeights()

    def log(loss: float, weights: AlignmentWeights) -> None:
        print(f"loss {loss:.4f}", json.dumps(weights.to_dict()), flush=True)

    print(json.dumps(asdict(fit(collect(model, start, args.folder), start, args.points, log)), indent=1))


if __name__ == "__main__":
    main()
