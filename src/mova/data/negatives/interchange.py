"""Sentences that differ in one word or phrase, from lists of phrases that exclude each other.

The rules of `rules.py` know everyday English. A model with a vocabulary of its own, or a user with special material,
lists its phrases instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from mova.data.negatives.inflection import article
from mova.data.negatives.kinds import Kind

Interchangeable = Mapping[Kind, Sequence[Sequence[Sequence[str]]]]
"""Kind -> groups; a group lists values that exclude each other; a value lists phrases that say the same."""
_LAST_ARTICLE = re.compile(r"\b(an?)(\s+)$", re.IGNORECASE)


@dataclass(frozen=True)
class Counterfactual:
    """A sentence with one change.

    Attributes:
        kind: what was changed.
        text: the sentence after the change.
        said: the words that were replaced, as in the original; "" if words were only added.
        instead: the words in their place.

    >>> Counterfactual("attribute", "A blue car stops.", said="red", instead="blue").instead
    'blue'
    """

    kind: Kind
    text: str
    said: str
    instead: str

    @classmethod
    def between(cls, kind: Kind, original: str, changed: str) -> Counterfactual:
        """Find the words in which two sentences differ.

        >>> Counterfactual.between("count", "Two men sit.", "Three men sit.").instead
        'three'
        """
        old, new = original.split(), changed.split()
        first = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
        rest = min(len(old), len(new)) - first
        ends = zip(old[: -rest - 1 : -1], new[: -rest - 1 : -1], strict=False) if rest else ()
        last = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends))
        cut = [words[first : len(words) - last] for words in (old, new)]
        if first == 0:
            cut = [[words[0].lower(), *words[1:]] if words else [] for words in cut]
        said, instead = (" ".join(words).strip(".,;:!?") for words in cut)
        return cls(kind, changed, said, instead)


def interchange(sentence: str, words: Interchangeable) -> Iterator[Counterfactual]:
    """Yield each sentence in which one listed phrase gives way to one of another value of its group.

    Longer phrases are found first, so that "to the left of" is not also read as "left". The article before is adjusted.

    >>> colors = {"attribute": [[["red", "crimson"], ["azure", "blue"]]]}
    >>> [found.text for found in interchange("A crimson car stops.", colors)]
    ['An azure car stops.']
    """
    taken: list[tuple[int, int]] = []
    for start, end, kind, group, value in sorted(_matches(sentence, words), key=lambda m: (m[0] - m[1], m[0])):
        if any(start < last and first < end and (start, end) != (first, last) for first, last in taken):
            continue
        taken.append((start, end))
        for number, phrases in enumerate(group):
            if number != value and phrases:
                text = _replaced(sentence, start, end, phrases[0])
                yield Counterfactual(kind, text, sentence[start:end], phrases[0])


def _matches(sentence: str, words: Interchangeable) -> Iterator[tuple[int, int, Kind, Sequence[Sequence[str]], int]]:
    """Yield start, end, kind, group and value of every listed phrase in a sentence."""
    for kind, groups in words.items():
        for group in groups:
            for value, phrases in enumerate(group):
                for phrase in dict.fromkeys(phrases):
                    for match in re.finditer(rf"(?<!\w){re.escape(phrase)}(?!\w)", sentence, re.IGNORECASE):
                        yield match.start(), match.end(), kind, group, value


def _replaced(sentence: str, start: int, end: int, phrase: str) -> str:
    """Return the sentence with a phrase in place of `[start, end)`: its case kept, the article before it adjusted."""
    before = sentence[:start]
    found = _LAST_ARTICLE.search(before)
    if found is not None:
        fitting = article(phrase)
        fitting = fitting.capitalize() if found[1][0].isupper() else fitting
        before = before[: found.start()] + fitting + found[2]
    if sentence[start].isupper():
        phrase = phrase[0].upper() + phrase[1:]
    return before + phrase + sentence[end:]
