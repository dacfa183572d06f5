"""Find the moments of indexed videos that show a text.

The nearest frames name candidate videos; the whole relevance curves of these give the spans.

A query of one sentence scores a moment by its peak cosine. A paragraph is searched sentence by sentence: spans of its
sentences that overlap or touch become one moment. Its score is the mean, over all sentences, of their highest cosine
inside, so that a moment that shows more of the paragraph ranks higher. A long text without punctuation is searched as a
paragraph of overlapping windows of words. Scores are cosines of one model: they compare between queries, videos and
indexes of that model, and with nothing else. The exponent and the offset of a model's evidence rule are not used: the
number of sentences is the same for all moments of a query, so they could not change the order.

The result is exact as far as the nearest frames are (always with a snapshot, and below `store.ANN_ROWS`): a video is
left unread only if its known frames bound its moments below the k-th best.

Shape legend: S sentences, T frames, d width.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from mova.errors import UsageError
from mova.search.cold.snapshot import AHEAD
from mova.search.narrow.answer import document as document
from mova.search.narrow.selection import BatchReader, Contents, Reader, meta_of
from mova.search.storage.records import BATCH_FRAMES, VideoRecord
from mova.search.video_moments import find_moments, with_finer_bounds
from mova.text.units import sentences_or_windows, windows_overlap
from mova.types import Moment
from mova.utils.batching import growing_batches
from mova.utils.files import surely_gone

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder
    from mova.search.cold.text_tower import TextTower

FIRST_HITS = 256
HITS_PER_MOMENT = 16
"""Nearest frames requested at first: at least `FIRST_HITS`, and this many per requested moment."""
GROWTH = 8
"""Factor by which the number of nearest frames grows until the answer is settled."""
FIRST_FRAMES = 1024
"""Frames of the most promising videos that are read at first; each further batch has twice as many, up to
`BATCH_FRAMES`. From memory-mapped files one video is read at a time: never too many, and its vectors stay in the
cache."""
MANY_SENTENCES = 32
"""Sentences from which all are compared with all frames in one product, where a snapshot permits that."""
MAX_SENTENCES = 2048
MAX_CHARACTERS = 250_000
"""Longest query."""
MAX_WITHOUT_SNAPSHOT = 256
"""Sentences of the longest query of an index without a snapshot here: each is searched by itself."""
MARGIN = 2e-3
"""Tolerance of bounds: stored vectors have half precision."""
ROUNDING = 2e-6
"""Scores that differ by less may be equal in the six digits by which moments are ranked."""

Masked = Literal["masks", "mod", "mod-top", "mod-relevance", "tv", "tv-top", "tv-relevance"]
"""Ways to score moments through the model's masks: "masks" by the model's own score, others by that `ModularScore`."""
Rescoring = Literal["auto", "none", "rule"] | Masked
"""How the best moments are scored again (`mova.search.rerank`). "auto": by the rule if it has an order term and the
text has several sentences, otherwise not at all."""

_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Query:
    """A text prepared for search with one model.

    Attributes:
        text: a sentence or a paragraph.
        sentences: its sentences, or overlapping windows of words.
        vectors: float32, (S, d), unit vectors of the sentences.
        rescoring: how the best moments are scored again.
    """

    text: str
    sentences: tuple[str, ...]
    vectors: _F32
    rescoring: Literal["none", "rule"] | Masked

    @classmethod
    def prepare(
        cls,
        model: DualEncoder | TextTower,
        text: str,
        rescoring: Rescoring = "auto",
        *,
        vectors: _F32 | None = None,
    ) -> Query:
        """Split and encode a text, and decide how its moments are scored again.

        Args:
            model: of the index.
            text: a sentence or a paragraph.
            rescoring: see `Rescoring`.
            vectors: the unit vectors of its sentences, if they are known already.

        Raises:
            UsageError: the text contains no words or is too long, or the model lacks the masks that `rescoring` needs.
        """
        if rescoring in get_args(Masked) and not model.scores_modular:
            raise UsageError(
                f"{model.name} has no frame masks to score with; index with a MoVA model, or use --rescore rule"
            )
        if rescoring in get_args(Masked)[1:] and rescoring not in model.modular_scores:
            raise UsageError(f"{model.name} has no masks for --rescore {rescoring}; use --rescore masks")
        sentences = query_sentences(text)
        if rescoring == "auto":
            rescoring = "rule" if model.rule.beta > 0 and len(sentences) > 1 else "none"
        if vectors is None:
            vectors = model.encode_sentences(sentences).unit_vectors()
        return cls(text, tuple(sentences), vectors, rescoring)


def query_sentences(text: str) -> list[str]:
    """Split a query into sentences, or windows of words.

    Raises:
        UsageError: it contains no words, or is too long.
    """
    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"the query has {len(text):,} characters, at most {MAX_CHARACTERS:,} are allowed; shorten it")
    sentences = sentences_or_windows(text)
    if len(sentences) > MAX_SENTENCES:
        raise UsageError(
            f"the query has {len(sentences):,} sentences, but at most {MAX_SENTENCES:,} are searched at once; "
            "shorten it, or search for each line of a file (mova search --queries FILE)"
        )
    return sentences


def has_passages(text: str) -> bool:
    """Return whether a text has several sentences, which are looked for in their order (`mova.search.paragraph`).

    >>> has_passages("A dog runs."), has_passages("A dog runs. It barks.")
    (False, True)
    """
    sentences = query_sentences(text)
    return len(sentences) > 1 and not windows_overlap(text, sentences)


def require_rescoring(name: str) -> None:
    """Raise if a name is not one of `Rescoring`.

    Raises:
        UsageError: it is not.
    """
    known = ("auto", "none", "rule", *get_args(Masked))
    if name not in known:
        raise UsageError(f"rescore {name!r} is unknown; choose from {', '.join(known)}")


def search(
    store: Reader, query: Query, k: int = 10, *, min_score: float | None = None, one_per_video: bool = False
) -> list[Moment]:
    """Return the k best moments for a query over all indexed videos, before they are scored again.

    Args:
        store: the index.
        query: prepared with the model of the index.
        k: return at most k moments, at least 1; several may come from one video.
        min_score: leave out moments below this cosine.
        one_per_video: only the best moment of each content.

    Returns:
        Best first, ties by path and start. Content stored under several paths is returned once, under the first
        path whose file exists.

    Raises:
        UsageError: the index does not exist.
    """
    contents = Contents.of(store)
    if not contents.firsts:
        return []
    rows = store.count_frames()
    if rows < contents.frames:
        store.require_complete(rows)
    k = max(1, min(k, rows))
    least = -np.inf if min_score is None else min_score
    best_first = _BestFirstSearch(store, query.vectors, contents, k, least, one_per_video=one_per_video)
    limit = max(FIRST_HITS, HITS_PER_MOMENT * k)
    if not best_first.compare_all():
        if len(query.vectors) > MAX_WITHOUT_SNAPSHOT:
            raise UsageError(
                f"{store.uri}: has no snapshot that can be read here, without which a query has at most "
                f"{MAX_WITHOUT_SNAPSHOT} sentences, not {len(query.vectors):,}; mova index writes one"
            )
        while not best_first.expand(limit, rows):
            limit *= GROWTH
    moments = best_first.best()
    return with_finer_bounds(store, query.vectors[0], moments) if len(query.vectors) == 1 else moments


class _BestFirstSearch:
    """Reads the most promising videos first and stops when no unread video can change the answer.

    A sentence's span becomes part of a paragraph's moments only if it reaches the sentence's threshold: halfway between
    its mean cosine with all indexed frames and its best one. A single sentence has no threshold.
    """

    def __init__(
        self,
        store: Reader,
        sentence_vectors: _F32,
        contents: Contents,
        k: int,
        min_score: float,
        *,
        one_per_video: bool,
    ) -> None:
        self.store = store
        self.sentence_vectors = sentence_vectors
        self.records, self.videos = contents.same, contents.firsts
        self.k = k
        self.min_score = min_score
        self.one_per_video = one_per_video
        self.moments: list[Moment] = []
        self._best_scores: list[float] = []  # a heap: the lowest of the k best is first
        self.visited: set[str] = set()
        self._possible: dict[str, npt.NDArray[np.bool_]] = {}

    def expand(self, limit: int, rows: int) -> bool:
        """Read the videos of each sentence's `limit` nearest frames; return whether the answer is settled.

        Args:
            limit: nearest frames per sentence.
            rows: frames in the index.
        """
        hits = self._nearest(limit, rows)
        # Every frame that is not among the hits of a sentence is at most as near as its last hit.
        farthest = np.array([cosines[-1] if len(cosines) else -1.0 for _, cosines in hits])
        nearest = np.array([cosines[0] if len(cosines) else -1.0 for _, cosines in hits])
        span_thresholds = (self._mean_cosine + nearest) / 2 if len(hits) > 1 else np.array([-np.inf])
        if self._visit_best_first(self._bounds(hits, farthest, span_thresholds), span_thresholds):
            return True
        bound = float(farthest.mean()) + MARGIN if np.any(farthest + MARGIN >= span_thresholds) else -np.inf
        return limit >= rows or bound < self._score_to_beat()

    def compare_all(self) -> bool:
        """Read the videos by their best cosine with each of many sentences; return whether these can be known.

        One product of all sentences and frames bounds every video more tightly than its few nearest frames do.
        """
        many = len(self.sentence_vectors) >= MANY_SENTENCES and isinstance(self.store, BatchReader)
        found = self.store.best_cosines(self.sentence_vectors) if many else None  # type: ignore[attr-defined]
        if found is None:
            return False
        contents, best = found
        span_thresholds = (self._mean_cosine + best.max(axis=0)) / 2
        self._possible = dict(zip(contents, best + MARGIN >= span_thresholds, strict=True))
        bounds = dict(zip(contents, best.mean(axis=1, dtype=np.float64).tolist(), strict=True))
        chosen = {c: bound for c, bound in bounds.items() if c in self.videos and self._possible[c].any()}
        self._visit_best_first(chosen, span_thresholds)
        return True

    def _visit_best_first(self, bounds: Mapping[str, float], span_thresholds: _F32) -> bool:
        """Read videos in order of the highest possible score; return whether one cannot be among the k best."""
        best_first = sorted(bounds, key=lambda content: (-bounds[content], content))
        frames_of = self.store.meta.frames_of
        first, most = (1, 1) if self.store.mapped else (FIRST_FRAMES, BATCH_FRAMES)
        for batch in growing_batches(best_first, lambda content: frames_of(self.videos[content]), first, most):
            if bounds[batch[0]] + MARGIN < self._score_to_beat():
                return True
            self._visit(batch, span_thresholds)
        return False

    def _nearest(self, limit: int, rows: int) -> list[tuple[list[str], _F32]]:
        """Return the nearest frames of each sentence; several sentences are compared with all frames at once."""
        hits, vectors = [], self.sentence_vectors
        most = max(1, AHEAD // rows)
        for start in range(0, len(vectors), most):
            part = vectors[start : start + most]
            if len(vectors) > 1 and isinstance(self.store, BatchReader):
                self.store.look_ahead(part)
            hits += [self.store.nearest(vector, limit) for vector in part]
        return hits

    @cached_property
    def _mean_cosine(self) -> _F32:
        """The mean cosine (S,) of each sentence with all indexed frames."""
        weights = np.array([self.store.meta.frames_of(video) for video in self.videos.values()], dtype=np.float64)
        mean = np.average([video.mean for video in self.videos.values()], axis=0, weights=weights)
        cosines: _F32 = self.sentence_vectors @ mean.astype(np.float32)
        return cosines

    def best(self) -> list[Moment]:
        """Return the k best of the moments gathered."""
        return heapq.nsmallest(self.k, self.moments, key=_rank)

    def _bounds(
        self, hits: Sequence[tuple[list[str], _F32]], farthest: _F32, span_thresholds: _F32
    ) -> dict[str, float]:
        """Return the highest possible score of each unvisited video that may have a moment."""
        rows: dict[str, int] = {}
        for contents, _ in hits:
            for content in contents:
                rows.setdefault(content, len(rows))
        highest = np.tile(farthest.astype(np.float64), (len(rows), 1))
        for sentence, (contents, cosines) in enumerate(hits):
            np.maximum.at(highest[:, sentence], [rows[content] for content in contents], cosines)
        possible = np.any(highest + MARGIN >= span_thresholds, axis=1).tolist()
        bounds = highest.mean(axis=1).tolist()
        return {
            content: bounds[row]
            for content, row in rows.items()
            if possible[row] and content in self.videos and content not in self.visited
        }

    def _score_to_beat(self) -> float:
        """Return the score that a moment needs to be among the k best."""
        if len(self._best_scores) < self.k:
            return self.min_score
        return max(self.min_score, self._best_scores[0])

    def _note(self, score: float) -> None:
        """Take the score of a new moment into account."""
        if len(self._best_scores) < self.k:
            heapq.heappush(self._best_scores, score)
        else:
            heapq.heappushpop(self._best_scores, score)

    def _visit(self, contents: Sequence[str], span_thresholds: _F32) -> None:
        """Gather the moments of some videos; videos that another process has just removed have none.

        Raises:
            IndexDamagedError: frames of a video are missing, or there are too many.
        """
        stored = self.store.fetch(contents)
        for content in contents:
            video = self.videos[content]
            self.visited.add(content)
            if content not in stored or stored[content].stored_rows != video.frames:
                self.store.require_removed(video)
                continue
            if len(span_thresholds) == 1:  # a moment of one sentence is a span of it
                span_thresholds = np.array([self._score_to_beat() - ROUNDING])
            frames = stored[content]
            step = frames.step(meta_of(self.store, content))
            moments = find_moments(
                self.sentence_vectors,
                frames,
                video.duration,
                span_thresholds,
                self.k,
                step,
                self._possible.get(content),
            )
            moments = [(span, score) for span, score in moments if score >= self.min_score]
            path = existing_path(self.records[content]) if moments else ""
            found = [Moment(path, span.start, span.end, score) for span, score in moments]
            for moment in [min(found, key=_rank)] if found and self.one_per_video else found:
                self.moments.append(moment)
                self._note(moment.score)


def existing_path(records: Sequence[VideoRecord]) -> str:
    """Return the first path of a content whose file may exist; the first path if there is none.

    After a folder was renamed, the index has the old paths until they are forgotten.
    """
    if len(records) > 1:
        for record in records:
            if not surely_gone(record.path):
                return record.path
    return records[0].path


def _rank(moment: Moment) -> tuple[float, str, float]:
    """Sort key: best first; scores equal in the six digits that are printed: by path and start."""
    return -round(moment.score, 6), moment.video, moment.start
