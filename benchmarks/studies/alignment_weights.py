"""Fit the weights of an alignment (`mova.scoring.emissions.AlignmentWeights`) on videos with known spans.

On Worlds, the loss is the cross-entropy of the posteriors of frames, per frame of the truth, and of the probabilities
that sentences are shown, over captions in order, the same with as many sentences of other videos, and single sentences.
The simplex of Nelder and Mead (1965) moves the weights named in `ON_WORLDS`; the map of posteriors to calibrated ones
is fitted anew for each of its points. At the end, the maps of posteriors and of `shown` are fitted on whole alignments
of other Worlds (`MAP_VIDEOS`): captions in order, shuffled, and with foreign sentences, with equal weight.

On described clips (`--clips`, with `--model mova-natural`), the loss is the mean overlap of the best spans and a fifth
of their recall at 0.5, with a minus, and `ON_CLIPS` moves. Cross-validation leaves out every fourth clip.

Shape legend: K sentences, T frames.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit, logit, xlogy

from benchmarks.common import harness
from benchmarks.common.alignments import Array, Case, Tally
from benchmarks.studies.alignment import STYLES, clips, worlds
from mova.models.background_captions import encode_background
from mova.models.encoder import DualEncoder
from mova.models.registry import load
from mova.scoring.alignment import align_jointly
from mova.scoring.chain import infer_chain, infer_free
from mova.scoring.emissions import (
    LENGTHS,
    AlignmentWeights,
    Background,
    calibrate_shown,
    log_odds,
    novelty,
    presence_odds,
    shown_odds,
)
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
MAP_VIDEOS = tuple(
    (style, seconds, seed, count)
    for seed, long, short in ((971_001, 16, 40), (972_001, 32, 80))
    for style in STYLES
    for seconds, count in ((630.0, long), (60.0, short))
)
"""The same, of the videos that the last maps are fitted on."""
MAP_LEAST = 1e-4
"""Least posterior that counts for these maps."""
FOREIGN_SEED = 3
SENTENCE_WEIGHT = 0.3
"""Weight of the cross-entropy of sentences beside that of frames."""
ON_WORLDS = ("sharpness", "offset", "limit", "change", "enter", "skip")
ON_CLIPS = ("sharpness", "offset", "position", "novelty", "change", "enter")
"""What moves: `sharpness` multiplies `level`, `contrast` and `peak`."""
WORLDS_STEP, CLIPS_STEP = 0.15, 0.25
"""First step of each coordinate."""
RECALL_WEIGHT = 0.2
FOLDS = 4
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
        return cls(
            relevance(case.vectors, case.frames).double().numpy(),
            Background.measure(relevance(background, case.frames).numpy()),
            novelty(case.frames.numpy(), max(1, round(weights.novelty_seconds / case.cell))),
            np.stack([case.inside(spans) for spans in case.truth]).astype(np.float64),
            case,
        )

    def posteriors(self, weights: AlignmentWeights, alone: bool) -> tuple[Array, Array]:
        """Return posteriors (K, T) before calibration, and probabilities (K,), of the chain or of single sentences."""
        frames = weights.peak_frames(self.case.cell), weights.independent_frames(self.case.cell)
        odds = log_odds(self.relevance, self.background, weights, *frames)
        infer = infer_free if alone else infer_chain
        result = infer(odds, weights.novelty * self.change, weights.costs)
        return result.marginals.astype(np.float64), result.shown


def weights_at(moved: Mapping[str, float], start: AlignmentWeights) -> AlignmentWeights:
    """Return the weights at a point of the simplex: logarithms of factors; differences of `offset` and `enter`."""

    def factor(name: str) -> float:
        return math.exp(moved.get(name, 0.0))

    sharp = factor("sharpness")
    costs = replace(
        start.costs,
        change=start.costs.change * factor("change"),
        skip=start.costs.skip * factor("skip"),
        enter=start.costs.enter + ENTER_SCALE * moved.get("enter", 0.0),
    )
    return replace(
        start,
        level=start.level * sharp,
        contrast=start.contrast * sharp,
        peak=start.peak * sharp,
        offset=start.offset + moved.get("offset", 0.0),
        limit=start.limit * factor("limit"),
        position=start.position * factor("position"),
        novelty=start.novelty * factor("novelty"),
        costs=costs,
    )


def platt(posteriors: Array, truth: Array, lengths: Array) -> tuple[tuple[float, ...], float]:
    """Return the map that calibrates posteriors best, and the cross-entropy per frame of the truth.

    The map is slope, intercept, and change of the intercept per unit of `lengths` (logarithms of ratios). Posteriors
    are counted in `BINS` first, for each length.
    """
    scores = logit(np.clip(posteriors, CERTAIN, 1 - CERTAIN))
    values, which = np.unique(lengths, return_inverse=True)
    true = np.stack([np.histogram(scores[which == i], BINS, weights=truth[which == i])[0] for i in range(len(values))])
    every = np.stack([np.histogram(scores[which == i], BINS)[0] for i in range(len(values))])
    middles = (BINS[1:] + BINS[:-1]) / 2

    def entropy(x: Array) -> float:
        p = np.clip(expit(x[0] * middles + x[1] + x[2] * values[:, None]), CERTAIN, 1 - CERTAIN)
        return -float(np.sum(true * np.log(p) + (every - true) * np.log1p(-p))) / max(1.0, float(true.sum()))

    found = minimize(entropy, np.array([1.0, 0.0, 0.0]), method="Nelder-Mead", options={"maxiter": 120})
    return tuple(found.x.tolist()), float(found.fun)


def loss_of(items: Sequence[tuple[Evidence, bool]], weights: AlignmentWeights) -> tuple[float, AlignmentWeights]:
    """Return the loss of weights, and the same weights with their calibration; `items` say which captions are alone."""
    frames, truths, lengths, shown, present = [], [], [], [], []
    for evidence, alone in items:
        posterior, probability = evidence.posteriors(weights, alone)
        frames.append(posterior.ravel())
        truths.append(evidence.truth.ravel())
        lengths.append(np.full(posterior.size, math.log(evidence.case.duration / LENGTHS[0])))
        shown.append(np.clip(probability, CERTAIN, 1 - CERTAIN))
        present.append(evidence.truth.any(axis=1))
    of_frames, entropy = platt(np.concatenate(frames), np.concatenate(truths), np.concatenate(lengths))
    q, y = np.concatenate(shown), np.concatenate(present).astype(np.float64)
    of_shown, _ = platt(q, y, np.zeros(len(q)))
    names = ("slope", "intercept", "length", "shown_slope", "shown_intercept")
    calibrated = replace(weights, **dict(zip(names, (*of_frames, *of_shown[:2]), strict=True)))
    q = np.clip(calibrate_shown(q, calibrated), CERTAIN, 1 - CERTAIN)
    sentences = -float(np.mean(xlogy(y, q) + xlogy(1 - y, 1 - q)))
    return entropy + SENTENCE_WEIGHT * sentences, calibrated


Loss = Callable[[AlignmentWeights], tuple[float, AlignmentWeights]]


def fit(
    loss_of_weights: Loss, start: AlignmentWeights, names: Sequence[str], step: float, points: int
) -> AlignmentWeights:
    """Return the best weights of at most `points` points, beginning at `start`."""
    best: tuple[float, AlignmentWeights] = (math.inf, start)

    def value(point: Array) -> float:
        nonlocal best
        loss, weights = loss_of_weights(weights_at(dict(zip(names, point.tolist(), strict=True)), start))
        if loss < best[0]:
            best = loss, weights
        return loss

    simplex = np.vstack([np.zeros(len(names)), step * np.eye(len(names))])
    minimize(value, simplex[0], method="Nelder-Mead", options={"maxfev": points, "initial_simplex": simplex})
    return best[1]


def overlaps(model: DualEncoder, cases: Sequence[Case], weights: AlignmentWeights) -> Array:
    """Return the overlap of the best span of every sentence."""
    tally, background = Tally(), encode_background(model)
    for case in cases:
        place = (case.times, case.duration, weights)
        found = align_jointly(case.vectors, case.frames, *place, background=background, sentences=case.sentences)
        tally.add(case, found.spans)
    return np.array(tally.overlaps)


def fit_clips(model: DualEncoder, cases: Sequence[Case], start: AlignmentWeights, points: int) -> AlignmentWeights:
    """Return the weights of the largest overlaps on described clips."""

    def loss(weights: AlignmentWeights) -> tuple[float, AlignmentWeights]:
        found = overlaps(model, cases, weights)
        return -float(found.mean() + RECALL_WEIGHT * (found >= 0.5).mean()), weights

    return fit(loss, start, ON_CLIPS, CLIPS_STEP, points)


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


def fit_maps(model: DualEncoder, weights: AlignmentWeights, folder: Path | None) -> AlignmentWeights:
    """Return weights with the maps of posteriors and of `shown` that are the most probable on whole alignments."""
    terms = ("intercept", "length", "certainty", "shown_intercept", "shown_length", "shown_peak", "shown_level")
    plain = replace(weights, slope=1.0, shown_slope=1.0, **dict.fromkeys(terms, 0.0))
    background, rng = encode_background(model), np.random.default_rng(FOREIGN_SEED)
    found: list[list[tuple[Array, Array]]] = [[], [], []]
    for style, seconds, seed, count in MAP_VIDEOS:
        cases = worlds(model, seed, seconds, style, count, folder)
        for i, case in enumerate(cases):
            shuffled = case.reordered(rng.permutation(len(case.sentences)).tolist())
            mixed = case.with_foreign([*cases[:i], *cases[i + 1 :]], rng)
            for rows, item in zip(found, (case, shuffled, mixed), strict=True):
                rows.append(map_rows(item, background, plain))
    (sentences, of_sentences), (frames, of_frames) = (
        _weighted([np.concatenate([row[i] for row in rows]) for rows in found]) for i in (0, 1)
    )
    by_sentence = _logistic(sentences, of_sentences, ("shown_slope", "shown_length", "shown_peak", "shown_level"))
    by_frame = _logistic(frames, of_frames, ("slope", "length", "certainty"))
    intercepts = {"shown_intercept": by_sentence.pop(""), "intercept": by_frame.pop("")}
    return replace(plain, **by_sentence, **by_frame, **intercepts)


def map_rows(case: Case, background: torch.Tensor, weights: AlignmentWeights) -> tuple[Array, Array]:
    """Return what the maps see of sentences (K, 5), and of frames with some posterior (N, 4); the last is the truth.

    Frames are those of sentences that are shown.
    """
    place = (case.vectors, case.frames, case.times, case.duration, weights)
    result = align_jointly(*place, background=background, sentences=case.sentences)
    assert result.posterior is not None
    assert result.shown is not None
    noise, peak_frames = Background.measure(relevance(background, case.frames).numpy()), weights.peak_frames(case.cell)
    peaks, levels = (
        presence_odds(result.relevance, noise, replace(weights, **{name: 1.0}), peak_frames)
        for name in ("shown_peak", "shown_level")
    )
    odds = shown_odds(result.shown)
    length = np.full(len(odds), math.log(case.duration / LENGTHS[0]))
    present = np.array([bool(spans) for spans in case.truth])
    frames = []
    for k in np.flatnonzero(present):
        posterior = result.posterior[k].astype(np.float64)
        score = logit(np.clip(posterior / max(result.shown[k], CERTAIN), CERTAIN, 1 - CERTAIN))
        columns = [score, *(np.full(len(score), value[k]) for value in (length, odds)), case.inside(case.truth[k])]
        frames.append(np.stack(columns, axis=1)[posterior > MAP_LEAST])
    return np.stack([odds, length, peaks, levels, present], axis=1), np.concatenate(frames or [np.empty((0, 4))])


def _weighted(parts: Sequence[Array]) -> tuple[Array, Array]:
    """Return all rows, and weights by which the true ones of each part count alike."""
    shares = [np.full(len(part), parts[0][:, -1].sum() / part[:, -1].sum()) for part in parts]
    return np.concatenate(parts), np.concatenate(shares)


def _logistic(table: Array, shares: Array, names: Sequence[str]) -> dict[str, float]:
    """Return the coefficients of a logistic regression on the last column; the intercept is called ""."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=np.inf, max_iter=5000).fit(table[:, :-1], table[:, -1], shares)
    return dict(zip((*names, ""), (*fitted.coef_[0].tolist(), float(fitted.intercept_[0])), strict=True))


