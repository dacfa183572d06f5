"""Long captions into short ones: what a summarizer is, and the one that needs no model.

The extractive summarizer keeps whole sentences, those nearest to what the text as a whole is about: cosine of a
sentence's TF-IDF vector with the centroid of all (Radev et al., "Centroid-based summarization of multiple documents",
2004), with inverse document frequencies among the text's own sentences, smoothed as scikit-learn does. It is the same
for a text whatever other texts it is summarized with.

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
_NO_MARKS = {code: None for code in range(128) if not chr(code).isalnum() and not chr(code).isspace()}
"""What `word_spans` amounts to for ASCII, at a fraction of its time."""
DIGITS = 9
"""To which centralities are compared: sentences that differ by rounding alone are equals, and the earlier is taken."""


@dataclass(frozen=True)
class Summary:
    """A short text; `kept` are the numbers of the sentences it consists of, none where it was worded anew."""

    text: str
    kept: tuple[int, ...] = ()


class Summarizer(Protocol):
    """Makes one short text of each long one."""

    @property
    def name(self) -> str:
        """All that decides its answers; summaries are remembered under it."""
        ...

    @property
    def batch(self) -> int:
        """How many texts it likes to have at once."""
        ...

    def summarize(self, texts: Sequence[Sequence[str]]) -> list[Summary]:
        """A summary of each text, which is given as its sentences.

        Raises:
            ModelError: it cannot be run or reached.
        """
        ...


@dataclass(frozen=True)
class Extractive:
    """The most central sentences, in the text's own order, as many as fit into `words`.

    Sentences of the same words are taken once. Where not even the most central one fits, its first `words` words stand
    for the text.
    """

    words: int
    batch: int = 500

    @property
    def name(self) -> str:
        """Method and budget."""
        return f"extractive,words={self.words}"

    def summarize(self, texts: Sequence[Sequence[str]]) -> list[Summary]:
        """See `Summarizer`."""
        words = [[_words(sentence) for sentence in text] for text in texts]
        central = _centralities(words)
        summaries, at = [], 0
        for text, told in zip(texts, words, strict=True):
            summaries.append(self._chosen(text, told, central[at : at + len(text)]))
            at += len(text)
        return summaries

    def _chosen(self, text: Sequence[str], told: Sequence[Sequence[str]], central: npt.NDArray[np.float64]) -> Summary:
        order = np.argsort(-central.round(DIGITS), kind="stable").tolist()
        kept: list[int] = []
        seen: set[tuple[str, ...]] = set()
        left = self.words
        for number in order:
            same = tuple(told[number])
            if 0 < len(same) <= left and same not in seen:
                kept.append(number)
                seen.add(same)
                left -= len(same)
        if not kept:
            return Summary(first_words(text[order[0]], self.words))
        kept.sort()
        return Summary(" ".join(text[number] for number in kept), tuple(kept))


def first_words(text: str, count: int) -> str:
    """A text up to its `count`-th word."""
    spans = word_spans(text)
    return text if len(spans) <= count else text[: spans[count - 1][1]].rstrip(" ,;:")


def count_words(text: str) -> int:
    """Words of a text, in any script (see `text/units.py`)."""
    return len(_ASCII_WORD.findall(text)) if text.isascii() else len(word_spans(text))


def _words(sentence: str) -> list[str]:
    """The words of a sentence without case and the punctuation around them."""
    if sentence.isascii():
        return sentence.lower().translate(_NO_MARKS).split()
    found = (sentence[a:b].casefold() for a, b in word_spans(sentence))
    return ["".join(letter for letter in word if letter.isalnum()) for word in found]


def _centralities(texts: Sequence[Sequence[Sequence[str]]]) -> npt.NDArray[np.float64]:
    """Cosine of every sentence with the centroid of its text, (S,); 0 for a sentence without words."""
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
    among = np.bincount(counts.indices, minlength=len(columns))
    weighed = counts @ diags(np.log((1 + sizes[text_of]) / (1 + among)) + 1)
    lengths = np.sqrt(weighed.multiply(weighed).sum(axis=1)).A1
    weighed = diags(1 / np.maximum(lengths, 1e-12)) @ weighed
    centroid = np.asarray(weighed.sum(axis=0)).ravel()
    norms = np.sqrt(np.bincount(text_of, centroid**2, minlength=len(texts)))
    return (weighed @ centroid) / np.maximum(norms[owner], 1e-12)
