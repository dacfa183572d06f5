"""A caption as words that can be exchanged: case and spacing are kept, and the article follows the word after it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from mova.data.negatives.inflection import article

_TOKEN = re.compile(r"[^\W\d_]+(?:['’.-][^\W\d_]+)*|\d+(?:[.,:]\d+)*|\s+|.", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?…]")


@dataclass(frozen=True)
class Words:
    """A text cut into words and what stands between them.

    Attributes:
        words: as written, hyphenated ones whole.
        gaps: white space and marks, one more than words: `gaps[i]` stands before word i, the last after all.
    """

    words: tuple[str, ...]
    gaps: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Words:
        """Cut a text."""
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

    def __getitem__(self, place: int) -> str:
        """The word at a place in small letters; "" outside of the text."""
        return self._small[place] if 0 <= place < len(self._small) else ""

    @cached_property
    def _small(self) -> tuple[str, ...]:
        return tuple(word.lower() for word in self.words)

    def joined(self, place: int) -> bool:
        """Whether only white space stands between the word before this place and the word at it."""
        return 0 < place < len(self.words) and not self.gaps[place].strip()

    def opens(self, place: int) -> bool:
        """Whether a word is the first of its sentence."""
        return place == 0 or bool(_SENTENCE_END.search(self.gaps[place]))

    def sentence(self, place: int) -> range:
        """Places of the words of the sentence in which a word stands."""
        start = next(at for at in range(place, -1, -1) if self.opens(at))
        return range(start, next((at for at in range(place + 1, len(self)) if self.opens(at)), len(self)))

    def proper(self, place: int) -> bool:
        """Whether a word looks like a name: a capital within a sentence, or several capitals ("T-shirt" does not)."""
        word = self.words[place]
        if "-" in word:
            return False
        return (word[0].isupper() and not self.opens(place)) or (len(word) > 1 and word.isupper())

    def exchange(self, new: Mapping[int, str]) -> str:
        """The text with words at some places exchanged; "" takes a word away, with the space before it."""
        words, gaps = list(self.words), list(self.gaps)
        for place, text in new.items():
            if not text:
                gaps[place] = ""
            capital = text and self.words[place][0].isupper() and self.opens(place)
            words[place] = text[0].upper() + text[1:] if capital else text
            before = place - 1
            if text and self[before] in ("a", "an") and self.joined(place):
                fitting = article(text)
                words[before] = fitting.capitalize() if words[before][0].isupper() else fitting
        return "".join(part for pair in zip(gaps, [*words, ""], strict=True) for part in pair)
