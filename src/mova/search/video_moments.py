"""The moments of one video: spans of its relevance curves, merged for paragraphs, with finer bounds for windows.

Shape legend: S sentences, T frames, d width of the model's space.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mova.scoring.spans import cell_edges, cell_ends, peaks, unseen
from mova.scoring.windows.deconvolution import deconvolve, sharpened, window_seconds
from mova.types import Moment, ScoredSpan, Span

if TYPE_CHECKING:
    from mova.search.narrow.selection import Reader
    from mova.search.storage.records import StoredFrames

PARAGRAPH_SPANS = 64
"""Spans per sentence of a paragraph that may become part of a video's moments, however few moments are requested."""
FEW_SENTENCES = 128
"""Sentences up to which each is compared by itself: waiting for the threads of BLAS takes longer than the product."""

_F32 = npt.NDArray[np.float32]


def find_moments(
    sentence_vectors: _F32,
    frames: StoredFrames,
    duration: float,
    span_thresholds: _F32,
    limit: int,
    step: float | None = None,
    possible: npt.NDArray[np.bool_] | None = None,
) -> list[tuple[Span, float]]:
    """Return moments of one video with their scores.

    Args:
        sentence_vectors: (S, d) unit vectors.
        frames: the video's stored frames.
        duration: seconds.
        span_thresholds: (S,) cosines that a sentence's span must reach.
        limit: number of moments requested; those of a paragraph are merged from more spans than that.
        step: seconds between sampled frames: no moment bridges missing frames (`mova.scoring.spans.cell_ends`).
        possible: (S,) sentences that may reach their thresholds; None: all.
    """
    chosen = np.arange(len(sentence_vectors)) if possible is None else np.flatnonzero(possible)
    curves = _curves(sentence_vectors[chosen], frames.vectors)
    if len(sentence_vectors) == 1:
        if curves.max() < span_thresholds[0]:  # NaN is an error
            return []
        found = peaks(curves[0], frames.times, duration, limit, step=step, least=float(span_thresholds[0]))
        return [(peak.span, peak.score) for peak in found]
    starts = cell_edges(frames.times, duration)[:-1]
    moments = []
    for span in _merged_spans(curves, frames, duration, span_thresholds[chosen], max(limit, PARAGRAPH_SPANS), step):
        inside = (starts >= span.start) & (starts < span.end)
        known = curves[:, inside] if possible is None else _curves(sentence_vectors, frames.vectors[inside])
        moments.append((span, float(known.max(axis=1).mean())))
    return moments


def _curves(sentence_vectors: _F32, frame_vectors: _F32) -> _F32:
    """Return the cosines (S, T) of sentences with frames."""
    if len(sentence_vectors) > FEW_SENTENCES:
        return sentence_vectors @ frame_vectors.T
    curves = np.empty((len(sentence_vectors), len(frame_vectors)), np.float32)
    for curve, vector in zip(curves, sentence_vectors, strict=True):
        np.einsum("td,d->t", frame_vectors, vector, out=curve)
    return curves


def _merged_spans(
    curves: _F32, frames: StoredFrames, duration: float, thresholds: _F32, limit: int, step: float | None
) -> list[Span]:
    """Return the spans of all sentences, merged where they overlap or touch. See `find_moments`.

    The spans of many sentences cover a whole video soon; no further one can change that.
    """
    starts, ends = cell_edges(frames.times, duration)[:-1], cell_ends(frames.times, duration, step)
    frame_step = float(np.median(np.diff(starts))) if len(starts) > 1 else 0.0
    barriers = [stretch.end for stretch in unseen(frames.times, duration, step)]
    whole, merged = float(np.sum(ends - starts)), list[Span]()
    for curve, threshold in zip(curves, thresholds.tolist(), strict=True):
        if curve.max() < threshold:  # NaN is an error
            continue
        found = peaks(curve, frames.times, duration, limit, step=step, least=threshold)
        merged = _merge([*merged, *(peak.span for peak in found)], frame_step, barriers)
        if sum(span.duration for span in merged) >= whole - 1e-6:
            break
    return merged


def _merge(spans: Iterable[Span], gap: float, barriers: Sequence[float]) -> list[Span]:
    """Merge spans that overlap or are at most `gap` seconds apart, but not across any of `barriers` (times, sorted)."""
    merged: list[Span] = []
    for span in sorted(spans):
        near = merged and span.start - merged[-1].end <= gap + 1e-9
        if near and bisect_right(barriers, merged[-1].start) == bisect_right(barriers, span.start):
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged


def with_finer_bounds(store: Reader, vector: npt.NDArray[np.float32], moments: Sequence[Moment]) -> list[Moment]:
    """Return moments of one sentence in the same order, with bounds from the deconvolution of their videos' curves.

    Without overlapping windows they stay as they are, and so do those of a video that another process has removed.

    Args:
        store: the index that the moments come from.
        vector: (d,), unit vector of the sentence.
        moments: those of a video do not overlap.
    """
    if store.meta.stride == store.meta.window:
        return list(moments)
    records = store.records()
    contents = {moment.video: records[moment.video].content for moment in moments if moment.video in records}
    finer = {moment: ScoredSpan(Span(moment.start, moment.end), moment.score) for moment in moments}
    for content, frames in store.fetch(sorted(set(contents.values()))).items():
        if frames.windows is not None:
            found = [moment for moment in moments if contents.get(moment.video) == content]
            fine = deconvolve(frames.vectors @ vector, frames.windows)
            bounds = sharpened([finer[moment] for moment in found], fine, window_seconds(frames.windows))
            finer |= dict(zip(found, bounds, strict=True))
    return [replace(moment, start=scored.span.start, end=scored.span.end) for moment, scored in finer.items()]
