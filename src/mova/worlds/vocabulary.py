"""The words of Worlds that exclude each other, for counterfactuals of a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from mova.data.negatives.inflection import article
from mova.data.negatives.interchange import Counterfactual, Interchangeable
from mova.worlds.captions import COLOUR_WORDS, MOTION_PHRASES, NOUNS, PLACE_PHRASES, RELATION_PHRASES, SIZE_WORDS

COUNTS = (("two",), ("three",))
"""Counts whose nouns and verbs agree. "a" needs other forms, see `renumbered`."""


def _by_form(table: Mapping[str, Sequence[Sequence[str]]]) -> list[list[list[str]]]:
    """Return one group per grammatical form: `table` lists phrases, each in all forms."""
    forms = len(next(iter(table.values()))[0])
    return [[[phrase[form] for phrase in phrases] for phrases in table.values()] for form in range(forms)]


@cache
def interchangeable_words() -> Interchangeable:
    """Return shapes, motions, colors, sizes, counts, places and relations, by kind of hard negative.

    >>> from mova.data.negatives.interchange import interchange
    >>> [found.text for found in interchange("Two large discs.", interchangeable_words()) if found.kind == "count"]
    ['Three large discs.']
    """
    return {
        "action": _by_form(MOTION_PHRASES),
        "attribute": [list(map(list, COLOUR_WORDS.values())), list(map(list, SIZE_WORDS.values()))],
        "count": [list(map(list, COUNTS))],
        "object": [*_by_form(NOUNS), list(map(list, PLACE_PHRASES.values()))],
        "relation": [list(map(list, RELATION_PHRASES.values()))],
    }


_SUBJECT = re.compile(
    r"(?<!\w)(a single|an|a|one|two|three)\s+((?:(?:{adjectives})\s+)*)({nouns})(?!\w)".format(
        adjectives="|".join(word for table in (COLOUR_WORDS, SIZE_WORDS) for words in table.values() for word in words),
        nouns="|".join(sorted((form for forms in NOUNS.values() for pair in forms for form in pair), key=len)[::-1]),
    ),
    re.IGNORECASE,
)
_NUMBERS = {"two": 2, "three": 3}
_FORMS = [pair for pairs in NOUNS.values() for pair in pairs]
_VERBS = [("is", "are"), ("appears", "appear")] + [form[:2] for forms in MOTION_PHRASES.values() for form in forms]


def renumbered(sentence: str) -> Iterator[Counterfactual]:
    """Yield a sentence of Worlds with one, two or three of its subject instead; nouns and verbs agree.

    >>> [change.text for change in renumbered("A large disc moves up over a red star.")]
    ['Two large discs move up over a red star.', 'Three large discs move up over a red star.']
    """
    found = _SUBJECT.search(sentence)
    if found is None:
        return
    number, (adjectives, noun) = _NUMBERS.get(found[1].lower(), 1), found.groups()[1:]
    singular, plural = next(pair for pair in _FORMS if noun.lower() in pair)
    for other in (1, 2, 3):
        if other == number:
            continue
        head = f"{adjectives}{singular if other == 1 else plural}"
        word = article(head) if other == 1 else next(name for name, value in _NUMBERS.items() if value == other)
        phrase = f"{word} {head}"
        if found[0][0].isupper():
            phrase = phrase[0].upper() + phrase[1:]
        before, after = sentence[: found.start()], sentence[found.end() :]
        if (other == 1) != (number == 1):
            before, after = (_agreeing(part, singular=other == 1) for part in (before, after))
        yield Counterfactual("count", f"{before}{phrase}{after}", found[0], phrase)


def _agreeing(text: str, singular: bool) -> str:
    """Return a part of a sentence in which finite verbs have the other number."""
    for pair in _VERBS:
        old, new = pair[::-1] if singular else pair
        text = re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", new, text)
    return text
