"""Evaluate a model on Worlds, on videos from seeds that training never uses.

A model that recognizes only color and count localizes well among random distractors. Every factor is therefore reported
separately, and galleries of minimal pairs accompany the easy ones.

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
from mova.models.encoder import TEXT_CHUNK, DualEncoder
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
"""Evaluation seeds start here; recipes train on small seeds."""
CLIP_SECONDS = 4.0
"""Length of the clips in factor tests and clip galleries."""
WORLD_SECONDS = 40.0
"""Length of the videos in paragraph retrieval and localization."""
PIXELS = 64
"""Frames are rendered at this size; models resize them as needed."""


@dataclass(frozen=True, eq=False)
class EncodedWorld:
    """An encoded held-out world: unit frame vectors (T, d) and times (T,) in seconds."""

    world: World
    frames: Tensor
    times: npt.NDArray[np.float64]


def evaluate_worlds(
    model: DualEncoder, seed: int = 1, styles: Sequence[str] | None = None, clips: int = 200, worlds: int = 60
) -> dict[str, dict[str, float]]:
    """Evaluate everything in the model card, one column per style.

    Args:
        model: any dual encoder.
        seed: of the held-out videos.
        styles: Default: all training styles mixed ("training styles"), and the held-out one.
        clips, worlds: number of clips and worlds rendered per style.

    Returns:
        style -> measure -> value; accuracies and recalls in percent, mAP and AUC in [0, 1].
    """
    chosen = {"training styles": TRAIN_STYLES, HELD_OUT_STYLE: (HELD_OUT_STYLE,)}
    if styles is not None:
        chosen = {style: (style,) for style in styles}
    report = {}
    for column, (name, column_styles) in enumerate(chosen.items()):
        rng = np.random.default_rng([HELD_OUT + seed, column])
        measures = {
            **clip_gallery(model, column_styles, rng, clips),
            **factor_accuracy(model, column_styles, rng, clips),
        }
        encoded = list(encode_worlds(model, column_styles, HELD_OUT + seed, worlds))
        report[name] = {**measures, **paragraph_retrieval(model, encoded), **localization(model, encoded)}
    return report


def clip_gallery(model: DualEncoder, styles: Sequence[str], rng: np.random.Generator, clips: int) -> dict[str, float]:
    """Retrieve clips by sentence: among random clips, and among near-duplicate pairs that differ in one fact.

    A sentence that omits facts may be true of several clips; the top clip is right if the sentence is true of it.
    """
    plain = [sample_event(rng) for _ in range(clips)]
    twins = []
    for event in plain[: clips // 2]:
        names = applicable(event)
        twins += [event, mutate(event, names[int(rng.integers(len(names)))], rng)]
    measures = {}
    for name, events in (("random", plain), ("twins", twins)):
        descriptions = [describe(event, rng) for event in events]
        encoded = [_encode_clip(model, event, styles, rng) for event in events]
        scores = _clip_scores(_encode_texts(model, [d.text for d in descriptions]), encoded)
        mentioned = np.array([[factor in d.mentioned for factor in FACTORS] for d in descriptions])
        truth = holds_matrix(events, events, mentioned).T
        top = scores == scores.max(axis=1, keepdims=True)
        right = (truth & top).sum(axis=1) / top.sum(axis=1)
        measures[f"sentence to clip, {name} {len(events)}, R@1"] = 100.0 * float(right.mean())
    return measures


def factor_accuracy(
    model: DualEncoder, styles: Sequence[str], rng: np.random.Generator, clips: int
) -> dict[str, float]:
    """Return, per factor, how often the true sentence scores highest among those that differ in this fact alone.

    Chance is one over the number of values. Each sentence mentions every fact, so none is ambiguous.
    """
    measures = {}
    for factor, values in FACTORS.items():
        texts: list[list[str]] = []
        encoded = []
        while len(texts) < clips:
            event = sample_event(rng)
            if facts(event)[factor] is None:
                continue
            wording = int(rng.integers(2**31))
            candidates = [event, *alternatives(event, factor)]
            texts.append([describe(e, np.random.default_rng(wording), mention=applicable(e)).text for e in candidates])
            encoded.append(_encode_clip(model, event, styles, rng))
        vectors = _encode_texts(model, [text for group in texts for text in group]).split([len(t) for t in texts])
        right = 0.0
        for group, clip in zip(vectors, encoded, strict=True):
            scores = _clip_scores(group, [clip])[:, 0]
            right += float(scores[0] == scores.max()) / float((scores == scores.max()).sum())
        measures[f"{factor} (of {len(values)})"] = 100.0 * right / len(texts)
    return measures


def encode_worlds(model: DualEncoder, styles: Sequence[str], seed: int, count: int) -> Iterator[EncodedWorld]:
    """Render held-out worlds at the model's frame rate and encode them."""
    for i in range(count):
        world = sample_world(seed, WORLD_SECONDS, styles[i % len(styles)], index=i)
        times = np.arange(0, world.duration, 1 / model.frame_rate)
        pixels = render_world(world, times, PIXELS)
        yield EncodedWorld(world, normalize(model.encode_frames(Frames(pixels, times)), dim=-1), times)


