"""Weights chosen per video: for encoders that find moments, and for those that only recognize the video."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from mova.scoring.adaptive_weights import RELEVANCE, STRUCTURE, moment_strength, weights_for_video
from mova.scoring.alignment import Alignment, align_curves, align_jointly
from mova.scoring.spans import noise_floor
from mova.types import Span

SENTENCES, FRAMES, WIDTH, BACKGROUND = 4, 120, 64, 60
TIMES = np.arange(FRAMES) / 2
DURATION = FRAMES / 2
EVENTS = [(6.0, 11.0), (20.0, 24.0), (31.0, 37.0), (50.0, 54.0)]
"""Seconds of each sentence; nothing that is described happens in between."""
PARTS = [(k * DURATION / SENTENCES, (k + 1) * DURATION / SENTENCES) for k in range(SENTENCES)]

Vectors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def encoded(seed: int, noise: float, gap: float = 0.0) -> Vectors:
    """Return sentences, frames and background sentences of an encoder that finds moments.

    `noise` is the length of the noise in a frame vector, `gap` that of a direction common to all vectors.
    """
    rng = np.random.default_rng(seed)
    sentences, background = _unit(rng.normal(size=(SENTENCES, WIDTH))), _unit(rng.normal(size=(BACKGROUND, WIDTH)))
    scenes = np.repeat(_unit(background[:30] + 0.5 * rng.normal(size=(30, WIDTH)) / 8), FRAMES // 30, axis=0)
    for sentence, (start, end) in zip(sentences, EVENTS, strict=True):
        scenes[(start <= TIMES) & (end > TIMES)] = sentence
    frames = _unit(scenes + noise * rng.normal(size=scenes.shape) / np.sqrt(WIDTH))
    sides = [np.hstack([side, np.full((len(side), 1), gap)]) for side in (sentences, frames, background)]
    return tuple(torch.from_numpy(side).float() for side in sides)  # type: ignore[return-value]


def blind(seed: int) -> Vectors:
    """Return the vectors of an encoder that recognizes the video, and nothing within it."""
    rng = np.random.default_rng(seed)
    topic = _unit(rng.normal(size=(1, WIDTH)))
    sentences = _unit(topic + rng.normal(size=(SENTENCES, WIDTH)) / 8)
    frames = _unit(topic + 0.1 * rng.normal(size=(FRAMES, WIDTH)) / 8)
    background = _unit(rng.normal(size=(BACKGROUND, WIDTH)))
    return tuple(torch.from_numpy(side).float() for side in (sentences, frames, background))  # type: ignore[return-value]


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def scores(vectors: Vectors) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    sentences, frames, background = (torch.nn.functional.normalize(side) for side in vectors)
    return (sentences @ frames.T).numpy(), (background @ frames.T).numpy()


def overlap(result: Alignment, expected: list[tuple[float, float]]) -> float:
    """Return the mean intersection over union of each sentence's best span."""
    truths = [Span(*side) for side in expected]
    rows = zip(result.spans, truths, strict=True)
    return float(np.mean([max((_iou(scored.span, truth) for scored in spans), default=0.0) for spans, truth in rows]))


def _iou(a: Span, b: Span) -> float:
    shared = max(0.0, min(a.end, b.end) - max(a.start, b.start))
    return shared / (a.end - a.start + b.end - b.start - shared)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("noise", "gap"), [(0.0, 0.0), (1.0, 0.0), (0.0, 2.5)])
def test_a_strong_encoder_is_followed(seed: int, noise: float, gap: float) -> None:
    sentences, frames, background = vectors = encoded(seed, noise, gap)
    assert moment_strength(*scores(vectors), peak_frames=5) > 0.5
    result = align_jointly(sentences, frames, TIMES, DURATION, background=background)
    alone = align_curves(sentences, frames, TIMES, DURATION, noise_floor(scores(vectors)[1]))
    assert overlap(result, EVENTS) >= max(0.75, overlap(alone, EVENTS) - 0.02)


@pytest.mark.parametrize("seed", range(4))
def test_equal_parts_are_the_answer_of_an_encoder_that_knows_no_moments(seed: int) -> None:
    sentences, frames, background = vectors = blind(seed)
    assert weights_for_video(*scores(vectors), peak_frames=5) == STRUCTURE
    result = align_jointly(sentences, frames, TIMES, DURATION, background=background, order="yes")
    assert overlap(result, PARTS) > 0.6


def test_strength_does_not_depend_on_the_scale_of_cosines_nor_on_sentences_of_other_videos() -> None:
    vectors = encoded(0, 0.5)
    caption, background = scores(vectors)
    strength = moment_strength(caption, background, peak_frames=5)
    assert moment_strength(0.4 * caption + 0.1, 0.4 * background + 0.1, peak_frames=5) == pytest.approx(strength)
    foreign = np.concatenate([caption, background[-SENTENCES:]])
    assert moment_strength(foreign, background, peak_frames=5) >= 0.9 * strength


def test_weights_are_between_both_sets() -> None:
    rng = np.random.default_rng(0)
    caption, background = rng.normal(size=(3, 50)), rng.normal(size=(20, 50))
    caption[:, :5] += 2.0
    share = moment_strength(caption, background, peak_frames=5)
    assert 0 < share < 1
    weights = weights_for_video(caption, background, peak_frames=5)
    assert weights.contrast == pytest.approx((1 - share) * STRUCTURE.contrast + share * RELEVANCE.contrast)
    assert weights.independent_seconds == pytest.approx(RELEVANCE.independent_seconds / share)
    assert weights.costs.enter == pytest.approx((1 - share) * STRUCTURE.costs.enter + share * RELEVANCE.costs.enter)
    with pytest.raises(ValueError, match="at least one value"):
        weights_for_video(caption, np.zeros((0, 50)), peak_frames=5)
