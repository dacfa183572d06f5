"""What a hard negative must hold: grammar that is no worse than its caption's, and a real change of the kind it claims.

The checks do not know how the negative was made; rules and language models pass through the same ones. A model that
judges whether the caption entails the negative can be put behind them (`contrast.py: Entails`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from mova.data.negatives.grammar import BE, CONJUNCTIONS, NUMBERS, PREPOSITIONS, adjective, noun_at
from mova.data.negatives.inflection import article
from mova.data.negatives.kinds import Kind
from mova.data.negatives.lexicon import lexicon
from mova.data.negatives.tokens import Words
from mova.text.common_subsequence import common_subsequence_mask

_EMPTY = frozenset({"a", "an", "the", "and", "then", "very", "really", "also"})
_MIN_SHARED = 0.4
"""Part of a caption's words that its negative keeps at least: below, it is another caption and no hard negative."""


@lru_cache(maxsize=4096)
def meaning(text: str) -> tuple[str, ...]:
    """The words of a text that tell something, each by what its synonyms share, in order."""
    words = Words.of(text)
    return tuple(lexicon().sense(words[place]) for place in range(len(words)) if words[place] not in _EMPTY)


def refusal(positive: str, negative: str, kind: Kind) -> str | None:
    """Why a negative is not taken, in a word or two; None where nothing speaks against it."""
    if not negative.strip():
        return "empty"
    one, two = meaning(positive), meaning(negative)
    if one == two:
        return "no change"
    if _shared(one, two) < _MIN_SHARED:
        return "another caption"
    if kind == "flip":
        if Counter(one) - Counter(two) or Counter(two) - Counter(one):
            before_after = {"before", "after"}
            if set(Counter(one) - Counter(two)) | set(Counter(two) - Counter(one)) != before_after:
                return "not the same events"
    elif Counter(one) == Counter(two) and kind != "relation":
        return "only the order changed"
    if kind == "hallucination" and _shared(one, two) < 1.0:
        return "something was left out"
    if kind == "count" and _numbers(positive) == _numbers(negative):
        return "no number changed"
    return grammar_fault(positive, negative)


def says(text: str, claim: str) -> bool:
    """Whether a text says a claim with the same or more words: all that the claim tells stands in it, in order."""
    told = iter(meaning(text))
    return all(word in told for word in meaning(claim))


def grammar_fault(positive: str, negative: str) -> str | None:
    """A fault that a negative has more often than its caption; None where there is none."""
    more = _faults(negative) - _faults(positive)
    return min(more) if more else None


def _faults(text: str) -> Counter[str]:
    """What is wrong with a text, as far as it can be seen without understanding it."""
    words, found = Words.of(text), Counter[str]()
    for place in range(len(words)):
        word = words[place]
        if not words.joined(place):
            continue
        if words[place - 1] in ("a", "an") and words[place - 1] != article(words.words[place]):
            found["article"] += 1
        if word == words[place - 1] and word not in ("had", "that"):
            found["word twice"] += 1
        if words[place - 1] in ("a", "an") and (at := noun_at(words, place)) and at[1] is True:
            found["plural after an article"] += 1
        if words[place - 1] in NUMBERS and _singular(words, place):
            found["singular after a number"] += 1
    found["space"] += sum(("  " in gap) or gap.startswith((" ,", " .")) for gap in words.gaps)
    found["small letter"] += text[:1].islower()
    found["open end"] += text.rstrip()[-1:] not in ".!?…\"'”"
    return +found


def _singular(words: Words, place: int) -> bool:
    """Whether a known noun follows in the singular, past adjectives, and no other noun that a number could count."""
    while adjective(words[place]) and words.joined(place + 1):
        place += 1
    found = noun_at(words, place)
    if found is None or found[1] is not False:
        return False
    end = place + found[2]
    after = words[end] if words.joined(end) else ""
    return not after or after in PREPOSITIONS | CONJUNCTIONS | BE or after in lexicon().verbs_by_form


def _numbers(text: str) -> list[str]:
    words = Words.of(text)
    told = NUMBERS | {"one", "a", "an", "single", "several", "many", "both", "pair", "no", "some", "few", "dozen"}
    return [words[place] for place in range(len(words)) if words[place] in told or words[place].isdigit()]


def _shared(one: Sequence[str], two: Sequence[str]) -> float:
    """Part of the first that stands in both in the same order."""
    ids = {word: i for i, word in enumerate(dict.fromkeys([*one, *two]))}
    mask, _ = common_subsequence_mask([ids[word] for word in one], [ids[word] for word in two])
    return float(mask.mean()) if len(mask) else 0.0