def paragraph_retrieval(model: DualEncoder, encoded: Sequence[EncodedWorld]) -> dict[str, float]:
    """Retrieve videos and paragraphs by the evidence rule, and count hard negatives that score below the truth.

    Scores equal to six digits are ties: if the rule ignores order, scores of flipped sentences differ only by rounding.
    """
    frames = [e.frames for e in encoded]
    scores = model.rule.score(frames, model.encode_units([e.world.paragraph for e in encoded])).T.cpu().numpy()
    measures = {
        f"paragraph to video, {len(encoded)}, R@1": retrieval_metrics(scores)["R@1"],
        f"video to paragraph, {len(encoded)}, R@1": retrieval_metrics(scores.T)["R@1"],
    }
    wins: dict[str, list[float]] = {}
    for e in encoded:
        texts = [e.world.paragraph, *(false.text for false in e.world.negatives)]
        true_score, *others = model.rule.score([e.frames], model.encode_units(texts))[0].tolist()
        for false, score in zip(e.world.negatives, others, strict=True):
            difference = round(true_score - score, 6)
            wins.setdefault(false.kind, []).append(float(difference > 0) + 0.5 * float(difference == 0))
    for kind, values in sorted(wins.items()):
        measures[f"hard negative: {kind} (of 2)"] = 100.0 * float(np.mean(values))
    return measures


def measure_rule(model: DualEncoder, encoded: Sequence[EncodedWorld]) -> Calibration:
    """Choose the evidence rule that retrieves paragraphs and videos best, with hard negatives as distractors.

    Paragraphs of Worlds describe events in order, and the flipped ones among the negatives measure what that is worth.
    """
    texts = [e.world.paragraph for e in encoded] + [false.text for e in encoded for false in e.world.negatives]
    owners = [*range(len(encoded)), *[-1] * (len(texts) - len(encoded))]
    evidence = gather_evidence([e.frames for e in encoded], model.encode_units(texts))
    return calibrate(evidence, owners, ordered=True)


def localization(model: DualEncoder, encoded: Sequence[EncodedWorld]) -> dict[str, float]:
    """Return sentence-to-frame mAP, and the AUC of the highest relevance for frames that some sentence covers."""
    precisions, covered, best = [], [], []
    for e in encoded:
        truth = np.stack([_inside(e.times, spans) for _, spans in e.world.annotations])
        curves = relevance(model.encode_text([text for text, _ in e.world.annotations]).pooled, e.frames).cpu().numpy()
        precisions += [average_precision_score(t, c) for t, c in zip(truth, curves, strict=True) if t.any()]
        covered.append(truth.any(axis=0))
        best.append(curves.max(axis=0))
    return {
        "sentence to frame, mAP": float(np.mean(precisions)),
        "told or untold frame, AUC": float(roc_auc_score(np.concatenate(covered), np.concatenate(best))),
    }


def measure_threshold(model: DualEncoder, encoded: Sequence[EncodedWorld]) -> float:
    """Return the cosine that detects covered frames best: highest F1 over all pairs of sentence and frame."""
    truth, scores = [], []
    for e in encoded:
        curves = relevance(model.encode_text([text for text, _ in e.world.annotations]).pooled, e.frames).cpu().numpy()
        truth.append(np.stack([_inside(e.times, spans) for _, spans in e.world.annotations]).ravel())
        scores.append(curves.ravel())
    precision, recall, thresholds = precision_recall_curve(np.concatenate(truth), np.concatenate(scores))
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[int(f1[:-1].argmax())])


def applicable(event: Event) -> tuple[str, ...]:
    """Return the factors that apply to an event."""
    return tuple(name for name, value in facts(event).items() if value is not None)


def _encode_clip(model: DualEncoder, event: Event, styles: Sequence[str], rng: np.random.Generator) -> Tensor:
    """Render one clip and encode it as unit vectors: (T, d)."""
    times = np.arange(0, CLIP_SECONDS, 1 / model.frame_rate)
    style = styles[int(rng.integers(len(styles)))]
    pixels = render_event(event, sample_nuisance(rng), style, times, CLIP_SECONDS, PIXELS)
    return normalize(model.encode_frames(Frames(pixels, times)), dim=-1)


def _encode_texts(model: DualEncoder, texts: Sequence[str]) -> Tensor:
    """Encode texts in batches: (N, d)."""
    parts = [texts[i : i + TEXT_CHUNK] for i in range(0, len(texts), TEXT_CHUNK)]
    return torch.cat([model.encode_text(part).pooled for part in parts])


def _clip_scores(vectors: Tensor, clips: Sequence[Tensor]) -> npt.NDArray[np.float32]:
    """Return soft-pooled cosines of every text with every clip (N, C); all clips have the same number of frames."""
    curves = relevance(vectors, torch.cat(list(clips))).view(len(vectors), len(clips), -1)
    return soft_pool(curves).cpu().numpy()


def _inside(times: npt.NDArray[np.float64], spans: Sequence[Span]) -> npt.NDArray[np.bool_]:
    """Return which times are in one of the spans."""
    return np.any([(times >= span.start) & (times < span.end) for span in spans], axis=0)