def say(name: str, found: Array) -> None:
    """Print measures of overlaps."""
    print(f"{name}: mIoU {found.mean():.3f}, R@0.5 {(found >= 0.5).mean():.3f}", flush=True)


def main() -> None:
    """Fit, and print the weights."""
    parser = harness.plain_parser(__doc__)
    parser.add_argument("--model", default="mova-worlds-tiny", help="model to fit the weights of, from its own ones")
    parser.add_argument("--points", type=int, default=80, help="number of weights to try; 0: fit the last maps only")
    parser.add_argument("--folder", type=Path, default=None, help="keep the vectors of rendered videos here")
    parser.add_argument("--clips", type=Path, default=None, help="manifest of described clips (default: Worlds)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load(args.model)
    start = model.alignment or AlignmentWeights()
    if args.clips is None:
        weights = start
        if args.points > 0:
            items = collect(model, start, args.folder)
            weights = fit(partial(loss_of, items), start, ON_WORLDS, WORLDS_STEP, args.points)
        weights = fit_maps(model, weights, args.folder)
    else:
        cases = [*clips(model, args.clips)]
        weights = fit_clips(model, cases, start, args.points)
        say("fitted clips", overlaps(model, cases, weights))
        left_out = []
        for fold in range(FOLDS):
            others = [case for i, case in enumerate(cases) if i % FOLDS != fold]
            found = fit_clips(model, others, start, args.points)
            left_out.append(overlaps(model, cases[fold::FOLDS], found))
        say("cross-validation", np.concatenate(left_out))
    print(json.dumps(weights.to_dict(), indent=1))


if __name__ == "__main__":
    main()
