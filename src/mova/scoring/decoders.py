"""Ways to align a paragraph with a video whose sentences are all known to be in it: the joint decoder and baselines.

All look at the same vectors. "joint" decides on all sentences together; "drop-dtw" and "dtw" match them in order at the
least cost; "equal" cuts the video into equal parts without looking at it; "independent" compares each sentence with a
threshold on its own.

Shape legend: K sentences, T frames, B background sentences, d width.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mova.scoring.alignment import Alignment, align_curves, align_jointly
from mova.scoring.dtw import DROP_QUANTILE, drop_dtw, dtw
from mova.scoring.emissions import AlignmentWeights
from mova.scoring.similarity import relevance
from mova.scoring.spans import cell_breaks, cell_edges, cell_ends, peaks, runs
from mova.scoring.timeline_decoder import Order
from mova.types import ScoredSpan, Span

Decoder = Literal["joint", "drop-dtw", "dtw", "equal", "independent"]
DECODERS: tuple[Decoder, ...] = get_args(Decoder)


@dataclass(frozen=True, eq=False)
class Film:
    """The frames of a video as a decoder sees them.

    Attributes:
        vectors: (T, d), in order of time.
        times: float64, (T,), seconds.
        duration: seconds.
        step: seconds between sampled frames, if known.

    Example:
        >>> import torch
        >>> film = Film(torch.eye(4), np.arange(4.0), 4.0, step=1.0)
        >>> film.vectors.shape
        torch.Size([4, 4])
    """

    vectors: Tensor
    times: npt.NDArray[np.float64]
    duration: float
    step: float | None = None


@dataclass(frozen=True, eq=False)
class Knowledge:
    """The properties of a model that decoders use.

    Attributes:
        background: vectors (B, d) of sentences that describe no video in particular, or a measured threshold.
        threshold: cosine from which a frame of this video shows a sentence.
        weights: of the joint decoder; None: chosen for the video.

    Example:
        >>> import torch
        >>> film = Film(torch.eye(4), np.arange(4.0), 4.0, step=1.0)
        >>> result = ground_paragraph(torch.eye(4)[:2], film, Knowledge(0.5, 0.5), "equal")
        >>> [(row[0].span.start, row[0].span.end) for row in result.spans]
        [(0.0, 2.0), (2.0, 4.0)]
    """

    background: Tensor | float
    threshold: float
    weights: AlignmentWeights | None = None


def ground_paragraph(
    sentence_vectors: Tensor,
    film: Film,
    knowledge: Knowledge,
    decoder: Decoder = "joint",
    *,
    sentences: Sequence[str] = (),
    order: Order = "auto",
) -> Alignment:
    """Align the sentences of a paragraph, each with at least one span; the first span of each is the best one.

    A sentence without a span gets its most probable place, or the best peak of its relevance. With fewer frames than
    sentences, warping is not possible, and "dtw" and "drop-dtw" are equal parts.

    Args:
        sentence_vectors: (K, d).
        film: the video.
        knowledge: of the model.
        decoder: one of `DECODERS`.
        sentences, order: of the joint decoder; see `align_jointly`.

    Raises:
        ValueError: an unknown decoder, or as `align_jointly`.

    Example:
        >>> import torch
        >>> tea, door = torch.eye(2)
        >>> film = Film(torch.stack([door, door, tea, tea]), np.arange(4.0), 4.0)
        >>> result = ground_paragraph(torch.stack([door, tea]), film, Knowledge(0.5, 0.5), "dtw")
        >>> [(spans[0].span.start, spans[0].span.end) for spans in result.spans]
        [(0.0, 2.0), (2.0, 4.0)]
    """
    if decoder not in DECODERS:
        raise ValueError(f"decoder must be one of {', '.join(DECODERS)}, not {decoder!r}")
    place = (film.times, film.duration)
    if decoder == "joint":
        weights, background = knowledge.weights, knowledge.background
        options = {"background": background, "sentences": sentences, "order": order, "step": film.step}
        aligned = align_jointly(sentence_vectors, film.vectors, *place, weights, **options)  # type: ignore[arg-type]
    elif decoder == "independent":
        aligned = align_curves(sentence_vectors, film.vectors, *place, knowledge.threshold, film.step)
    else:
        aligned = _warped(sentence_vectors, film, decoder)
    likely = aligned.likely or [None] * len(aligned.spans)
    rows = zip(aligned.spans, likely, aligned.relevance, strict=True)
    spans = [
        best_first(row) or ((place_of,) if place_of else peaks(curve, *place, 1, step=film.step))
        for row, place_of, curve in rows
    ]
    return replace(aligned, spans=tuple(spans), likely=None)


def best_first(spans: Sequence[ScoredSpan]) -> tuple[ScoredSpan, ...]:
    """Return the spans of a sentence, the surest first: by posterior, or by score where there is none.

    Example:
        >>> long, short = ScoredSpan(Span(0.0, 8.0), 0.5, 0.6), ScoredSpan(Span(9.0, 10.0), 0.9, 0.9)
        >>> best_first([long, short])[0].span.duration
        1.0
    """
    return tuple(sorted(spans, key=lambda s: -(s.score if s.posterior is None else s.posterior)))


def mask_spans(
    mask: npt.NDArray[np.bool_], times: npt.NDArray[np.float64], duration: float, step: float | None = None
) -> list[tuple[ScoredSpan, ...]]:
    """Return the runs of each row of a mask (K, T) as spans, scored by their length in seconds.

    Example:
        >>> mask = np.array([[True, True, False, True]])
        >>> [(scored.span.start, scored.score) for scored in mask_spans(mask, np.arange(4.0), 4.0)[0]]
        [(0.0, 2.0), (3.0, 1.0)]
    """
    starts, ends = cell_edges(times, duration)[:-1], cell_ends(times, duration, step)
    breaks = cell_breaks(starts, ends)
    rows = []
    for row in mask:
        bounds = zip(*(side.tolist() for side in runs(row, breaks)), strict=True)
        spans = [(float(starts[a]), float(ends[b])) for a, b in bounds]
        rows.append(tuple(ScoredSpan(Span(start, end), end - start) for start, end in spans if end > start))
    return rows


def equal_parts(sentences: int, duration: float) -> list[tuple[ScoredSpan, ...]]:
    """Return one of equal parts of the video for each sentence, in order.

    Example:
        >>> [spans[0].span.end for spans in equal_parts(2, 10.0)]
        [5.0, 10.0]
    """
    cuts = np.linspace(0, duration, sentences + 1).tolist()
    return [(ScoredSpan(Span(a, b), b - a),) for a, b in itertools.pairwise(cuts)]


def _warped(sentence_vectors: Tensor, film: Film, decoder: Decoder) -> Alignment:
    """Align by dynamic time warping, or in equal parts."""
    curves = relevance(sentence_vectors.to(film.vectors.device), film.vectors).cpu().numpy()
    sentences, frames = curves.shape
    if decoder == "equal" or frames < sentences:
        spans = equal_parts(sentences, film.duration)
    else:
        costs = 1 - curves.astype(np.float64)
        mask = dtw(costs) if decoder == "dtw" else drop_dtw(costs, float(np.quantile(costs, DROP_QUANTILE)))
        spans = mask_spans(mask, film.times, film.duration, film.step)
    return Alignment(curves, tuple(spans), ())
