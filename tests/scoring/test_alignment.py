"""Sentences of a caption against the frames of a video, from their vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mova.scoring.adaptive_weights import STRUCTURE
from mova.scoring.alignment import align_curves, align_jointly, align_present, align_relevance
from mova.scoring.emissions import AlignmentWeights
from mova.scoring.spans import locate
from mova.types import Span


def test_each_sentence_gets_the_spans_of_its_own_curve() -> None:
    generator = torch.Generator().manual_seed(0)
    sentences, frames = torch.randn(3, 8, generator=generator), torch.randn(40, 8, generator=generator)
    times = np.arange(40) / 2
    result = align_curves(sentences, frames, times, 21.0, 0.3)
    cosines = torch.nn.functional.cosine_similarity(sentences[:, None], frames[None], dim=-1).numpy()
    assert result.relevance.dtype == np.float32
    np.testing.assert_allclose(result.relevance, cosines, atol=1e-6)
    assert result.spans == tuple(locate(curve, times, 21.0, 0.3) for curve in result.relevance)
    assert any(result.spans)


def test_times_that_no_sentence_describes_are_irrelevant() -> None:
    axes = torch.eye(3)
    result = align_curves(axes[:2], axes[[2, 0, 0, 2, 1, 2]], np.arange(6.0), 6.0, 0.5)
    assert [[scored.span for scored in spans] for spans in result.spans] == [[Span(1, 3)], [Span(4, 5)]]
    assert result.irrelevant == (Span(0, 1), Span(3, 4), Span(5, 6))


def test_a_sentence_without_a_span_is_kept() -> None:
    axes = torch.eye(2)
    result = align_curves(axes, axes[:1], np.zeros(1), 1.0, 0.5)
    assert [len(spans) for spans in result.spans] == [1, 0]
    assert align_curves(axes, axes[:1], np.zeros(1), 1.0, 2.0).irrelevant == (Span(0, 1),)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        align_curves(torch.eye(2), torch.eye(2), np.arange(3.0), 3.0, 0.5)
    with pytest.raises(ValueError, match="at least one frame"):
        align_curves(torch.eye(2), torch.zeros(0, 2), np.zeros(0), 3.0, 0.5)


def test_a_sentence_that_is_probably_not_shown_has_a_most_probable_place_and_no_span() -> None:
    axes = torch.eye(4)
    film = torch.cat([axes[:1].expand(6, 4), axes[1:2].expand(6, 4), (0.4 * axes[2:3] + axes[3:]).expand(3, 4)])
    weights = AlignmentWeights(level=0.3, contrast=0.5, peak=0, offset=2, shown_intercept=-3.0)
    result = align_jointly(axes[:3], film, np.arange(15.0), 15.0, weights, background=torch.ones(1, 4), step=1.0)
    assert result.shown is not None
    assert result.likely is not None
    assert (result.shown >= 0.5).tolist() == [True, True, False]
    assert [len(spans) for spans in result.spans] == [1, 1, 0]
    assert result.likely[:2] == (None, None)
    place = result.likely[2]
    assert place is not None
    assert place.span == Span(12, 15)
    assert result.irrelevant == (Span(12, 15),), "no sentence is said to describe it"
    row = result.timeline("a.mp4", ["A.", "B.", "C."], np.arange(15.0), 15.0).sentences[2]
    document = row.to_json(curves=False)
    assert (document["spans"], document["likely"]["start"], document["likely"]["end"]) == ([], 12.0, 15.0)
    assert "likely" not in result.timeline("a.mp4", ["A.", "B.", "C."], np.arange(15.0), 15.0).sentences[0].to_json()


def test_other_probabilities_of_being_shown_move_spans_and_posteriors() -> None:
    tea, door, rain = torch.eye(3)
    film, times = torch.stack([door] * 4 + [rain] * 4 + [tea] * 4), np.arange(12.0)
    weights = AlignmentWeights(level=1, contrast=4, peak=0, offset=2)
    sure = align_jointly(torch.stack([door, tea]), film, times, 12.0, weights, background=torch.ones(1, 3))
    assert sure.shown is not None
    assert sure.posterior is not None
    lower = sure.with_shown([1.0, 0.2], times, 12.0)
    assert lower.spans == (sure.spans[0], ())
    assert lower.likely is not None
    assert lower.likely[0] is None
    assert lower.likely[1] is not None
    assert lower.likely[1].span == sure.spans[1][0].span
    assert lower.irrelevant == (Span(4.0, 12.0),)
    assert lower.posterior is not None
    np.testing.assert_allclose(lower.posterior[0], sure.posterior[0])
    np.testing.assert_allclose(lower.posterior[1], sure.posterior[1] * 0.2 / sure.shown[1], rtol=1e-5)
    assert lower.posterior.max(axis=1)[1] <= 0.2 + 1e-6
    again = lower.with_shown([1.0, 0.9], times, 12.0)
    assert [span.span for span in again.spans[1]] == [sure.spans[1][0].span], "a shown sentence has a place"
    assert again.likely == (None, None)


def test_relevance_of_any_scale_is_aligned_as_cosines_are() -> None:
    generator = torch.Generator().manual_seed(0)
    sentences, background = torch.randn(3, 16, generator=generator), torch.randn(30, 16, generator=generator)
    frames = sentences.repeat_interleave(8, dim=0) + 0.5 * torch.randn(24, 16, generator=generator)
    cosines, noise = (torch.cosine_similarity(rows[:, None], frames[None], dim=-1) for rows in (sentences, background))
    times = np.arange(24.0)
    expected = align_jointly(sentences, frames, times, 24.0, background=background)
    assert [[scored.span for scored in spans] for spans in expected.spans] == [
        [Span(0, 8)],
        [Span(8, 16)],
        [Span(16, 24)],
    ]
    scaled, scaled_noise = ((30 * rows - 7).numpy() for rows in (cosines, noise))
    result = align_relevance(scaled, frames.numpy(), times, 24.0, background=scaled_noise)
    assert [[scored.span for scored in spans] for spans in result.spans] == [
        [Span(0, 8)],
        [Span(8, 16)],
        [Span(16, 24)],
    ]
    assert result.posterior is not None
    np.testing.assert_allclose(result.posterior, expected.posterior, atol=1e-3)
    with pytest.raises(ValueError, match="differ in length"):
        align_relevance(scaled[:, 1:], frames.numpy(), times, 24.0, background=scaled_noise)


def test_a_sentence_that_is_hardly_shown_takes_no_time_from_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    axes, times = torch.eye(8), np.arange(24.0)
    film = axes[:3].repeat_interleave(8, dim=0) + 0.05 * torch.randn(24, 8, generator=generator)
    place = (film, times, 24.0, STRUCTURE)
    options: dict[str, Any] = {"background": torch.ones(1, 8), "order": "yes", "step": 1.0}
    caption, shown = axes[[0, 5, 1, 6, 2]], [0.9, 0.2, 0.8, 0.3, 0.9]
    result = align_present(caption, *place, shown=shown, **options)
    alone = align_jointly(axes[:3], *place, **options)
    assert [result.spans[i][0].span for i in (0, 2, 4)] == [spans[0].span for spans in alone.spans]
    assert [len(spans) for spans in result.spans] == [1, 0, 1, 0, 1]
    assert result.likely is not None
    assert [place is None for place in result.likely] == [True, False, True, False, True]
    assert result.posterior is not None
    assert result.posterior.sum(axis=0).max() <= 1 + 1e-5
    assert result.shown is not None
    assert result.shown.tolist() == shown
    for both in (align_jointly(caption, *place, **options).with_shown(shown, times, 24.0, 1.0), alone):
        assert both.spans != result.spans


def test_sentences_outside_the_order_keep_their_numbers() -> None:
    axes, times = torch.eye(4), np.arange(12.0)
    caption = axes[[3, 0, 1, 2]]
    options: dict[str, Any] = {"background": torch.full((1, 4), 0.1), "order": "no"}
    result = align_present(caption, axes[:3].repeat_interleave(4, dim=0), times, 12.0, shown=[0.0, 1, 1, 1], **options)
    assert result.order is not None
    assert result.order.free == (1, 2, 3)
    every = align_present(caption, axes[:3].repeat_interleave(4, dim=0), times, 12.0, shown=[0.0] * 4, **options)
    assert every.spans == ((), (), (), ())
