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
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor
from torch.nn.functional import normalize

from mova.data.worlds import World, render_world, sample_world
from mova.data.worlds_batches import holds, label_matrix
from mova.data.worlds_captions import negative, tell
from mova.data.worlds_factors import FACTORS, Event, labels, mutate, sample_event
from mova.data.worlds_render import HELD_OUT_STYLE, TRAIN_STYLES, render_event, sample_nuisance
from mova.eval.ranking import retrieval_metrics
from mova.models.dual import DualEncoder
from mova.models.similarity import late_interaction, relevance
from mova.types import Frames

HELD_OUT = 700_000
"""Seeds of evaluation lie from here on; recipes train on small seeds."""
CLIP_SECONDS = 4.0
"""Length of the clips in factor tests and clip galleries."""


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


def clip_gallery(
    model: DualEncoder, styles: Sequence[str], rng: np.random.Generator, clips: int
) -> dict[str, float]:
    """Sentence to clip among random clips, and among clips of which each has a near duplicate with one fact changed.

    A sentence that leaves facts out may be true of several clips; the first is right if it is true of the sentence.
    """
    plain = [sample_event(rng) for _ in range(clips)]
    twins = []
    for event in plain[: clips // 2]:
        twins += [event, mutate(event, _draw(tuple(applicable(event)), rng), rng)]
    measures = {}
    for name, events in (("random", plain), ("twins", twins)):
        told = [tell(event, rng) for event in events]
        vectors = torch.stack([_clip_vector(model, event, styles, rng) for event in events])
        scores = _cosines(model, [t.text for t in told], vectors).T
        shown = label_matrix(events)
        said = np.array([[factor in t.mentioned for factor in FACTORS] for t in told])
        truth = holds(shown, said, shown)
        right = truth[scores.argmax(axis=0), np.arange(len(events))]
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
            if labels(event)[factor] < 0:
                continue
            wording = int(rng.integers(2**31))
            candidates = [event, *alternatives(event, factor)]
            texts = [tell(e, np.random.default_rng(wording), mention=applicable(e)).text for e in candidates]
            scores = _cosines(model, texts, _clip_vector(model, event, styles, rng)[None])[0]
            right += (scores[0] >= scores.max()) / (scores == scores.max()).sum()
            total += 1
        measures[f"{factor} (1 of {len(values)})"] = 100.0 * right / total
    return measures


def see_worlds(model: DualEncoder, styles: Sequence[str], seed: int, count: int) -> Iterator[SeenWorld]:
    """Render held-out worlds at the model's frame rate and encode them."""
    for i in range(count):
        world = sample_world(seed + i, WORLD_SECONDS, styles[i % len(styles)])
        times = np.arange(0, world.duration, 1 / model.frame_rate)
        pixels = render_world(world, times, PIXELS)
        yield SeenWorld(world, normalize(model.encode_frames(Frames(pixels, times)), dim=-1), times)


def paragraph_retrieval(model: DualEncoder, seen: Sequence[SeenWorld]) -> dict[str, float]:
    """Paragraph to video and back by late interaction, and the share of hard negatives scored below the truth."""
    scores = np.array([[_paragraph_score(model, s, other.world.paragraph) for s in seen] for other in seen])
    measures = {
        f"paragraph to video, {len(seen)}, R@1": retrieval_metrics(scores)["R@1"],
        f"video to paragraph, {len(seen)}, R@1": retrieval_metrics(scores.T)["R@1"],
    }
    wins: dict[str, list[float]] = {}
    for own, s in zip(np.diag(scores), seen, strict=True):
        for false in s.world.negatives:
            score = _paragraph_score(model, s, false.text)
            wins.setdefault(false.kind, []).append(float(own > score) + 0.5 * float(own == score))
    for kind, values in sorted(wins.items()):
        measures[f"hard negative: {kind} (1 of 2)"] = 100.0 * float(np.mean(values))
    return measures


def localisation(model: DualEncoder, seen: Sequence[SeenWorld]) -> dict[str, float]:
    """Sentence-to-frame mean average precision, and how well the best sentence's relevance tells told frames."""
    precisions, told, best = [], [], []
    for s in seen:
        truth = np.stack([_inside(s.times, spans) for _, spans in s.world.told])
        curves = relevance(model.encode_text([text for text, _ in s.world.told]).pooled, s.frames).cpu().numpy()
        precisions += [average_precision_score(t, c) for t, c in zip(truth, curves, strict=True) if t.any()]
        told.append(truth.any(axis=0))
        best.append(curves.max(axis=0))
    return {
        "sentence to frame, mAP": float(np.mean(precisions)),
        "told or untold frame, AUC": float(roc_auc_score(np.concatenate(told), np.concatenate(best))),
    }
