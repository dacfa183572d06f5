"""Ask a model about videos in batches: in this process, or on the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mova.errors import VideoError
from mova.text_to_video.score_cache import ScoreCache, Scorer, cached_batch
from mova.utils.cluster import LOST, Cluster, map_on_cluster
from mova.utils.hashing import content_hash

Loader = Callable[[], tuple[str, Scorer]]
"""Loads a model; returns its cache key and the scorer."""
Pair = tuple[Path, list[str]]
"""A video, and the texts to score it with."""
Scores = list[float] | VideoError
"""The scores of the texts, or why the video cannot be read."""


def ask_here(
    pairs: Mapping[int, Pair], load: Loader, cache: ScoreCache | None, batch: int
) -> Iterator[tuple[str, list[int], list[Scores]]]:
    """Load a model and yield its cache key, the numbers of some pairs, and their scores, batch by batch."""
    key, scorer = load()
    yield key, [], []
    for numbers in _batches(list(pairs), batch):
        yield key, numbers, cached_batch([pairs[i] for i in numbers], key, scorer, cache)
    del scorer
    import torch  # which a node may do without

    torch.cuda.empty_cache()


def ask_on_cluster(
    pairs: Mapping[int, Pair], load: Loader, cache: ScoreCache | None, batch: int, cluster: Cluster
) -> Iterator[tuple[str, list[int], list[Scores]]]:
    """Yield what `ask_here` does, in no order; the model is loaded on the nodes, the cache is read and written here."""
    known: dict[int, Scores] = {}
    key = ""
    if cache is not None and len(cache):
        for _, (key, _) in map_on_cluster([()], _NodeScorer, cluster, _lost, load=load):  # only a node knows the key
            known = {i: cached for i, pair in pairs.items() if (cached := _cached(pair, key, cache))}
            yield key, list(known), list(known.values())
    batches = _batches([i for i in pairs if i not in known], batch)
    items = [tuple((pairs[i][0].absolute(), pairs[i][1]) for i in numbers) for numbers in batches]
    for number, (found, results) in map_on_cluster(items, _NodeScorer, cluster, _lost, load=load):
        key = found or key
        for (video, texts), scores in zip(items[number], results, strict=True):
            if cache is not None and not isinstance(scores, VideoError):
                cache.put(content_hash(video), dict(zip(texts, scores, strict=True)), key)
        yield key, batches[number], results


class _NodeScorer:
    """Scores batches of videos on a node of a cluster."""

    def __init__(self, load: Loader) -> None:
        self._key, self._scorer = load()

    def __call__(self, pairs: Sequence[Pair]) -> tuple[str, list[Scores]]:
        """Return the cache key of the model, and the scores."""
        return self._key, cached_batch(pairs, self._key, self._scorer)


def _lost(pairs: Sequence[Pair]) -> tuple[str, list[Scores]]:
    """Return no key, and why each video of a batch has no scores."""
    return "", [VideoError(video, LOST) for video, _ in pairs]


def _batches(numbers: Sequence[int], size: int) -> list[list[int]]:
    return [list(numbers[first : first + size]) for first in range(0, len(numbers), size)]


def _cached(pair: Pair, key: str, cache: ScoreCache) -> list[float] | None:
    """Return the cached scores of all texts of a video, None unless all are there."""
    video, texts = pair
    try:
        known = cache.get(content_hash(video), texts, key)
    except OSError:
        return None
    return [known[text] for text in texts] if all(text in known for text in texts) else None
