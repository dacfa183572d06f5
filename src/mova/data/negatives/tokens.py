"""Tokenize a caption so that words can be replaced: case and spacing are kept, and "a" or "an" is adjusted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from mova.data.negatives.inflection import article

_TOKEN = re.compile(r"[^\W\d_]+(?:['’.-][^\W\d_]+)*|\d+(?:[.,:]\d+)*|\s+|.", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?…]")


@dataclass(frozen=True)
class TokenizedText:
    """A text split into words and the gaps between them.

    Indexing gives lowercase words, and "" outside the text, so that rules can look around without bounds checks.

    Attributes:
        words: words as written; hyphenated words are one word.
        gaps: white space and punctuation, one more than words: `gaps[i]` precedes word i, the last one ends the text.

    >>> text = TokenizedText.of("A dog runs. It barks.")
    >>> len(text), text[0], text.starts_sentence(3)
    (5, 'a', True)
    >>> text.replace({1: "elephant"})
    'An elephant runs. It barks.'
    """

    words: tuple[str, ...]
    gaps: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> TokenizedText:
        """Tokenize a text."""
        words, gaps = [], [""]
        for token in _TOKEN.findall(text):
            if token[0].isalnum():
                words.append(token)
                gaps.append("")
            else:
                gaps[-1] += token
        return cls(tuple(words), tuple(gaps))

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index: int) -> str:
        """Return the word at an index in lower case; "" outside the text."""
        return self._lower[index] if 0 <= index < len(self._lower) else ""

    @cached_property
    def _lower(self) -> tuple[str, ...]:
        return tuple(word.lower() for word in self.words)

    def joined(self, index: int) -> bool:
        """Return whether only white space separates a word from the one before it."""
        return 0 < index < len(self.words) and not self.gaps[index].strip()

    def starts_sentence(self, index: int) -> bool:
        """Return whether a word is the first of its sentence."""
        return index == 0 or bool(_SENTENCE_END.search(self.gaps[index]))

    def sentence_range(self, index: int) -> range:
        """Return the indices of the words in the sentence that contains a word."""
        start = next(i for i in range(index, -1, -1) if self.starts_sentence(i))
        return range(start, next((i for i in range(index + 1, len(self)) if self.starts_sentence(i)), len(self)))

    def is_proper_noun(self, index: int) -> bool:
        """Return whether a word looks like a name: capitalized inside a sentence, or all capitals (not "T-shirt")."""
        word = self.words[index]
        if "-" in word:
            return False
        return (word[0].isupper() and not self.starts_sentence(index)) or (len(word) > 1 and word.isupper())

    def replace(self, new: Mapping[int, str]) -> str:
        """Return the text with some words replaced; "" removes a word and the space before it.

        Args:
            new: index of a word -> its replacement.
        """
        words, gaps = list(self.words), list(self.gaps)
        for index, text in new.items():
            if not text:
                gaps[index] = ""
            capital = text and self.words[index][0].isupper() and self.starts_sentence(index)
            words[index] = text[0].upper() + text[1:] if capital else text
            before = index - 1
            if text and self[before] in ("a", "an") and self.joined(index):
                correct = article(text)
                words[before] = correct.capitalize() if words[before][0].isupper() else correct
        return "".join(part for pair in zip(gaps, [*words, ""], strict=True) for part in pair)
