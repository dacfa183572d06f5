"""Every decoder on a film of known frames: one span per sentence at least, the best one first."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mova.scoring.decoders import DECODERS, Film, Knowledge, best_first, equal_parts, ground_paragraph, mask_spans
from mova.scoring.emissions import AlignmentWeights
from mova.types import ScoredSpan, Span

BASIS = torch.eye(6)
DOOR, TEA, RAIN, SNOW = BASIS[:4]
FILM = Film(torch.stack([DOOR] * 4 + [RAIN] * 4 + [TEA] * 4), np.arange(12.0), 12.0, 1.0)
WEIGHTS = AlignmentWeights(level=1, contrast=4, peak=0, offset=2)
MODEL = Knowledge(torch.ones(1, 6), 0.5, WEIGHTS)


def spans(decoder: str, sentences: torch.Tensor, film: Film = FILM) -> list[list[tuple[float, float]]]:
    result = ground_paragraph(sentences, film, MODEL, decoder)  # type: ignore[arg-type]
    return [[(s.span.start, s.span.end) for s in row] for row in result.spans]


@pytest.mark.parametrize("decoder", ["joint", "independent"])
def test_ordered_sentences_are_at_their_frames(decoder: str) -> None:
    assert spans(decoder, torch.stack([DOOR, TEA])) == [[(0.0, 4.0)], [(8.0, 12.0)]]


def test_warping_keeps_the_order_and_only_drop_dtw_leaves_frames_out() -> None:
    assert spans("dtw", torch.stack([DOOR, RAIN, TEA])) == [[(0.0, 4.0)], [(4.0, 8.0)], [(8.0, 12.0)]]
    first, second = spans("dtw", torch.stack([DOOR, TEA]))
    assert first[0][1] == second[0][0]
    assert sum(end - start for start, end in (*first, *second)) == 12.0
    dropped = spans("drop-dtw", torch.stack([DOOR, TEA]))
    assert dropped[0][0][1] <= dropped[1][0][0]
    assert sum(end - start for row in dropped for start, end in row) < 12.0


def test_equal_parts_do_not_look_at_the_video() -> None:
    assert spans("equal", torch.stack([TEA, DOOR, SNOW])) == [[(0.0, 4.0)], [(4.0, 8.0)], [(8.0, 12.0)]]
    assert [row[0].score for row in equal_parts(2, 10.0)] == [5.0, 5.0]


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_sentence_has_a_span_even_if_it_is_absent_or_there_are_few_frames(decoder: str) -> None:
    assert all(spans(decoder, torch.stack([DOOR, SNOW, TEA])))
    one = Film(DOOR[None], np.array([0.0]), 2.0, 1.0)
    assert all(spans(decoder, torch.stack([DOOR, SNOW, TEA]), one))


def test_the_surest_span_is_first_and_of_equal_ones_the_earlier() -> None:
    long, short = ScoredSpan(Span(0, 8), 0.9, 0.6), ScoredSpan(Span(9, 10), 0.5, 0.9)
    assert best_first([long, short]) == (short, long)
    later = ScoredSpan(Span(20, 30), 0.7, 0.6)
    assert best_first([long, later]) == (long, later)
    assert best_first([ScoredSpan(Span(0, 8), 0.5), ScoredSpan(Span(9, 10), 0.9)])[0].span.start == 9


def test_runs_of_a_mask_end_at_missing_frames() -> None:
    times = np.array([0.0, 1.0, 5.0, 6.0])
    (row,) = mask_spans(np.ones((1, 4), dtype=bool), times, 7.0, step=1.0)
    assert [(s.span.start, s.span.end, s.score) for s in row] == [(0.0, 2.0, 2.0), (5.0, 7.0, 2.0)]


def test_an_unknown_decoder_is_refused() -> None:
    with pytest.raises(ValueError, match="decoder must be one of joint"):
        ground_paragraph(DOOR[None], FILM, MODEL, "best")  # type: ignore[arg-type]
