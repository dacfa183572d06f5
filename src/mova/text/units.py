"""Split captions into units: pieces short enough for one vector to represent their whole content.

A short sentence is one unit. A longer sentence, or a text without punctuation, may describe several events. It is split
into overlapping windows of words, so that every event is complete in at least one window. Units are substrings of the
text. Every model has its own `UnitRule`, the one it was trained with.

Words are separated by white space. In scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan) a
word is the number of letters that a word has there on average; exact boundaries do not matter, since windows overlap.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
"""Scripts without spaces, and the number of letters that count as a word."""
_ANY_UNSPACED = re.compile(f"[{_EAST_ASIAN}{_SOUTH_ASIAN}]")
_BELONGS_TO_NEXT = OPENING + "「『（《〈【\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4"
"""Opening marks, and the vowels that Thai and Lao write before their consonant."""
_CHUNK = re.compile(r"\S+")


MAX_CHARACTERS = 500_000
MAX_UNITS = 10_000
"""Longest caption: about all that is said in a day. Each unit is encoded by the model, so more would take very long."""


@dataclass(frozen=True)
class UnitRule:
    """Rule by which a model splits captions into units.

    Attributes:
        longest: maximum number of words of text that is not split.
        window: words per window of longer text.
        stride: words between the starts of two windows. The last window ends with the text, so its step may be shorter.
        keep_sentences: whether sentences that end with a punctuation mark are never split. A model trained on whole
            sentences scores parts of them badly; a model trained on windows needs windows everywhere.

    Raises:
        ValueError: not 1 <= stride <= window <= longest.

    Example:
        >>> UnitRule(longest=4, window=3, stride=2).split("a man opens a door and pours tea")
        ['a man opens', 'opens a door', 'door and pours', 'and pours tea']
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
        """Split a caption of any length into units, in order.

        Returns:
            At least one unit. No window is contained in another, and every word is in a unit.

        Raises:
            UsageError: the text has no letter or digit, is not valid Unicode, or is longer than a caption can be.
        """
        if len(text) > MAX_CHARACTERS:
            raise UsageError(
                f"the text has {len(text):,} characters, at most {MAX_CHARACTERS:,} are allowed; shorten it"
            )
        units: list[str] = []
        for sentence in split_sentences(text):
            keep = self.keep_sentences and ends_with_mark(sentence)
            units += [sentence] if keep else self._windows(sentence)
        if len(units) > MAX_UNITS:
            raise UsageError(
                f"the text has {len(units):,} sentences or parts, at most {MAX_UNITS:,} are allowed; shorten it"
            )
        return units

    def to_dict(self) -> dict[str, int]:
        """Return the settings for a configuration file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any] | None) -> UnitRule:
        """Create a rule from the result of `to_dict`. None (an older configuration) is the default rule.

        Raises:
            ModelError: an unknown setting, or sizes that are not valid.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(settings or {}) - set(known))
        if unknown:
            raise ModelError(f"unit rule: unknown settings {', '.join(unknown)}; known: {', '.join(known)}")
        try:
            return cls(**(settings or {}))
        except (TypeError, ValueError) as error:
            raise ModelError(f"{error}; fix `units` in the model's config.json") from error

    def _windows(self, sentence: str) -> list[str]:
        """Return the sentence, or its windows if it is long."""
        words = word_spans(sentence)
        if len(words) <= self.longest:
            return [sentence]
        parts = windows(len(words), self.window, self.stride)
        begins = [0, *(words[part.start][0] for part in parts[1:])]
        ends = [*(words[part.stop - 1][1] for part in parts[:-1]), len(sentence)]
        return [sentence[begin:end] for begin, end in zip(begins, ends, strict=True)]


def split_units(text: str, *, longest: int = 12, window: int = 8, stride: int = 4) -> list[str]:
    """Split a caption into units, and split long sentences too; see `UnitRule`.

    Raises:
        UsageError: the text has no letter or digit.
        ValueError: not 1 <= stride <= window <= longest.

    Example:
        >>> split_units("A dog runs. It barks.")
        ['A dog runs.', 'It barks.']
    """
    return UnitRule(longest, window, stride, keep_sentences=False).split(text)


def sentences_or_windows(text: str) -> list[str]:
    """Split a caption into its sentences as written, of any length.

    Long text without a closing punctuation mark is split into windows instead.

    Raises:
        UsageError: the text has no letter or digit.

    Example:
        >>> sentences_or_windows("A dog runs. It barks.")
        ['A dog runs.', 'It barks.']
    """
    return UnitRule().split(text)


def windows_overlap(text: str, units: Sequence[str]) -> bool:
    """Return whether the units of a text are overlapping windows rather than its sentences.

    Example:
        >>> windows_overlap("A dog runs. It barks.", ["A dog runs.", "It barks."])
        False
    """
    return sum(map(len, units)) > len(text)


def word_spans(sentence: str) -> list[tuple[int, int]]:
    """Return the start and end (exclusive) of every word, including adjacent punctuation.

    Punctuation between spaces is not a word.

    Example:
        >>> word_spans("A dog - it runs.")
        [(0, 1), (2, 5), (8, 10), (11, 16)]
    """
    spans: list[tuple[int, int]] = []
    for chunk in _CHUNK.finditer(sentence):
        text = chunk.group()
        if not any(letter.isalnum() for letter in text):
            continue
        cuts = [0, *_cuts(text), len(text)] if _ANY_UNSPACED.search(text) else [0, len(text)]
        spans += [(chunk.start() + a, chunk.start() + b) for a, b in pairwise(cuts)]
    return spans


def _cuts(chunk: str) -> list[int]:
    """Return where words begin in text without spaces. Marks and punctuation stay with the adjacent letter."""
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
            letters = sum(character.isalnum() for character in chunk[cut:i])
        script, letters = size, letters + 1
    return cuts


def windows(n: int, length: int, stride: int) -> list[slice]:
    """Return slices of `length` items, `stride` apart, that together cover all `n`. The last one ends at `n`.

        n=8 length=4 stride=3    [0:4] [3:7] [4:8]      the last is moved back to keep its length
        n=3 length=4 stride=3    [0:3]                  a short list is one short window

    Raises:
        UsageError: a number is not positive, or `stride > length`, which would skip items.

    Example:
        >>> windows(8, length=4, stride=3)
        [slice(0, 4, None), slice(3, 7, None), slice(4, 8, None)]
    """
    if n <= 0 or length <= 0 or not 0 < stride <= length:
        raise UsageError(f"windows need n > 0 and 0 < stride <= length, not n={n}, length={length}, stride={stride}")
    last = max(0, n - length)
    starts = [*range(0, last, stride), last]
    return [slice(first, min(first + length, n)) for first in starts]
