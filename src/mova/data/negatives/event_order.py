"""Reverse the order of events: sentences, clauses joined by "then", and "before" and "after"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from mova.data.manifest import TimedSentence
from mova.data.negatives.grammar import finite_verbs, verb_at
from mova.data.negatives.tokens import TokenizedText
from mova.errors import UsageError
from mova.text.sentences import split_sentences

_CONNECTIVE = re.compile(
    r"^(?P<opening>(?:and )?(?:then|next|afterwards|after that|finally|at first|first|later|at the end|at the start|"
    r"at the beginning|in the end|to begin with)\b,? +)",
    re.IGNORECASE,
)
_FIXED_TIME = re.compile(
    r"\b(?:again|back|returns?|same|still|once more|another|also|as well|remains?|first|second|third|"
    r"the (?:beginning|start|end)|throughout|all the time|whole|follow\w*|"
    r"(?:at|around|near|from|until|towards|in|during|between|the (?:first|last|next))\b"
    r"[^.,]*\b(?:seconds?|minutes?|end))\b",
    re.IGNORECASE,
)
_THEN = re.compile(r"(?:,? and then|, then|;? and afterwards) ", re.IGNORECASE)
_REFERRING = re.compile(r"^(?:he|she|it|they|his|her|its|their|this|these|both|there)\b", re.IGNORECASE)


def flips(words: TokenizedText) -> Iterator[str]:
    """Yield captions in which two events happen in the opposite order."""
    text = words.replace({})
    yield from _before_after(words)
    try:
        sentences = split_sentences(text)
    except UsageError:
        return
    for i, sentence in enumerate(sentences):
        for swapped in _clauses(sentence):
            yield _replace_once(text, sentence, swapped)
        if i + 1 < len(sentences):
            yield from _sentences(text, sentence, sentences[i + 1])


def _replace_once(text: str, old: str, new: str) -> str:
    return text.replace(old, new, 1)


def _before_after(words: TokenizedText) -> Iterator[str]:
    """Swap "before" and "after" before a gerund."""
    swapped = {"before": "after", "after": "before"}
    for index in range(len(words) - 1):
        gerund = words.joined(index + 1) and any(form == "ing" for _, form in verb_at(words, index + 1))
        if words[index] in swapped and gerund:
            yield words.replace({index: swapped[words[index]]})


def _clauses(sentence: str) -> Iterator[str]:
    """Turn "S does A and then does B" into "S does B and then does A"; both verbs must have the same form."""
    for match in _THEN.finditer(sentence):
        joint = match.group()
        head, tail = sentence[: match.start()], sentence[match.end() :]
        body, mark = re.fullmatch(r"(.*?)([.!?]?)", tail, re.DOTALL).groups()  # type: ignore[union-attr]
        listed = "," in body or "," in head or _THEN.search(tail) or _THEN.search(head)
        if listed or _FIXED_TIME.search(sentence):
            continue
        first, second = TokenizedText.of(head), TokenizedText.of(f"and {body}")
        later = {form for _, form in verb_at(TokenizedText.of(f"{head} and {body}"), len(first) + 1)}
        if not later or len(second) < 3:
            continue
        start = next((i for i in range(1, len(first)) if {form for _, form in verb_at(first, i)} & later), None)
        if start is None:
            continue
        cut = sum(len(first.gaps[i]) + len(first.words[i]) for i in range(start)) + len(first.gaps[start])
        yield f"{head[:cut]}{body}{joint}{head[cut:]}{mark}"


def _sentences(text: str, first: str, second: str) -> Iterator[str]:
    """Swap two consecutive sentences if the second begins with a connective such as "then"; connectives stay put."""
    opening_one, opening_two = (
        match.group("opening") if (match := _CONNECTIVE.match(s)) else "" for s in (first, second)
    )
    rest_one, rest_two = first[len(opening_one) :], second[len(opening_two) :]
    if not opening_two or any(_FIXED_TIME.search(rest) for rest in (rest_one, rest_two)):
        return
    if any(not _eventful(rest) for rest in (rest_one, rest_two)) or _REFERRING.match(rest_two):
        return
    new_one = _open(opening_one, rest_two)
    new_two = _open(opening_two, rest_one)
    if f"{first} {second}" in text:
        yield _replace_once(text, f"{first} {second}", f"{new_one} {new_two}")


def _open(opening: str, rest: str) -> str:
    """Put a connective before a sentence and adjust capitals."""
    first = rest.split()[0]
    if opening:
        keep_case = first == "I" or (len(first) > 1 and first.isupper())
        return opening + (rest if keep_case else rest[0].lower() + rest[1:])
    return rest[0].upper() + rest[1:]


def _eventful(sentence: str) -> bool:
    """Return whether a sentence describes an action: it has a finite verb of the lexicon."""
    words = TokenizedText.of(sentence)
    return any(verb_at(words, index) for index in finite_verbs(words, 0, len(words)))


def timed_flips(text: str, sentences: Sequence[TimedSentence]) -> Iterator[str]:
    """Yield captions with two consecutive sentences swapped, where the first ends before the second begins.

    Args:
        text: a caption.
        sentences: its sentences, with times in seconds where annotated.
    """
    for first, second in pairwise(sentences):
        if first.end is None or second.start is None or first.end > second.start:
            continue
        fixed = any(_FIXED_TIME.search(s.text) or _CONNECTIVE.match(s.text) for s in (first, second))
        if not fixed and not _REFERRING.match(second.text) and f"{first.text} {second.text}" in text:
            yield _replace_once(text, f"{first.text} {second.text}", f"{second.text} {first.text}")
