"""Measure whether compressed texts keep the meaning of the long ones, and map both in 2-D (GEXIA, Appendix B).

Texts are compared by a model's text tower, or by default with TF-IDF over the sampled texts. TF-IDF sees only shared
words, so figures of the two cannot be compared. Each similarity is reported with that of long texts and the summaries
of other texts, its baseline.

Shape legend: P pairs of a long and a short text, M of them on the map, V of those whose video can be read, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.data.expansion.expand import CompressedPair
from mova.data.manifest import Row

Vectors = npt.NDArray[np.float64]
Show = Callable[[Row], Vectors | None]
"""A row -> vector of its video (d,), or None if it cannot be read."""
Embed = Callable[[Sequence[str]], Vectors]
"""Texts -> vectors (P, d), not necessarily normalized."""
MAPPED = 100
"""Pairs on the map, as in the paper's Figure 4."""
FEWEST = 4
"""The fewest pairs that are mapped."""
COLUMNS = 4096
"""Columns of the hashed TF-IDF vectors."""
PERPLEXITY = 30.0
"""Perplexity of t-SNE, given enough points."""


@dataclass(frozen=True)
class Agreement:
    """Similarity of long and compressed texts of one granularity.

    Attributes:
        level: granularity of the short texts.
        measure: name of the model, or "TF-IDF".
        paired: (P,) cosines of a text and its summary.
        others: (P,) cosines of a text and the summary of the next text of the sample.
        long, short: (M, 2) coordinates on the map, or None for too few pairs.
        videos: (V, 2) coordinates of videos on the map; empty without a model.
        video_long, video_short: (V,) cosines of a video and its long and short text.
        unread: videos of the map that could not be read.
    """

    level: str
    measure: str
    paired: Vectors
    others: Vectors
    long: Vectors | None
    short: Vectors | None
    videos: Vectors
    video_long: Vectors
    video_short: Vectors
    unread: int

    def to_json(self) -> dict[str, Any]:
        """Return means, deviations, quantiles and the map."""
        points = None
        if self.long is not None and self.short is not None:
            coordinates = {"long": self.long, "short": self.short, "videos": self.videos}
            points = {name: array.round(3).tolist() for name, array in coordinates.items()}
        arrays = {
            "own": self.paired,
            "others": self.others,
            "video_long": self.video_long,
            "video_short": self.video_short,
        }
        spreads = {name: _spread(values) for name, values in arrays.items()}
        return {"measure": self.measure, **spreads, "videos_not_read": self.unread, "map": points}


def _spread(values: Vectors) -> dict[str, Any]:
    """Summarize the distribution of values; None for each statistic of an empty array."""
    quantiles = np.quantile(values, (0.05, 0.5, 0.95)).round(4).tolist() if len(values) else [None] * 3
    mean, deviation = (round(float(f(values)), 6) if len(values) else None for f in (np.mean, np.std))
    return {"count": len(values), "mean": mean, "deviation": deviation, "quantiles_5_50_95": quantiles}


def agreements(
    sample: Sequence[CompressedPair], embed: Embed | None = None, measure: str = "TF-IDF", show: Show | None = None
) -> list[Agreement]:
    """Measure the agreement of every granularity of a sample, by first captions.

    Args:
        sample: from `mova.data.expansion.expand.expand`.
        embed: encodes texts. Default: TF-IDF.
        measure: its name.
        show: encodes the videos of the map, in the same space as `embed`.
    """
    results = []
    for level in dict.fromkeys(pair.level for pair in sample):
        pairs = [pair for pair in sample if pair.level == level]
        texts = [side.captions[0].text for pair in pairs for side in (pair.long, pair.short)]
        vectors = _unit((embed or _tfidf)(texts))
        long, short = vectors[::2], vectors[1::2]
        others = (long * np.roll(short, -1, axis=0)).sum(axis=1) if len(pairs) > 1 else np.zeros(0)
        encoded = {} if show is None else {k: show(pair.long) for k, pair in enumerate(pairs[:MAPPED])}
        read = [k for k, vector in encoded.items() if vector is not None]
        videos = _unit(np.array([encoded[k] for k in read])) if read else np.zeros((0, vectors.shape[1]))
        coordinates = _map(long[:MAPPED], short[:MAPPED], videos)
        paired, by_long, by_short = (
            (a * b).sum(axis=1) for a, b in ((long, short), (videos, long[read]), (videos, short[read]))
        )
        unread = len(encoded) - len(read)
        results.append(Agreement(level, measure, paired, others, *coordinates, by_long, by_short, unread))
    return results


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _tfidf(texts: Sequence[str]) -> Vectors:
    """Return TF-IDF vectors of hashed words: (P, `COLUMNS`)."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    hashed = HashingVectorizer(n_features=COLUMNS, alternate_sign=False, norm=None, token_pattern=r"\w+")
    counts = hashed.transform(texts)
    return np.asarray(TfidfTransformer().fit_transform(counts).toarray())


def _map(long: Vectors, short: Vectors, videos: Vectors) -> tuple[Vectors | None, Vectors | None, Vectors]:
    """Map all vectors with one t-SNE; None for too few pairs."""
    from sklearn.manifold import TSNE

    count = len(long)
    if count < FEWEST:
        return None, None, np.zeros((0, 2))
    perplexity = min(PERPLEXITY, (2 * count - 1) / 3)
    points = TSNE(2, perplexity=perplexity, metric="cosine", init="random", random_state=0).fit_transform(
        np.concatenate([long, short, videos])
    )
    mapped_long, mapped_short, mapped_videos = np.split(points.astype(np.float64), (count, 2 * count))
    return mapped_long, mapped_short, mapped_videos
