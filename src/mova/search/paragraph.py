"""Passages of videos in which the sentences of a paragraph follow each other.

`search/query.py` finds moments of single sentences and merges those that touch. Events of a story are rarely that
close: between a door that opens and tea that is poured, something else may happen. Here the sentences are aligned with
each of the best videos together (`mova.scoring.alignment`). If the evidence says that they are in temporal order, the
moments of that video become one passage, from the first sentence that it shows to the last, with the time of each. A
model whose relevance hardly rises at any moment of a video would place sentences by their order alone; such videos have
no passages.

Shape legend: S sentences, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mova.models.background_captions import encode_background, relevance_threshold
from mova.models.encoder import DualEncoder, VideoEmbedding
from mova.scoring.adaptive_weights import moment_strength
from mova.scoring.alignment import Alignment, align_jointly
from mova.scoring.emissions import AlignmentWeights
from mova.scoring.similarity import relevance
from mova.scoring.spans import cell_edges, usual_cell
from mova.scoring.timeline_decoder import PRESENT, Order
from mova.search.narrow.selection import Reader, meta_of
from mova.search.query import Query, has_passages
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.types import Moment, MomentSentence, Span

MOST_VIDEOS = 10
MOST_FRAMES, MOST_PRODUCTS = 20_000, 2_000_000
"""Videos, frames of them together, and products of frames and sentences that a paragraph is aligned with, best first:
about two seconds of work."""
LONGEST_GAP = 300.0
"""Seconds between two sentences of one passage; not tuned."""
LEAST_STRENGTH = 0.25
"""Least `moment_strength` of the paragraph on a video."""


def find_passages(
    store: Reader, model: DualEncoder, query: Query, moments: Sequence[Moment], order: Order = "auto"
) -> list[Moment]:
    """Replace moments of a paragraph by the passages that contain them, where its sentences are in temporal order.

    Args:
        store: the index that the moments come from.
        model: the encoder of the index.
        query: a single sentence and windows of words have no passages: the moments stay as they are.
        moments: as returned by `query.search`, best first.
        order: whether the sentences are in temporal order: "yes", "no" (no passages), or "auto", by the evidence of
            each video.

    Returns:
        Best first; of equal scores, the shorter one. The score of a passage is that of a moment: the mean, over all
        sentences, of their best cosine inside.
    """
    if order == "no" or not has_passages(query.text):
        return list(moments)
    records = store.records()
    found = [records[path] for path in dict.fromkeys(m.video for m in moments) if path in records]
    videos = _within_limits(found, store.meta, len(query.vectors))
    stored = store.fetch([video.content for video in videos])
    result = list(moments)
    for video in videos:
        if video.content not in stored:  # another process removed it
            continue
        frames = stored[video.content]
        step = frames.step(meta_of(store, video.content))
        for passage in _passages(model, query, video, frames, step, order):
            outside = [m for m in result if m.video != video.path or not _overlap(m, passage)]
            result = [*outside, passage]
    return sorted(result, key=lambda m: (-round(m.score, 6), round(m.end - m.start, 3), m.video, m.start))


def _within_limits(videos: Sequence[VideoRecord], meta: Meta, sentences: int) -> list[VideoRecord]:
    frames, most = np.cumsum(list(map(meta.frames_of, videos))), min(MOST_FRAMES, MOST_PRODUCTS // sentences)
    return [video for i, video in enumerate(videos[:MOST_VIDEOS]) if i == 0 or frames[i] <= most]


def _passages(
    model: DualEncoder, query: Query, video: VideoRecord, frames: StoredFrames, step: float, order: Order
) -> list[Moment]:
    """Return the passages of one video; none if the sentences are not in temporal order there."""
    seen = VideoEmbedding(torch.from_numpy(frames.vectors), frames.times, video.duration, step=step)
    background = encode_background(model) if model.background else relevance_threshold(model, seen)
    if isinstance(background, torch.Tensor) and _strength(query, seen, background) < LEAST_STRENGTH:
        return []
    aligned = align_jointly(
        torch.from_numpy(query.vectors),
        seen.frames,
        seen.times,
        seen.duration,
        model.alignment,
        background=background,
        sentences=query.sentences,
        order=order,
        step=step,
        excerpt=True,
    )
    assert aligned.order is not None
    if aligned.order.choice == "free":
        return []
    passages = []
    for group in group_placed(placed_sentences(query.sentences, aligned)):
        if len({item.index for item in group}) < 2:
            continue
        start, end = group[0].sentence.start, max(item.sentence.end for item in group)
        inside = (seen.times >= start) & (seen.times < end)
        score = float(aligned.relevance[:, inside].max(axis=1).mean())
        passages.append(Moment(video.path, start, end, score, tuple(item.sentence for item in group)))
    return passages


def _strength(query: Query, video: VideoEmbedding, background: torch.Tensor) -> float:
    """Return how clearly the relevance of the sentences finds moments of the video, from 0 to 1."""
    curves = relevance(torch.from_numpy(query.vectors), video.frames).numpy()
    usual = relevance(background.cpu(), video.frames).numpy()
    cell = usual_cell(cell_edges(video.times, video.duration), video.step or 1.0)
    return moment_strength(curves, usual, AlignmentWeights().peak_frames(cell))


@dataclass(frozen=True)
class Placed:
    """A sentence of a paragraph, by its index, at one of its spans."""

    index: int
    sentence: MomentSentence


def placed_sentences(texts: Sequence[str], aligned: Alignment) -> list[Placed]:
    """Return the spans of all sentences that a video probably shows, in order of time."""
    assert aligned.shown is not None
    placed = [
        Placed(k, MomentSentence(text, scored.span.start, scored.span.end, scored.posterior or 0.0))
        for k, (text, spans, shown) in enumerate(zip(texts, aligned.spans, aligned.shown, strict=True))
        for scored in spans
        if shown >= PRESENT
    ]
    return sorted(placed, key=lambda item: (item.sentence.start, item.index))


def group_placed(placed: Sequence[Placed], gap: float = LONGEST_GAP) -> list[list[Placed]]:
    """Group sentences, in order of time, wherever at most `gap` seconds pass between one and the next.

    Example:
        >>> rows = [Placed(k, MomentSentence("", start, start + 2.0, 1.0)) for k, start in enumerate((0.0, 5.0, 90.0))]
        >>> [[item.index for item in group] for group in group_placed(rows, gap=60.0)]
        [[0, 1], [2]]
    """
    groups: list[list[Placed]] = []
    end = -np.inf
    for item in placed:
        if item.sentence.start - end > gap:
            groups.append([])
        groups[-1].append(item)
        end = max(end, item.sentence.end)
    return groups


def _overlap(a: Moment, b: Moment) -> bool:
    return Span(a.start, a.end).intersection(Span(b.start, b.end)) > 0
