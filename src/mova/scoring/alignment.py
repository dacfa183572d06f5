"""Align the sentences of a caption with the frames of a video, from their vectors alone.

`align_jointly` decides on the timeline of all sentences together; the encoder contract (`mova.models.encoder`) calls
it, or `align_present`, which leaves out sentences that are probably not shown. `align_relevance` takes relevance of any
kind. `align_curves` compares each sentence with a threshold on its own.

Shape legend: S sentences, T frames, B background sentences, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mova.scoring.adaptive_weights import weights_for_video
from mova.scoring.emissions import AlignmentWeights, Background, log_odds, novelty, presence_odds
from mova.scoring.expected_overlap import most_probable_place
from mova.scoring.order import order_prior, overlapping
from mova.scoring.similarity import relevance as frame_relevance
from mova.scoring.spans import cell_breaks, cell_edges, cell_ends, locate, runs, unseen, usual_cell
from mova.scoring.timeline_decoder import PRESENT, Evidence, Order, decode
from mova.types import OrderChoice, ScoredSpan, SentenceTimeline, Span, Timeline, complement

LEAST_SHOWN = 0.35
"""Probability below which a sentence takes no part in the timeline of the others (`align_present`)."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """The sentences of a caption on the time axis of a video.

    Attributes:
        relevance: float32, (S, T), how well each frame shows each sentence.
        spans: for each sentence, the spans that it describes, in order of time; possibly none.
        irrelevant: the spans that no sentence describes, in order of time, without those that have no frames.
        posterior: float32, (S, T), probability that a frame shows a sentence; None if sentences were aligned on their
            own.
        shown: (S,), probability that the video shows a sentence at all; None likewise.
        order: whether the sentences are in temporal order, and the evidence; None likewise.
        likely: for each sentence without spans, the most probable place, if it is shown after all; None for others,
            and if sentences were aligned on their own.

    Example:
        >>> import torch
        >>> tea, door = torch.eye(2)
        >>> film, times = torch.stack([door, tea]), np.array([0.0, 1.0])
        >>> result = align_curves(tea[None], film, times, duration=2.0, threshold=0.5)
        >>> result.irrelevant
        (Span(start=0.0, end=1.0),)
        >>> result.timeline("film.mp4", ["A man pours tea."], times, duration=2.0).sentences[0].spans[0].span
        Span(start=1.0, end=2.0)
    """

    relevance: npt.NDArray[np.float32]
    spans: tuple[tuple[ScoredSpan, ...], ...]
    irrelevant: tuple[Span, ...]
    posterior: npt.NDArray[np.float32] | None = None
    shown: npt.NDArray[np.float64] | None = None
    order: OrderChoice | None = None
    likely: tuple[ScoredSpan | None, ...] | None = None

    def with_shown(
        self, shown: Sequence[float], times: npt.NDArray[np.float64], duration: float, step: float | None = None
    ) -> Alignment:
        """Return the alignment with other probabilities that the sentences are shown, such as of false-alarm rates.

        Where they are lower, posteriors are as much lower. A sentence that is now probably not shown has no spans, but
        a most probable place.

        Args:
            shown: (S,), in place of the alignment's own.
            times, duration, step: see `align_curves`.

        Raises:
            ValueError: the sentences were aligned on their own.

        Example:
            >>> import torch
            >>> tea, door = torch.eye(2)
            >>> film, times = torch.stack([tea, door]), np.array([0.0, 1.0])
            >>> result = align_jointly(tea[None], film, times, 2.0, background=0.5).with_shown([0.3], times, 2.0)
            >>> result.spans, result.likely[0].span
            (((),), Span(start=0.0, end=2.0))
        """
        if self.posterior is None or self.shown is None or self.likely is None:
            raise ValueError("sentences that were aligned on their own have no probabilities")
        shares = [min(1.0, new / max(old, 1e-12)) for new, old in zip(shown, self.shown.tolist(), strict=True)]
        spans: list[tuple[ScoredSpan, ...]] = []
        likely: list[ScoredSpan | None] = []
        for new, share, found, place in zip(shown, shares, self.spans, self.likely, strict=True):
            places = [_scaled(span, share) for span in found or (() if place is None else (place,))]
            present = new >= PRESENT
            spans.append(tuple(places) if present else ())
            likely.append(None if present else max(places, key=lambda span: span.posterior or 0.0, default=None))
        posterior = self.posterior * np.asarray(shares, dtype=np.float32)[:, None]
        covered = [*(scored.span for row in spans for scored in row), *unseen(times, duration, step)]
        return replace(
            self,
            spans=tuple(spans),
            irrelevant=tuple(complement(covered, duration)),
            posterior=posterior,
            shown=np.asarray(shown, dtype=np.float64),
            likely=tuple(likely),
        )

    def timeline(
        self,
        video: str,
        sentences: Sequence[str],
        times: npt.NDArray[np.float64],
        duration: float,
        step: float | None = None,
        false_alarms: Sequence[float] | None = None,
    ) -> Timeline:
        """Return the timeline of a named video with the texts of the sentences, and their false-alarm rates if any."""
        count = len(sentences)
        shown = [None] * count if self.shown is None else self.shown.tolist()
        posterior = [None] * count if self.posterior is None else self.posterior
        alarms = [None] * count if false_alarms is None else false_alarms
        likely = self.likely or [None] * count
        rows = map(SentenceTimeline, sentences, self.relevance, self.spans, posterior, shown, alarms, likely)
        return Timeline(video, duration, times, tuple(rows), self.irrelevant, self.order, step)


def align_curves(
    sentence_vectors: Tensor,
    frame_vectors: Tensor,
    times: npt.NDArray[np.float64],
    duration: float,
    threshold: float,
    step: float | None = None,
) -> Alignment:
    """Give each sentence, on its own, the spans where its relevance reaches a threshold.

    Args:
        sentence_vectors: (S, d), in the order of the caption; moved to the frames' device.
        frame_vectors: (T, d), in order of time.
        times: float64, (T,), seconds of the sampled frames, non-decreasing.
        duration: seconds of the video.
        threshold: cosine from which a frame shows a sentence.
        step: seconds between sampled frames, where it is known: stretches without frames (`mova.scoring.spans.unseen`)
            belong to no span, and are not irrelevant either.

    Raises:
        ValueError: the shapes do not agree, or there are no frames.

    Example:
        >>> import numpy as np, torch
        >>> tea, door = torch.eye(2)
        >>> film = torch.stack([door, door, tea, tea])
        >>> result = align_curves(torch.stack([tea, door]), film, np.arange(4.0), 5.0, threshold=0.5)
        >>> [[(scored.span.start, scored.span.end) for scored in spans] for spans in result.spans]
        [[(2.0, 5.0)], [(0.0, 2.0)]]
    """
    curves = frame_relevance(sentence_vectors.to(frame_vectors.device), frame_vectors).cpu().numpy()
    spans = tuple(locate(curve, times, duration, threshold, step=step) for curve in curves)
    covered = [scored.span for sentence_spans in spans for scored in sentence_spans]
    covered += unseen(times, duration, step)
    return Alignment(curves, spans, tuple(complement(covered, duration)))


def align_jointly(
    sentence_vectors: Tensor,
    frame_vectors: Tensor,
    times: npt.NDArray[np.float64],
    duration: float,
    weights: AlignmentWeights | None = None,
    *,
    background: Tensor | float,
    sentences: Sequence[str] = (),
    order: Order = "auto",
    step: float | None = None,
    excerpt: bool = False,
) -> Alignment:
    """Decide on the timeline of all sentences together.

    Args:
        sentence_vectors, frame_vectors, times, duration: see `align_curves`.
        weights: of the sources of evidence, calibrated for the model; default: chosen for this video
            (`mova.scoring.adaptive_weights`).
        background: vectors (B, d) of sentences that describe no video in particular, or a measured threshold.
        sentences: texts of the sentences, for words that say how they follow each other; default: none do.
        order: whether the sentences are in temporal order: "yes", "no", or "auto" by the evidence.
        step: see `mova.scoring.spans.cell_ends`. No span bridges missing frames.
        excerpt: the sentences may be a part of a caption (`mova.scoring.order.order_prior`).

    Raises:
        ValueError: the shapes do not agree, there are no frames or no sentences, or a value is not finite.

    Example:
        >>> import numpy as np, torch
        >>> tea, door, rain = torch.eye(3)
        >>> film = torch.stack([door] * 4 + [rain] * 4 + [tea] * 4)
        >>> weights = AlignmentWeights(level=1, contrast=4, peak=0, offset=2)
        >>> result = align_jointly(
        ...     torch.stack([door, tea]), film, np.arange(12.0), 12.0, weights, background=torch.ones(1, 3)
        ... )
        >>> [[(scored.span.start, scored.span.end) for scored in spans] for spans in result.spans]
        [[(0.0, 4.0)], [(8.0, 12.0)]]
    """
    curves = _cosines(sentence_vectors, frame_vectors)
    noise = _cosines(background, frame_vectors) if isinstance(background, Tensor) else background
    vectors = frame_vectors.detach().float().cpu().numpy()
    options: dict[str, Any] = {"sentences": sentences, "order": order, "step": step, "excerpt": excerpt}
    return align_relevance(curves, vectors, times, duration, weights, background=noise, **options)


def align_present(
    sentence_vectors: Tensor,
    frame_vectors: Tensor,
    times: npt.NDArray[np.float64],
    duration: float,
    weights: AlignmentWeights | None = None,
    *,
    shown: Sequence[float],
    background: Tensor | float,
    sentences: Sequence[str] = (),
    order: Order = "auto",
    step: float | None = None,
) -> Alignment:
    """Decide on the timeline of the sentences that a video probably shows, as if the caption had no others.

    Where relevance says little about moments, a sentence of another video would take time from the others. A sentence
    with a probability below `LEAST_SHOWN` takes no part; it gets its most probable place among all sentences.

    Args:
        sentence_vectors, frame_vectors, times, duration, weights, background, sentences, order, step: see
            `align_jointly`.
        shown: (S,), probabilities that the video shows the sentences at all, such as of false-alarm rates; they replace
            those of the alignment.

    Raises:
        ValueError: see `align_jointly`.

    Example:
        >>> import torch
        >>> tea, door, rain = torch.eye(3)
        >>> film = torch.stack([door] * 4 + [tea] * 4)
        >>> options = {"background": torch.ones(1, 3), "shown": [0.9, 0.1, 0.9]}
        >>> result = align_present(torch.stack([door, rain, tea]), film, np.arange(8.0), 8.0, **options)
        >>> [[(scored.span.start, scored.span.end) for scored in spans] for spans in result.spans]
        [[(0.0, 4.0)], [], [(4.0, 8.0)]]
    """
    place = (frame_vectors, times, duration, weights)
    options: dict[str, Any] = {"background": background, "order": order, "step": step}
    aligned = align_jointly(sentence_vectors, *place, sentences=sentences, **options)
    aligned = aligned.with_shown(shown, times, duration, step)
    kept = [i for i, probability in enumerate(shown) if probability >= LEAST_SHOWN]
    if len(kept) in (0, len(shown)):
        return aligned
    texts = [sentences[i] for i in kept] if sentences else ()
    part = align_jointly(sentence_vectors[kept], *place, sentences=texts, **options)
    return _merged(aligned, part.with_shown([shown[i] for i in kept], times, duration, step), kept)


def align_relevance(
    relevance: npt.NDArray[np.float32],
    frame_vectors: npt.ArrayLike,
    times: npt.NDArray[np.float64],
    duration: float,
    weights: AlignmentWeights | None = None,
    *,
    background: npt.NDArray[np.float32] | float,
    sentences: Sequence[str] = (),
    order: Order = "auto",
    step: float | None = None,
    excerpt: bool = False,
) -> Alignment:
    """Decide on the timeline of all sentences together, from relevance of any kind.

    Args:
        relevance: (S, T), how well each frame shows each sentence, on any scale that the background shares.
        frame_vectors: (T, d), by which changes of the picture are seen.
        times, duration, sentences, order, step, excerpt: see `align_jointly`.
        weights: see `align_jointly`.
        background: relevance (B, T) of sentences that describe no video in particular, or a measured threshold.

    Raises:
        ValueError: the shapes do not agree, there are no frames or no sentences, or a value is not finite.

    Example:
        >>> scores = np.repeat([[9.0, -9, -9], [-9, -9, 9]], 4, axis=1)
        >>> changes = np.repeat(np.eye(3), 4, axis=0)
        >>> result = align_relevance(scores, changes, np.arange(12.0), 12.0, background=np.zeros((1, 12)))
        >>> [[(scored.span.start, scored.span.end) for scored in spans] for spans in result.spans]
        [[(0.0, 4.0)], [(8.0, 12.0)]]
    """
    curves = np.asarray(relevance)
    edges = cell_edges(times, duration)
    if len(edges) != curves.shape[1] + 1:
        raise ValueError(f"relevance {curves.shape} and times {times.shape} differ in length")
    cell = usual_cell(edges, step)
    noise, weights = _calibrated(curves, weights, background, cell)
    width = max(1, round(weights.novelty_seconds / cell))
    boundaries = weights.novelty * novelty(frame_vectors, width)
    odds = log_odds(curves, noise, weights, weights.peak_frames(cell), weights.independent_frames(cell))
    presence = presence_odds(curves, noise, weights, weights.peak_frames(cell))
    evidence = Evidence(odds, boundaries, weights.at_length(duration), presence)
    decoded = decode(
        evidence, order, prior=partial(_order_prior, sentences, excerpt), overlapping=overlapping(sentences)
    )
    starts, ends = edges[:-1], cell_ends(times, duration, step)
    rows = [*zip(curves, decoded.posterior, decoded.covered, strict=True)]
    spans = tuple(_spans(curve, posterior, on, starts, ends) for curve, posterior, on in rows)
    likely = tuple(
        None if found else _likely(curve, posterior, starts, ends)
        for found, (curve, posterior, _) in zip(spans, rows, strict=True)
    )
    covered = [scored.span for sentence_spans in spans for scored in sentence_spans]
    covered += unseen(times, duration, step)
    irrelevant = tuple(complement(covered, duration))
    return Alignment(curves, spans, irrelevant, decoded.posterior, decoded.shown, decoded.order, likely)


def _merged(whole: Alignment, part: Alignment, rows: Sequence[int]) -> Alignment:
    """Return an alignment with some sentences as the alignment of them alone has them."""
    assert whole.posterior is not None
    assert whole.likely is not None
    assert part.posterior is not None
    assert part.likely is not None
    assert part.order is not None
    posterior = whole.posterior * np.clip(1 - part.posterior.sum(axis=0), 0.0, 1.0)
    posterior[[*rows]] = part.posterior
    spans, likely = [*whole.spans], [*whole.likely]
    for row, found, place in zip(rows, part.spans, part.likely, strict=True):
        spans[row], likely[row] = found, place
    order = replace(part.order, free=tuple(rows[i] for i in part.order.free))
    merged: dict[str, Any] = {"spans": tuple(spans), "irrelevant": part.irrelevant, "likely": tuple(likely)}
    return replace(whole, posterior=posterior, order=order, **merged)


def _cosines(vectors: Tensor, frame_vectors: Tensor) -> npt.NDArray[np.float32]:
    curves: npt.NDArray[np.float32] = frame_relevance(vectors.to(frame_vectors.device), frame_vectors).cpu().numpy()
    return curves


def _order_prior(sentences: Sequence[str], excerpt: bool, inside: Sequence[int], shown: Sequence[float]) -> float:
    return order_prior([sentences[i] for i in inside], shown, excerpt=excerpt) if sentences else 0.0


def _calibrated(
    curves: npt.NDArray[np.float32],
    weights: AlignmentWeights | None,
    background: npt.NDArray[np.float32] | float,
    cell: float,
) -> tuple[Background, AlignmentWeights]:
    """Return the scale of relevance on this video, and the weights; `cell` is the seconds per frame."""
    if not isinstance(background, np.ndarray):
        return Background.at_threshold(background, weights or AlignmentWeights())
    if weights is None:
        weights = weights_for_video(curves, background, AlignmentWeights().peak_frames(cell))
    return Background.measure(background), weights


def _spans(
    curve: npt.NDArray[np.float32],
    posterior: npt.NDArray[np.float32],
    covered: npt.NDArray[np.bool_],
    starts: npt.NDArray[np.float64],
    ends: npt.NDArray[np.float64],
) -> tuple[ScoredSpan, ...]:
    """Return the covered cells as spans: the score is the highest relevance, the posterior the mean over time."""
    spans = []
    bounds = runs(covered, cell_breaks(starts, ends))
    for first, last in zip(*(side.tolist() for side in bounds), strict=True):
        inside = slice(first, last + 1)
        if ends[last] > starts[first]:
            mean = float(np.average(posterior[inside], weights=ends[inside] - starts[inside]))
            span = Span(float(starts[first]), float(ends[last]))
            spans.append(ScoredSpan(span, float(curve[inside].max()), min(mean, 1.0)))
    return tuple(spans)


def _likely(
    curve: npt.NDArray[np.float32],
    posterior: npt.NDArray[np.float32],
    starts: npt.NDArray[np.float64],
    ends: npt.NDArray[np.float64],
) -> ScoredSpan | None:
    """Return the span of the largest expected overlap; None if it has no length."""
    first, end = most_probable_place(posterior)
    mask = np.zeros(len(posterior), dtype=bool)
    mask[first:end] = True
    parts = _spans(curve, posterior, mask, starts, ends)  # several where frames are missing
    return max(parts, key=lambda part: (part.posterior or 0.0) * part.span.duration, default=None)


def _scaled(scored: ScoredSpan, share: float) -> ScoredSpan:
    return replace(scored, posterior=None if scored.posterior is None else share * scored.posterior)
