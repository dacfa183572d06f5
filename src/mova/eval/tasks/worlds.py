"""What a model knows of Worlds, measured on videos of seeds that training never draws.

A model that knows colour and count alone localises well among random distractors, so every factor is reported by
itself, and galleries of minimal pairs stand beside the easy ones.

Shape legend: Q queries, C clips, V videos, T frames, S sentences, d width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from torch import Tensor
from torch.nn.functional import normalize

from mova.eval.calibration import Calibration, calibrate
from mova.eval.metrics.ranking import retrieval_metrics
from mova.models.encoder import DualEncoder
from mova.scoring.caption_score import gather_evidence
from mova.scoring.similarity import relevance, soft_pool
from mova.types import Frames, Span
from mova.worlds.batches import holds_matrix
from mova.worlds.captions import describe
from mova.worlds.factors import FACTORS, Event, alternatives, facts, mutate, sample_event
from mova.worlds.nuisance import sample_nuisance
from mova.worlds.render import HELD_OUT_STYLE, TRAIN_STYLES, render_event
from mova.worlds.writer import World, render_world, sample_world

HELD_OUT = 700_000
"""Seeds of evaluation lie from here on; recipes train on small seeds."""
CLIP_SECONDS = 4.0
"""Length of the clips in factor tests and clip galleries."""
WORLD_SECONDS = 40.0
"""Length of the videos in paragraph retrieval and localisation."""
PIXELS = 64
"""Frames are rendered at this size; models resize them as they need."""


@dataclass(frozen=True, eq=False)
class SeenWorld:
    """A held-out world after the frame tower: unit frame vectors (T, d) and times (T,) seconds."""

    world: World
    frames: Tensor
    times: npt.NDArray[np.float64]


def evaluate_worlds(
    model: DualEncoder, seed: int = 1, styles: Sequence[str] | None = None, clips: int = 200, worlds: int = 60
) -> dict[str, dict[str, float]]:
    """Everything that stands in the model card, a column a style.

    Args:
        model: any dual encoder.
        seed: another draw.
        styles: by default all training styles mixed ("training styles") and the one held out.
        clips, worlds: how many of each are rendered a style.

    Returns:
        style -> measure -> value; accuracies and recalls in percent, mAP and AUC in [0, 1].
    """
    chosen = {"training styles": TRAIN_STYLES, HELD_OUT_STYLE: (HELD_OUT_STYLE,)}
    if styles is not None:
        chosen = {style: (style,) for style in styles}
    report = {}
    for column, (name, looks) in enumerate(chosen.items()):
        rng = np.random.default_rng([HELD_OUT + seed, column])
        measures = {**clip_gallery(model, looks, rng, clips), **factor_accuracy(model, looks, rng, clips)}
        seen = list(see_worlds(model, looks, HELD_OUT + seed, worlds))
        report[name] = {**measures, **paragraph_retrieval(model, seen), **localisation(model, seen)}
    return report


def clip_gallery(model: DualEncoder, styles: Sequence[str], rng: np.random.Generator, clips: int) -> dict[str, float]:
    """Sentence to clip among random clips, and among clips of which each has a near duplicate with one fact changed.

    A sentence that leaves facts out may be true of several clips; the first is right if it is true of the sentence.
    """
    plain = [sample_event(rng) for _ in range(clips)]
    twins = []
    for event in plain[: clips // 2]:
        names = applicable(event)
        twins += [event, mutate(event, names[int(rng.integers(len(names)))], rng)]
    measures = {}
    for name, events in (("random", plain), ("twins", twins)):
        told = [describe(event, rng) for event in events]
        clips_seen = [_see_clip(model, event, styles, rng) for event in events]
        scores = _clip_scores(model, [t.text for t in told], clips_seen)
        said = np.array([[factor in t.mentioned for factor in FACTORS] for t in told])
        truth = holds_matrix(events, events, said).T
        top = scores == scores.max(axis=1, keepdims=True)
        right = (truth & top).sum(axis=1) / top.sum(axis=1)
        measures[f"sentence to clip, {name} {len(events)}, R@1"] = 100.0 * float(right.mean())
    return measures


def factor_accuracy(
    model: DualEncoder, styles: Sequence[str], rng: np.random.Generator, clips: int
) -> dict[str, float]:
    """For every factor: of all sentences that differ in this fact alone, how often the true one scores highest.

    Chance is one over the number of values. Each sentence mentions every fact, so nothing is ambiguous.
    """
    measures = {}
    for factor, values in FACTORS.items():
        right, total = 0.0, 0
        while total < clips:
            event = sample_event(rng)
            if facts(event)[factor] is None:
                continue
            wording = int(rng.integers(2**31))
            candidates = [event, *alternatives(event, factor)]
            texts = [describe(e, np.random.default_rng(wording), mention=applicable(e)).text for e in candidates]
            scores = _clip_scores(model, texts, [_see_clip(model, event, styles, rng)])[:, 0]
            right += float(scores[0] == scores.max()) / float((scores == scores.max()).sum())
            total += 1
        measures[f"{factor} (of {len(values)})"] = 100.0 * right / total
    return measures


def see_worlds(model: DualEncoder, styles: Sequence[str], seed: int, count: int) -> Iterator[SeenWorld]:
    """Render held-out worlds at the model's frame rate and encode them."""
    for i in range(count):
        world = sample_world(seed, WORLD_SECONDS, styles[i % len(styles)], index=i)
        times = np.arange(0, world.duration, 1 / model.frame_rate)
        pixels = render_world(world, times, PIXELS)
        yield SeenWorld(world, normalize(model.encode_frames(Frames(pixels, times)), dim=-1), times)


