"""Summarize captions: the interface of summarizers, and an extractive one that needs no model.

The extractive summarizer keeps whole sentences, those closest to the topic of the text: cosine of a sentence's TF-IDF
vector with the centroid of all sentences (Radev et al., "Centroid-based summarization of multiple documents", 2004).
Inverse document frequencies are those among the sentences of the text, smoothed as in scikit-learn, so the summary of
a text does not depend on the other texts of a batch.

Shape legend: S sentences of all texts together, M texts, K different (text, term) pairs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mova.text.units import word_spans

_ASCII_WORD = re.compile(r"\S*[A-Za-z0-9]\S*")
"""The words that `word_spans` finds in ASCII text, at a fraction of its time."""
_NO_MARKS = {code: None for code in range(128) if not chr(code).isalnum() and not chr(code).isspace()}
"""Table for `str.translate` that removes ASCII punctuation."""
DIGITS = 9
"""Decimals for comparing centralities. Sentences that differ only by rounding are tied, and the earlier one wins."""


@dataclass(frozen=True)
class Summary:
    """A short text. `kept` are the indices of the sentences it consists of; empty if the text is newly written."""

    text: str
    kept: tuple[int, ...] = ()


class Summarizer(Protocol):
    """Summarizes texts."""

    @property
    def name(self) -> str:
        """Everything that determines the summaries; the key of the cache."""
        ...

    @property
    def batch(self) -> int:
        """Preferred number of texts per call."""
        ...

    def summarize(self, texts: Sequence[Sequence[str]]) -> list[Summary]:
        """Return one summary per text. Texts are lists of sentences.

        Raises:
            ModelError: the model cannot be run, or the server cannot be reached.
        """
        ...


@dataclass(frozen=True)
class Extractive:
    """Keeps the most central sentences that fit into `words` words, in the order of the text.

    Sentences with the same words are kept once. If not even the most central one fits, its first `words` words are the
    summary.

    Example:
        >>> text = ["A man throws a ball.", "A dog runs after the ball.", "It rains."]
        >>> Extractive(words=8).summarize([text])
        [Summary(text='A man throws a ball. It rains.', kept=(0, 2))]
    """

    words: int
    batch: int = 500

    @property
    def name(self) -> str:
        """Method and number of words."""
        return f"extractive,words={self.words}"

    def summarize(self, texts: Sequence[Sequence[str]]) -> list[Summary]:
        """Return one summary per text."""
        words = [[_words(sentence) for sentence in text] for text in texts]
        centralities = _centralities(words)
        summaries, first = [], 0
        for text, text_words in zip(texts, words, strict=True):
            summaries.append(self._select(text, text_words, centralities[first : first + len(text)]))
            first += len(text)
        return summaries

    def _select(
        self, text: Sequence[str], words: Sequence[Sequence[str]], centralities: npt.NDArray[np.float64]
    ) -> Summary:
        order = np.argsort(-centralities.round(DIGITS), kind="stable").tolist()
        kept: list[int] = []
        seen: set[tuple[str, ...]] = set()
        left = self.words
        for number in order:
            sentence = tuple(words[number])
            if 0 < len(sentence) <= left and sentence not in seen:
                kept.append(number)
                seen.add(sentence)
                left -= len(sentence)
        if not kept:
            return Summary(first_words(text[order[0]], self.words))
        kept.sort()
        return Summary(" ".join(text[number] for number in kept), tuple(kept))


def first_words(text: str, count: int) -> str:
    """Return a text up to and including its `count`-th word.

    Example:
        >>> first_words("A dog runs, then barks.", 3)
        'A dog runs'
    """
    spans = word_spans(text)
    return text if len(spans) <= count else text[: spans[count - 1][1]].rstrip(" ,;:")


def count_words(text: str) -> int:
    """Count the words of a text in any script (see `text/units.py`).

    Example:
        >>> count_words("A dog - it runs.")
        4
    """
    return len(_ASCII_WORD.findall(text)) if text.isascii() else len(word_spans(text))


def _words(sentence: str) -> list[str]:
    """Return the words of a sentence in lower case, without punctuation."""
    if sentence.isascii():
        return sentence.lower().translate(_NO_MARKS).split()
    words = (sentence[a:b].casefold() for a, b in word_spans(sentence))
    return ["".join(letter for letter in word if letter.isalnum()) for word in words]


def _centralities(texts: Sequence[Sequence[Sequence[str]]]) -> npt.NDArray[np.float64]:
    """Return the cosine of every sentence with the centroid of its text, (S,); 0 for a sentence without words."""
    from scipy.sparse import csr_matrix, diags

    columns: dict[tuple[int, str], int] = {}
    indices: list[int] = []
    ends, owner = [0], []
    for number, text in enumerate(texts):
        for sentence in text:
            indices += [columns.setdefault((number, word), len(columns)) for word in sentence]
            ends.append(len(indices))
            owner.append(number)
    counts = csr_matrix((np.ones(len(indices)), indices, ends), shape=(len(owner), len(columns)))
    counts.sum_duplicates()
    sizes = np.bincount(owner, minlength=len(texts))
    text_of = np.fromiter((number for number, _ in columns), np.int64, len(columns))
    frequencies = np.bincount(counts.indices, minlength=len(columns))
    weighted = counts @ diags(np.log((1 + sizes[text_of]) / (1 + frequencies)) + 1)
    lengths = np.sqrt(weighted.multiply(weighted).sum(axis=1)).A1
    weighted = diags(1 / np.maximum(lengths, 1e-12)) @ weighted
    centroid = np.asarray(weighted.sum(axis=0)).ravel()
    norms = np.sqrt(np.bincount(text_of, centroid**2, minlength=len(texts)))
    return (weighted @ centroid) / np.maximum(norms[owner], 1e-12)
