"""Text into moments: the nearest frames name candidate videos, their whole relevance curves give the spans.

A query of one sentence scores a moment with its peak cosine. A paragraph is asked sentence by sentence: spans
of its sentences that overlap or touch become one moment, which scores the mean over all sentences of their
highest cosine inside, so that a moment showing more of the paragraph ranks higher. A long text without punctuation
is asked as a paragraph of overlapping windows of words. Scores are cosines of one model: they compare between queries,
videos and indexes of that model, and with nothing else. The exponent and the offset of a model's evidence rule have no
part in it: the number of sentences is the same for all moments of a query, so they could not change their order.

The result is exact as far as the nearest frames are (always below `store.ANN_ROWS`): a video is left unread
only where what is known of its frames bounds its moments below the k-th best.

Shape legend: S sentences, T frames, d width.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mova.errors import UsageError, VideoError
from mova.models.encoder import DualEncoder
from mova.scoring.spans import cell_edges, peaks
from mova.search.store import Store, StoredFrames, VideoRecord
from mova.text.units import sentences_or_windows
from mova.types import Moment, Span
from mova.video.writer import cut_clip

FIRST_HITS = 256
HITS_PER_MOMENT = 16
"""Nearest frames asked for at first, and per wanted moment."""
GROWTH = 8
"""How many times more are asked for where those did not settle the answer."""
BATCH_FRAMES = 8192
"""Frames of candidate videos read at a time."""
PARAGRAPH_SPANS = 64
"""Spans that a sentence of a paragraph may lend to the moments of a video, however few moments are wanted."""
MARGIN = 2e-3
"""Bounds hold up to this much: stored vectors are in half precision."""

_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]


def search(store: Store, model: DualEncoder, text: str, k: int = 10, *, min_score: float | None = None) -> list[Moment]:
    """The k best moments for a text over all indexed videos.

    Args:
        store: the index.
        model: the encoder that it was made with.
        text: a sentence or a paragraph.
        k: at most so many moments (more than there are frames mean all); many may come from one video.
        min_score: leave out moments below this cosine.

    Returns:
        Best first, ties by path and start. Content under several paths is told once, under the first path.

    Raises:
        UsageError: no words in the text, k below 1, or no index.
    """
    if k < 1:
        raise UsageError(f"k must be at least 1, not {k}")
    queries = unit_vectors(model, sentences_or_windows(text))
    videos: dict[str, VideoRecord] = {}
    for record in store.records().values():
        videos.setdefault(record.content, record)
    if not videos:
        return []
    rows = store.count_frames()
    k = max(1, min(k, rows))
    query = _Query(store, queries, videos, k, -np.inf if min_score is None else min_score)
    limit = max(FIRST_HITS, HITS_PER_MOMENT * k)
    while not query.answered(limit, rows):
        limit *= GROWTH
    return query.best()


def unit_vectors(model: DualEncoder, sentences: Sequence[str]) -> _F32:
    """Normalised text vectors, float32, (S, d)."""
    with torch.inference_mode():
        pooled = model.encode_text(sentences).pooled.float()
        return torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()


class _Query:
    """One search while it gathers moments.

    A sentence's span joins a paragraph's moments from its bar on: halfway between the sentence's mean cosine
    with all indexed frames (`level`) and its best. A single sentence has no bar.
    """

    def __init__(self, store: Store, queries: _F32, videos: Mapping[str, VideoRecord], k: int, floor: float) -> None:
        self.store = store
        self.queries = queries
        self.videos = videos
        self.k = k
        self.floor = floor
        self.moments: list[Moment] = []
        self.read: set[str] = set()
        weights = np.array([video.frames for video in videos.values()], dtype=np.float64)
        mean = np.average([video.mean for video in videos.values()], axis=0, weights=weights)
        self.level = queries @ mean.astype(np.float32)

    def answered(self, limit: int, rows: int) -> bool:
        """Look at the `limit` nearest frames of each sentence; whether that settles the answer."""
        hits = [self.store.nearest(query, limit) for query in self.queries]
        tails = np.array([cosines[-1] if len(cosines) else -1.0 for _, cosines in hits])
        best = np.array([cosines[0] if len(cosines) else -1.0 for _, cosines in hits])
        bars = (self.level + best) / 2 if len(hits) > 1 else np.array([-np.inf])
        candidates: dict[str, _F64] = {}
        for row, (contents, cosines) in enumerate(hits):
            for content, cosine in zip(contents, cosines.tolist(), strict=True):
                bound = candidates.setdefault(content, tails.astype(np.float64))
                bound[row] = max(bound[row], cosine)
        bounds = {
            content: float(bound.mean())
            for content, bound in candidates.items()
            if content in self.videos and content not in self.read and np.any(bound + MARGIN >= bars)
        }
        order = sorted(bounds, key=lambda content: (-bounds[content], content))
        for batch in self._batches(order):
            if bounds[batch[0]] + MARGIN < self._least():
                return True
            self._evaluate(batch, bars)
        unseen = float(tails.mean()) + MARGIN if np.any(tails + MARGIN >= bars) else -np.inf
        return limit >= rows or unseen < self._least()

    def best(self) -> list[Moment]:
        """The k best of the moments gathered."""
        return heapq.nsmallest(self.k, self.moments, key=_rank)

    def _least(self) -> float:
        """The score that a moment needs to be among the answers."""
        if len(self.moments) < self.k:
            return self.floor
        return max(self.floor, heapq.nlargest(self.k, (m.score for m in self.moments))[-1])

    def _batches(self, contents: Sequence[str]) -> Iterator[list[str]]:
        """Consecutive videos, about `BATCH_FRAMES` at a time."""
        batch: list[str] = []
        frames = 0
        for content in contents:
            batch.append(content)
            frames += self.videos[content].frames
            if frames >= BATCH_FRAMES:
                yield batch
                batch, frames = [], 0
        if batch:
            yield batch

    def _evaluate(self, contents: Sequence[str], bars: _F32) -> None:
        """Add the moments of some videos; what another process removed meanwhile has none."""
        stored = self.store.fetch(contents)
        for content in contents:
            video = self.videos[content]
            self.read.add(content)
            if content not in stored:
                continue
            for span, score in find_moments(self.queries, stored[content], video.duration, bars, self.k):
                if score >= self.floor:
                    self.moments.append(Moment(video.path, span.start, span.end, score))


def _rank(moment: Moment) -> tuple[float, str, float]:
    """Best first; equal to the six digits that people see: by path and start."""
    return -round(moment.score, 6), moment.video, moment.start


def find_moments(
    queries: _F32, frames: StoredFrames, duration: float, bars: _F32, limit: int
) -> list[tuple[Span, float]]:
    """Moments of one video with their scores.

    Args:
        queries: (S, d) unit vectors.
        frames: the video's stored frames.
        duration: seconds.
        bars: (S,) cosines that a sentence's span must reach.
        limit: moments that are wanted; a paragraph's are joined from more spans than that.
    """
    curves = queries @ frames.vectors.T
    limit = limit if len(curves) == 1 else max(limit, PARAGRAPH_SPANS)
    spans = [
        found
        for curve, bar in zip(curves, bars.tolist(), strict=True)
        for found in peaks(curve, frames.times, duration, limit)
        if found.score >= bar
    ]
    if len(curves) == 1:
        return [(found.span, found.score) for found in spans]
    starts = cell_edges(frames.times, duration)[:-1]
    touching = float(np.median(np.diff(starts))) if len(starts) > 1 else 0.0
    moments = []
    for span in _joined((found.span for found in spans), touching):
        inside = (starts >= span.start) & (starts < span.end)
        moments.append((span, float(curves[:, inside].max(axis=1).mean())))
    return moments


def _joined(spans: Iterable[Span], gap: float) -> list[Span]:
    """Spans that overlap, or lie at most `gap` seconds apart, as one."""
    joined: list[Span] = []
    for span in sorted(spans):
        if joined and span.start - joined[-1].end <= gap + 1e-9:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined


def document(query: str, model: str, elapsed_seconds: float, moments: Sequence[Moment]) -> dict[str, Any]:
    """The document that `mova search --json` prints."""
    return {
        "query": query,
        "model": model,
        "elapsed_seconds": round(elapsed_seconds, 3),
        "results": [moment.to_json() for moment in moments],
    }


def export_clips(moments: Sequence[Moment], folder: str | Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """Cut each moment out of its file; one that cannot be cut does not keep the others back.

    Args:
        moments: in order of rank.
        folder: made if it is not there.

    Returns:
        The clips written, as `01_name_0012.50-0018.00.mp4` (rank, the video's name in safe characters, seconds),
        and (path, cause) for each that was not: its video is gone, changed or cannot be read, or the clip
        cannot be written.

    Raises:
        UsageError: the folder cannot be made.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{target}: this folder cannot be made ({error.strerror or error}); name another") from error
    digits = max(2, len(str(len(moments))))
    clips: list[Path] = []
    failures: list[tuple[str, str]] = []
    for rank, moment in enumerate(moments, start=1):
        name = re.sub(r"[^\w.-]+", "_", Path(moment.video).stem).strip("._-")[:80] or "video"
        clip = target / f"{rank:0{digits}d}_{name}_{moment.start:07.2f}-{moment.end:07.2f}.mp4"
        try:
            clips.append(cut_clip(moment.video, clip, moment.start, moment.end))
        except VideoError as error:
            failures.append((error.path, error.cause))
        except UsageError as error:  # the file is shorter now than when it was indexed
            failures.append((moment.video, str(error).removeprefix(f"{moment.video}: ")))
    return clips, failures
