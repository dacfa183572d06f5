"""Shallow parsing of captions: parts of speech and heads, from small lexicons and neighboring words.

Every function errs on the side of "not known", so that a rule skips a caption rather than break its grammar.
"""

from __future__ import annotations

from typing import NamedTuple

from mova.data.negatives.inflection import VerbForm
from mova.data.negatives.lexicon import Noun, lexicon
from mova.data.negatives.tokens import TokenizedText


def word_set(text: str) -> frozenset[str]:
    """Split a text at white space into a set of words."""
    return frozenset(text.split())


class NounMatch(NamedTuple):
    """A known noun in a caption.

    Attributes:
        noun: its entry in the lexicon.
        plural: whether the caption has its plural; None if the form is both.
        length: number of words it spans.
    """

    noun: Noun
    plural: bool | None
    length: int


POSSESSIVES = word_set("his her its their my our your whose")
NUMBERS = word_set("two three four five six seven eight nine ten eleven twelve")
DETERMINERS = POSSESSIVES | word_set(
    "a an the this that these those some another each every no one both all several many"
)
PREPOSITIONS = word_set(
    """about above across after against along alongside among amid around as at before behind below beneath beside
    between beyond by despite down during for from in inside into like near of off on onto opposite out outside over
    past round through throughout till to toward towards under underneath until up upon via with within without"""
)
CONJUNCTIONS = word_set("and or but while when as then because so before after until once")
PRONOUNS = word_set("he she it they we you i who which that him them us me someone somebody everyone everybody")
OBJECTS = word_set("it them him her us me something someone everything himself herself itself themselves")
BE = word_set("is are was were be been being am gets get got")
HAVE = word_set("has have had having")
MODALS = word_set("can could will would shall should may might must to do does did not n't let lets")
PARTICLES = word_set("up down away back out off apart together on in over")
ADVERBS = word_set(
    """again also almost alone already still just then now soon here there together very quite once twice further
    sideways upright backwards forwards ahead well too so only even often always never both first briefly nearby"""
)
_PLAIN_ADJECTIVES = word_set(
    """young old new other same different several few many more most next last first second third left right middle
    whole main single various light pale deep bare steep flat soft hard hot cold loud quiet fast slow strong heavy low
    high front rear upper lower own bright dusty leafy busy electric distant nearby wild little"""
)
COMPOUNDS = frozenset(
    {("car", "park"), ("car", "parks"), ("hot", "dog"), ("hot", "dogs"), ("box", "truck"), ("ball", "game"),
     ("dog", "food"), ("horse", "race"), ("boat", "race"), ("bus", "stop"), ("tea", "towel"), ("coffee", "table"),
     ("light", "bulb"), ("traffic", "light"), ("computer", "mouse"), ("table", "tennis"), ("phone", "call"),
     ("video", "call"), ("green", "screen"), ("white", "board"), ("red", "wine"), ("white", "wine"), ("black", "box"),
     ("little", "by"), ("video", "camera"), ("traffic", "camera"), ("teddy", "bear"), ("teddy", "bears"),
     ("bowler", "hat"), ("party", "hat"), ("bucket", "hat"), ("swimming", "pool"), ("fire", "truck")}
)  # fmt: skip
"""Fixed pairs of words with one meaning; neither word is ever replaced."""


def is_adverb(word: str) -> bool:
    """Return whether a word is an adverb."""
    return word in ADVERBS or (len(word) > 4 and word.endswith("ly"))


def is_adjective(word: str) -> bool:
    """Return whether a word can be an adjective."""
    return word in lexicon().adjectives or word in _PLAIN_ADJECTIVES or ("-" in word and word.endswith(("ed", "ing")))


def in_compound(words: TokenizedText, index: int) -> bool:
    """Return whether a word is part of a fixed pair, or follows a hyphenated modifier ("upward-facing dog")."""
    pairs = ((words[index - 1], words[index]), (words[index], words[index + 1]))
    return any(pair in COMPOUNDS for pair in pairs) or (words.joined(index) and words[index - 1].endswith("facing"))


