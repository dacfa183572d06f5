"""Captions into units: pieces short enough that one vector can say all that they tell.

A sentence of a few words is one unit. A longer one, or a text without any punctuation, may tell several events and
becomes overlapping windows of words, so that each event lies whole in one of them. Units are substrings of the text.
Which sentences are cut is a model's own `UnitRule`: what it was trained with serves it best.

Words stand between white space. Scripts that write none (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan) are
cut after so many letters as a word has there on average: where exactly does not matter, because windows overlap.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

from mova.errors import ModelError, UsageError
from mova.text.sentences import OPENING, ends_with_mark, split_sentences

_EAST_ASIAN = (
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_SOUTH_ASIAN = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"
_UNSPACED = ((re.compile(f"[{_EAST_ASIAN}]"), 2), (re.compile(f"[{_SOUTH_ASIAN}]"), 4))
"""Scripts without spaces, and the letters that count as a word."""
_ANY_UNSPACED = re.compile(f"[{_EAST_ASIAN}{_SOUTH_ASIAN}]")
_BELONGS_TO_NEXT = OPENING + "「『（《〈【\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4"
"""Opening marks, and vowels that Thai and Lao write before their consonant."""
_CHUNK = re.compile(r"\S+")


@dataclass(frozen=True)
class UnitRule:
    """How a model's captions become units.

    Attributes:
        longest: words up to which text stays whole.
        window: words of a window of longer text.
        stride: words from window to window. The last window ends with the text, so its step may be shorter.
        keep_sentences: sentences that a mark ends stay whole, however long. A model that was trained on whole
            sentences scores halves of them badly; one that was trained on windows wants them everywhere.

    Raises:
        ValueError: not 1 <= stride <= window <= longest.
    """

    longest: int = 12
    window: int = 8
    stride: int = 4
    keep_sentences: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.window <= self.longest:
            sizes = f"{self.stride}, {self.window}, {self.longest}"
            raise ValueError(f"units need 1 <= stride <= window <= longest (words), not {sizes}")

    def split(self, text: str) -> list[str]:
        """Cut a caption of any length into its units, in order.

        Returns:
            At least one unit. No window lies within another, and every word lies in a unit.

        Raises:
            UsageError: the text holds no letter or digit.
        """
        units: list[str] = []
        for sentence in split_sentences(text):
            whole = self.keep_sentences and ends_with_mark(sentence)
            units += [sentence] if whole else self._windows(sentence)
        return units

    def to_dict(self) -> dict[str, int]:
        """Plain values for a configuration file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any] | None) -> UnitRule:
        """What `to_dict` gave; None (a configuration of before there were units) is the default rule.

        Raises:
            ModelError: an unknown name, or sizes that do not fit.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(settings or {}) - set(known))
        if unknown:
            raise ModelError(f"unit rule: there is no {', '.join(unknown)}; there are {', '.join(known)}")
        try:
            return cls(**(settings or {}))
        except (TypeError, ValueError) as error:
            raise ModelError(f"{error}; mend `units` in the model's config.json") from error

    def _windows(self, sentence: str) -> list[str]:
        """The sentence itself, or its windows."""
        words = word_spans(sentence)
        if len(words) <= self.longest:
            return [sentence]
        parts = windows(len(words), self.window, self.stride)
        begins = [0, *(words[part.start][0] for part in parts[1:])]
        ends = [*(words[part.stop - 1][1] for part in parts[:-1]), len(sentence)]
        return [sentence[begin:end] for begin, end in zip(begins, ends, strict=True)]


def split_units(text: str, *, longest: int = 12, window: int = 8, stride: int = 4) -> list[str]:
    """Cut a caption into units, long sentences too; see `UnitRule`.

    Raises:
        UsageError: the text holds no letter or digit.
        ValueError: not 1 <= stride <= window <= longest.
    """
    return UnitRule(longest, window, stride, keep_sentences=False).split(text)


def sentences_or_windows(text: str) -> list[str]:
    """What a person would call the sentences of a caption: as they were written, however long.

    Long text that no mark ends has none, and windows of it stand for them.

    Raises:
        UsageError: the text holds no letter or digit.
    """
    return UnitRule().split(text)


def word_spans(sentence: str) -> list[tuple[int, int]]:
    """First and last + 1 character of every word, punctuation that touches it included; lone marks are no words."""
    spans: list[tuple[int, int]] = []
    for chunk in _CHUNK.finditer(sentence):
        found = chunk.group()
        if not any(letter.isalnum() for letter in found):
            continue
        cuts = [0, *_cuts(found), len(found)] if _ANY_UNSPACED.search(found) else [0, len(found)]
        spans += [(chunk.start() + a, chunk.start() + b) for a, b in pairwise(cuts)]
    return spans


def _cuts(chunk: str) -> list[int]:
    """Where words begin inside text without spaces; combining marks and punctuation stay with what they touch."""
    cuts: list[int] = []
    script, letters = None, 0
    for i, letter in enumerate(chunk):
        if not letter.isalnum():
            continue
        size = next((size for pattern, size in _UNSPACED if pattern.match(letter)), 0)
        if script is not None and (size != script or (size and letters >= size)):
            cut, earliest = i, cuts[-1] + 1 if cuts else 1
            while cut > earliest and chunk[cut - 1] in _BELONGS_TO_NEXT:
                cut -= 1
            cuts.append(cut)
            letters = sum(other.isalnum() for other in chunk[cut:i])
        script, letters = size, letters + 1
    return cuts


def windows(n: int, length: int, stride: int) -> list[slice]:
    """Slices of `length` items every `stride` that together cover all `n`; the last one ends at `n`.

        n=8 length=4 stride=3    [0:4] [3:7] [4:8]      the last is moved back to keep its length
        n=3 length=4 stride=3    [0:3]                  a short list is one short window

    Raises:
        UsageError: a number is not positive, or `stride > length` would leave items out.
    """
    if n <= 0 or length <= 0 or not 0 < stride <= length:
        raise UsageError(f"windows need n > 0 and 0 < stride <= length, not n={n}, length={length}, stride={stride}")
    last = max(0, n - length)
    starts = [*range(0, last, stride), last]
    return [slice(first, min(first + length, n)) for first in starts]
