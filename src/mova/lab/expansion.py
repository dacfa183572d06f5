"""Whether compressed texts still say what the long ones said: similarities, and a map of both (GEXIA, Appendix B).

Texts are compared by a model's text tower, or, where none is given, by TF-IDF over the sampled texts: that sees shared
words only, so figures of the two are not to be compared with each other. Beside every similarity stands that of long
texts with the summaries of others: without it a figure says little.

Shape legend: P pairs of a long and a short text, d width of vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.data.expand import Compressed

Vectors = npt.NDArray[np.float64]
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
    """

    level: str
    measure: str
    own: Vectors
    others: Vectors
    long: Vectors | None
    short: Vectors | None

    def to_json(self) -> dict[str, Any]:
        """Means, deviations and the map."""

        def spread(values: Vectors) -> dict[str, Any]:
            quantiles = np.quantile(values, (0.05, 0.5, 0.95)).round(4).tolist() if len(values) else [None] * 3
            mean, deviation = (round(float(f(values)), 4) if len(values) else None for f in (np.mean, np.std))
            return {"count": len(values), "mean": mean, "deviation": deviation, "quantiles_5_50_95": quantiles}

        places = None
        if self.long is not None and self.short is not None:
            places = {"long": self.long.round(3).tolist(), "short": self.short.round(3).tolist()}
        return {"measure": self.measure, "own": spread(self.own), "others": spread(self.others), "map": places}


def agreements(sample: Sequence[Compressed], embed: Embed | None = None, measure: str = "TF-IDF") -> list[Agreement]:
    """The agreement of every granularity of a sample, by its first captions.

    Args:
        sample: from `mova.data.expand.expand`.
        embed: gives vectors of texts; TF-IDF where it is None.
        measure: its name.
    """
    found = []
    for level in dict.fromkeys(pair.level for pair in sample):
        pairs = [pair for pair in sample if pair.level == level]
        texts = [side.captions[0].text for pair in pairs for side in (pair.long, pair.short)]
        vectors = _unit((embed or _tfidf)(texts))
        long, short = vectors[::2], vectors[1::2]
        others = (long * np.roll(short, -1, axis=0)).sum(axis=1) if len(pairs) > 1 else np.zeros(0)
        places = _places(long[:MAPPED], short[:MAPPED])
        found.append(Agreement(level, measure, (long * short).sum(axis=1), others, *places))
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


def _places(long: Vectors, short: Vectors) -> tuple[Vectors | None, Vectors | None]:
    """Both sides on one t-SNE map."""
    from sklearn.manifold import TSNE

    count = len(long)
    if count < FEWEST:
        return None, None
    perplexity = min(PERPLEXITY, (2 * count - 1) / 3)
    both = TSNE(2, perplexity=perplexity, metric="cosine", init="random", random_state=0).fit_transform(
        np.concatenate([long, short])
    )
    return both[:count].astype(np.float64), both[count:].astype(np.float64)