def paragraph_retrieval(model: DualEncoder, seen: Sequence[SeenWorld]) -> dict[str, float]:
    """Paragraph to video and back by the model's evidence rule, and the share of hard negatives scored below the truth.

    Scores equal to six digits tie: those of flipped sentences differ by rounding alone where order has no part.
    """
    frames = [s.frames for s in seen]
    scores = model.rule.score(frames, model.encode_units([s.world.paragraph for s in seen])).T.cpu().numpy()
    measures = {
        f"paragraph to video, {len(seen)}, R@1": retrieval_metrics(scores)["R@1"],
        f"video to paragraph, {len(seen)}, R@1": retrieval_metrics(scores.T)["R@1"],
    }
    wins: dict[str, list[float]] = {}
    for s in seen:
        texts = [s.world.paragraph, *(false.text for false in s.world.negatives)]
        own, *others = model.rule.score([s.frames], model.encode_units(texts))[0].tolist()
        for false, score in zip(s.world.negatives, others, strict=True):
            difference = round(own - score, 6)
            wins.setdefault(false.kind, []).append(float(difference > 0) + 0.5 * float(difference == 0))
    for kind, values in sorted(wins.items()):
        measures[f"hard negative: {kind} (of 2)"] = 100.0 * float(np.mean(values))
    return measures


def measure_rule(model: DualEncoder, seen: Sequence[SeenWorld]) -> Calibration:
    """The evidence rule that finds paragraphs and videos best; every hard negative is a distractor for all videos.

    Paragraphs of Worlds tell events in their order, and the flipped ones among the negatives show what that is worth.
    """
    texts = [s.world.paragraph for s in seen] + [false.text for s in seen for false in s.world.negatives]
    owners = [*range(len(seen)), *[-1] * (len(texts) - len(seen))]
    evidence = gather_evidence([s.frames for s in seen], model.encode_units(texts))
    return calibrate(evidence, owners, ordered=True)


def localisation(model: DualEncoder, seen: Sequence[SeenWorld]) -> dict[str, float]:
    """Sentence-to-frame mean average precision, and how well the best sentence's relevance tells told frames."""
    precisions, told, best = [], [], []
    for s in seen:
        truth = np.stack([_inside(s.times, spans) for _, spans in s.world.annotations])
        curves = relevance(model.encode_text([text for text, _ in s.world.annotations]).pooled, s.frames).cpu().numpy()
        precisions += [average_precision_score(t, c) for t, c in zip(truth, curves, strict=True) if t.any()]
        told.append(truth.any(axis=0))
        best.append(curves.max(axis=0))
    return {
        "sentence to frame, mAP": float(np.mean(precisions)),
        "told or untold frame, AUC": float(roc_auc_score(np.concatenate(told), np.concatenate(best))),
    }


def measure_threshold(model: DualEncoder, seen: Sequence[SeenWorld]) -> float:
    """The cosine at which told frames are found best: highest F1 over all pairs of sentence and frame."""
    truth, scores = [], []
    for s in seen:
        curves = relevance(model.encode_text([text for text, _ in s.world.annotations]).pooled, s.frames).cpu().numpy()
        truth.append(np.stack([_inside(s.times, spans) for _, spans in s.world.annotations]).ravel())
        scores.append(curves.ravel())
    precision, recall, thresholds = precision_recall_curve(np.concatenate(truth), np.concatenate(scores))
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[int(f1[:-1].argmax())])


def applicable(event: Event) -> tuple[str, ...]:
    """The factors that say something of this event."""
    return tuple(name for name, value in facts(event).items() if value is not None)


def _see_clip(model: DualEncoder, event: Event, styles: Sequence[str], rng: np.random.Generator) -> Tensor:
    """(T, d) unit vectors of one rendered clip."""
    times = np.arange(0, CLIP_SECONDS, 1 / model.frame_rate)
    style = styles[int(rng.integers(len(styles)))]
    pixels = render_event(event, sample_nuisance(rng), style, times, CLIP_SECONDS, PIXELS)
    return normalize(model.encode_frames(Frames(pixels, times)), dim=-1)


def _clip_scores(model: DualEncoder, texts: Sequence[str], clips: Sequence[Tensor]) -> npt.NDArray[np.float32]:
    """(N, C): soft-pooled cosines of every text with every clip; all clips have equally many frames."""
    vectors = model.encode_text(list(texts)).pooled
    curves = relevance(vectors, torch.cat(list(clips))).view(len(texts), len(clips), -1)
    return soft_pool(curves).cpu().numpy()


def _inside(times: npt.NDArray[np.float64], spans: Sequence[Span]) -> npt.NDArray[np.bool_]:
    """Which times lie in one of the spans."""
    return np.any([(times >= span.start) & (times < span.end) for span in spans], axis=0)