def noun_at(words: TokenizedText, index: int) -> NounMatch | None:
    """Return the known noun that begins at an index; None if there is none.

    A word that can also be a verb counts only in a position where a noun is expected.
    """
    for length in (2, 1):
        form = " ".join(words[index + i] for i in range(length))
        if form in lexicon().nouns and all(words.joined(index + i) for i in range(1, length)):
            noun, is_plural = lexicon().nouns[form]
            if length == 1 and form in lexicon().verbs_by_form and not _in_noun_position(words, index, is_plural):
                return None
            return NounMatch(noun, is_plural, length)
    return None


def _in_noun_position(words: TokenizedText, index: int, is_plural: bool | None) -> bool:
    """Return whether the word before this one introduces a noun."""
    before = words[index - 1]
    if not words.joined(index):
        return False
    modified = before in DETERMINERS or before in NUMBERS or is_adjective(before)
    return modified or (is_plural is True and before in PREPOSITIONS - {"to"})


def head_of(words: TokenizedText, index: int) -> Noun | None:
    """Return the head noun of the adjectives and determiners that begin at an index; None if it is not known.

    "and" between adjectives, and nouns that modify nouns, are skipped: the last noun of a sequence is the head.
    """
    last = None
    i = index
    while i < len(words) and (i == index or words.joined(i)):
        match = noun_at(words, i)
        if match is not None:
            last = match.noun
            i += match.length
            continue
        if last is not None:
            break
        word = words[i]
        modifier = is_adjective(word) or word in DETERMINERS or word in NUMBERS or word == "and" or is_adverb(word)
        if not modifier and i != index:
            break
        i += 1
    return last


def verb_at(words: TokenizedText, index: int) -> list[tuple[str, VerbForm]]:
    """Return the readings (base form, form) of a word as a verb in its context, sorted; empty if it is not a verb."""
    readings = sorted(lexicon().verbs_by_form.get(words[index], ()))
    return [(base, form) for base, form in readings if _form_fits(words, index, form)]


def _form_fits(words: TokenizedText, index: int, form: VerbForm) -> bool:
    """Return whether the word before a verb permits this form."""
    before, joined = words[index - 1], words.joined(index)
    if joined and is_adverb(before) and before not in ("first", "both"):
        before, joined = words[index - 2], joined and words.joined(index - 1)
    noun = lexicon().nouns.get(before)
    if form == "ing":
        return not joined or not (before in DETERMINERS | NUMBERS or is_adjective(before) or before in {"of"})
    if form == "participle":
        return joined and before in BE | HAVE
    if not joined:
        return form == "s" and words.gaps[index].strip() == "," and bool(verbs_before(words, index, form))
    if form == "base":
        plural_subject = noun is not None and noun[1] is not False and words[index + 1] != "of"
        return (
            plural_subject
            or before in {"they", "we", "you", "to"} | (MODALS - {"n't"})
            or (before == "and" and bool(verbs_before(words, index, form)))
        )
    singular = noun is not None and noun[1] is not True
    if form == "s" and (singular or before in {"he", "she", "it", "who", "which", "that"}):
        return True
    if form == "past" and (noun is not None or before in PRONOUNS):
        return True
    return before in {"and", "or", "then"} and bool(verbs_before(words, index, form))


def verbs_before(words: TokenizedText, index: int, form: VerbForm) -> list[int]:
    """Return the indices of earlier verbs of the same form in the same sentence, nearest first."""
    indices = []
    i = index - 1
    while i >= 0 and not words.starts_sentence(i + 1):
        if any(f == form for _, f in lexicon().verbs_by_form.get(words[i], ())) and _form_fits(words, i, form):
            indices.append(i)
        i -= 1
    return indices


def finite_verbs(words: TokenizedText, start: int, stop: int) -> list[int]:
    """Return the indices in [start, stop) of finite verbs, including forms of "be"."""
    indices = []
    for index in range(start, stop):
        if words[index] in BE - {"be", "been", "being"} or any(
            form in ("s", "base", "past") for _, form in verb_at(words, index)
        ):
            indices.append(index)
    return indices
