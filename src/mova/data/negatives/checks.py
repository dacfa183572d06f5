"""Checks of hard negatives: a real change of the kind it claims, and grammar no worse than the caption's.

Negatives written by rules and by language models pass the same checks. A model that judges whether the caption entails
the negative can be added (`TextEntailment` in `generate.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from mova.data.negatives.grammar import BE, CONJUNCTIONS, NUMBERS, PREPOSITIONS, is_adjective, noun_at
from mova.data.negatives.inflection import article
from mova.data.negatives.kinds import Kind
from mova.data.negatives.lexicon import lexicon
from mova.data.negatives.tokens import TokenizedText
from mova.text.common_subsequence import common_subsequence_mask

_FUNCTION_WORDS = frozenset({"a", "an", "the", "and", "then", "very", "really", "also"})
_MIN_SHARED = 0.4
"""Smallest fraction of a caption's words that its negative keeps: below, it is a different caption."""


@lru_cache(maxsize=4096)
def content_words(text: str) -> tuple[str, ...]:
    """Return the content words of a text in order, each as the label that its synonyms share."""
    words = TokenizedText.of(text)
    return tuple(lexicon().sense(words[index]) for index in range(len(words)) if words[index] not in _FUNCTION_WORDS)


def rejection_reason(positive: str, negative: str, kind: Kind) -> str | None:
    """Return why a negative is rejected, in a few words; None if it is accepted.

    Args:
        positive: the caption.
        negative: the proposed negative.
        kind: kind that the negative claims to be.

    >>> rejection_reason("Two cats sit.", "Two dogs sit.", "count")
    'no number changed'
    >>> rejection_reason("Two cats sit.", "Three cats sit.", "count") is None
    True
    """
    if not negative.strip():
        return "empty"
    positive_words, negative_words = content_words(positive), content_words(negative)
    if positive_words == negative_words:
        return "no change"
    if _shared(positive_words, negative_words) < _MIN_SHARED:
        return "another caption"
    if kind == "flip":
        if Counter(positive_words) - Counter(negative_words) or Counter(negative_words) - Counter(positive_words):
            before_after = {"before", "after"}
            if (
                set(Counter(positive_words) - Counter(negative_words))
                | set(Counter(negative_words) - Counter(positive_words))
                != before_after
            ):
                return "not the same events"
    elif Counter(positive_words) == Counter(negative_words) and kind != "relation":
        return "only the order changed"
    if kind == "hallucination" and _shared(positive_words, negative_words) < 1.0:
        return "something was left out"
    if kind == "count" and _numbers(positive) == _numbers(negative):
        return "no number changed"
    return grammar_fault(positive, negative)


def states(text: str, claim: str) -> bool:
    """Return whether a text contains all content words of a claim, in the same order."""
    remaining = iter(content_words(text))
    return all(word in remaining for word in content_words(claim))


def grammar_fault(positive: str, negative: str) -> str | None:
    """Return a grammatical fault that a negative has more often than its caption; None if there is none."""
    more = _faults(negative) - _faults(positive)
    return min(more) if more else None


def _faults(text: str) -> Counter[str]:
    """Count the surface faults of a text."""
    words, faults = TokenizedText.of(text), Counter[str]()
    for index in range(len(words)):
        word = words[index]
        if not words.joined(index):
            continue
        if words[index - 1] in ("a", "an") and words[index - 1] != article(words.words[index]):
            faults["article"] += 1
        if word == words[index - 1] and word not in ("had", "that"):
            faults["word twice"] += 1
        if words[index - 1] in ("a", "an") and (match := noun_at(words, index)) and match.plural is True:
            faults["plural after an article"] += 1
        if words[index - 1] in NUMBERS and _singular(words, index):
            faults["singular after a number"] += 1
    faults["space"] += sum(("  " in gap) or gap.startswith((" ,", " .")) for gap in words.gaps)
    faults["small letter"] += text[:1].islower()
    faults["open end"] += text.rstrip()[-1:] not in ".!?…\"'”"
    return +faults


def _singular(words: TokenizedText, index: int) -> bool:
    """Return whether a known singular noun follows, after any adjectives, and ends its noun phrase."""
    while is_adjective(words[index]) and words.joined(index + 1):
        index += 1
    match = noun_at(words, index)
    if match is None or match.plural is not False:
        return False
    end = index + match.length
    after = words[end] if words.joined(end) else ""
    return not after or after in PREPOSITIONS | CONJUNCTIONS | BE or after in lexicon().verbs_by_form


def _numbers(text: str) -> list[str]:
    words = TokenizedText.of(text)
    quantities = NUMBERS | {"one", "a", "an", "single", "several", "many", "both", "pair", "no", "some", "few", "dozen"}
    return [words[i] for i in range(len(words)) if words[i] in quantities or words[i].isdigit()]


def _shared(first: Sequence[str], second: Sequence[str]) -> float:
    """Return the fraction of the first sequence that is common to both in the same order."""
    ids = {word: i for i, word in enumerate(dict.fromkeys([*first, *second]))}
    mask, _ = common_subsequence_mask([ids[word] for word in first], [ids[word] for word in second])
    return float(mask.mean()) if len(mask) else 0.0
