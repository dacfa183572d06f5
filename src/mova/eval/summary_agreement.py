"""Whether compressed texts still say what the long ones said: similarities, and a map of both (GEXIA, Appendix B).

Texts are compared by a model's text tower, or, where none is given, by TF-IDF over the sampled texts: that sees shared
words only, so figures of the two are not to be compared with each other. Beside every similarity stands that of long
texts with the summaries of others: without it a figure says little.

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
"""A row -> (d,) vector of its video, or None where it cannot be read."""
Embed = Callable[[Sequence[str]], Vectors]
"""Texts -> (P, d) vectors of any length."""
MAPPED = 100
"""Pairs on the map, as in the paper's Figure 4."""
FEWEST = 4
"""Pairs below which there is nothing to map."""
COLUMNS = 4096
"""Into which words are hashed."""
PERPLEXITY = 30.0
"""Of t-SNE, where there are points enough."""


@dataclass(frozen=True)
class Agreement:
    """How alike long and compressed texts of one granularity are.

    Attributes:
        level: granularity of the short texts.
        measure: what compared them: a model's name, or "TF-IDF".
        own: (P,) cosines of a text and its summary.
        others: (P,) cosines of a text and the summary of the next text of the sample.
        long, short: (M, 2) places on the map, or None for too few pairs.
        videos: (V, 2) places of videos on it; empty where no model saw them.
        video_long, video_short: (V,) cosines of a video and its long and short text.
        unread: videos of the map that could not be read.
    """

    level: str
    measure: str
    own: Vectors
    others: Vectors
    long: Vectors | None
    short: Vectors | None
    videos: Vectors
    video_long: Vectors
    video_short: Vectors
    unread: int

    def to_json(self) -> dict[str, Any]:
        """Means, deviations and the map."""
        places = None
        if self.long is not None and self.short is not None:
            shown = {"long": self.long, "short": self.short, "videos": self.videos}
            places = {name: each.round(3).tolist() for name, each in shown.items()}
        spreads = {name: _spread(getattr(self, name)) for name in ("own", "others", "video_long", "video_short")}
        return {"measure": self.measure, **spreads, "videos_not_read": self.unread, "map": places}


def _spread(values: Vectors) -> dict[str, Any]:
    """How many values there are and how they lie; None where there are none."""
    quantiles = np.quantile(values, (0.05, 0.5, 0.95)).round(4).tolist() if len(values) else [None] * 3
    mean, deviation = (round(float(f(values)), 6) if len(values) else None for f in (np.mean, np.std))
    return {"count": len(values), "mean": mean, "deviation": deviation, "quantiles_5_50_95": quantiles}


def agreements(
    sample: Sequence[CompressedPair], embed: Embed | None = None, measure: str = "TF-IDF", show: Show | None = None
) -> list[Agreement]:
    """The agreement of every granularity of a sample, by its first captions.

    Args:
        sample: from `mova.data.expansion.expand.expand`.
        embed: gives vectors of texts; TF-IDF where it is None.
        measure: its name.
        show: gives vectors of the videos of the map, of the same space as those of `embed`.
    """
    found = []
    for level in dict.fromkeys(pair.level for pair in sample):
        pairs = [pair for pair in sample if pair.level == level]
        texts = [side.captions[0].text for pair in pairs for side in (pair.long, pair.short)]
        vectors = _unit((embed or _tfidf)(texts))
        long, short = vectors[::2], vectors[1::2]
        others = (long * np.roll(short, -1, axis=0)).sum(axis=1) if len(pairs) > 1 else np.zeros(0)
        seen = {} if show is None else {k: show(pair.long) for k, pair in enumerate(pairs[:MAPPED])}
        read = [k for k, vector in seen.items() if vector is not None]
        videos = _unit(np.array([seen[k] for k in read])) if read else np.zeros((0, vectors.shape[1]))
        places = _places(long[:MAPPED], short[:MAPPED], videos)
        own, by_long, by_short = (
            (a * b).sum(axis=1) for a, b in ((long, short), (videos, long[read]), (videos, short[read]))
        )
        found.append(Agreement(level, measure, own, others, *places, by_long, by_short, len(seen) - len(read)))
    return found


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _tfidf(texts: Sequence[str]) -> Vectors:
    """TF-IDF of hashed words, (P, `COLUMNS`)."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    hashed = HashingVectorizer(n_features=COLUMNS, alternate_sign=False, norm=None, token_pattern=r"\w+")
    counts = hashed.transform(texts)
    return np.asarray(TfidfTransformer().fit_transform(counts).toarray())


def _places(long: Vectors, short: Vectors, videos: Vectors) -> tuple[Vectors | None, Vectors | None, Vectors]:
    """All on one t-SNE map."""
    from sklearn.manifold import TSNE

    count = len(long)
    if count < FEWEST:
        return None, None, np.zeros((0, 2))
    perplexity = min(PERPLEXITY, (2 * count - 1) / 3)
    places = TSNE(2, perplexity=perplexity, metric="cosine", init="random", random_state=0).fit_transform(
        np.concatenate([long, short, videos])
    )
    found, more, rest = np.split(places.astype(np.float64), (count, 2 * count))
    return found, more, rest
