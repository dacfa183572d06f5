"""Which part a word plays in a caption, as far as small lexicons and the words beside it tell.

All answers err on the side of "not known": a rule that asks them leaves a caption alone rather than break it.
"""

from __future__ import annotations

from mova.data.negatives.inflection import VerbForm
from mova.data.negatives.lexicon import Noun, lexicon
from mova.data.negatives.tokens import Words


def word_set(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


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
"""Pairs that mean one thing together; neither word of them is exchanged."""


def adverb(word: str) -> bool:
    """Whether a word is an adverb."""
    return word in ADVERBS or (len(word) > 4 and word.endswith("ly"))


def adjective(word: str) -> bool:
    """Whether a word can be an adjective."""
    return word in lexicon().adjectives or word in _PLAIN_ADJECTIVES or ("-" in word and word.endswith(("ed", "ing")))


def in_compound(words: Words, place: int) -> bool:
    """Whether a word is part of a fixed pair, or of a hyphenated one before it ("upward-facing dog")."""
    pairs = ((words[place - 1], words[place]), (words[place], words[place + 1]))
    return any(pair in COMPOUNDS for pair in pairs) or (
        words.joined(place) and words[place - 1].endswith(("-facing", "facing"))
    )


def noun_at(words: Words, place: int) -> tuple[Noun, bool | None, int] | None:
    """The known noun at a place: itself, whether plural (None: could be either), and how many words it has.

    A word that is also a verb must stand where a noun does.
    """
    for length in (2, 1):
        form = " ".join(words[place + i] for i in range(length))
        if form in lexicon().nouns and all(words.joined(place + i) for i in range(1, length)):
            noun, many = lexicon().nouns[form]
            if length == 1 and form in lexicon().verbs_by_form and not _after_nominal(words, place, many):
                return None
            return noun, many, length
    return None


def _after_nominal(words: Words, place: int, many: bool | None) -> bool:
    """Whether what stands before a word opens a noun."""
    before = words[place - 1]
    if not words.joined(place):
        return False
    described = before in DETERMINERS or before in NUMBERS or adjective(before)
    return described or (many is True and before in PREPOSITIONS - {"to"})


def head_of(words: Words, place: int) -> Noun | None:
    """The noun that the adjectives and determiners from a place on belong to; None where none is known.

    "and" between adjectives and nouns that qualify nouns are passed over: the last of a row of nouns is the head.
    """
    last = None
    at = place
    while at < len(words) and (at == place or words.joined(at)):
        found = noun_at(words, at)
        if found is not None:
            last = found[0]
            at += found[2]
            continue
        if last is not None:
            break
        word = words[at]
        passing = adjective(word) or word in DETERMINERS or word in NUMBERS or word == "and" or adverb(word)
        if not passing and at != place:
            break
        at += 1
    return last


def verb_at(words: Words, place: int) -> list[tuple[str, VerbForm]]:
    """Base forms and forms that a word can be as a verb where it stands, most likely first; empty for no verb."""
    found = sorted(lexicon().verbs_by_form.get(words[place], ()))
    return [(base, form) for base, form in found if _form_fits(words, place, form)]


def _form_fits(words: Words, place: int, form: VerbForm) -> bool:
    """Whether the word before a verb lets it have this form."""
    before, joined = words[place - 1], words.joined(place)
    if joined and adverb(before) and before not in ("first", "both"):
        before, joined = words[place - 2], joined and words.joined(place - 1)
    noun = lexicon().nouns.get(before)
    if form == "ing":
        return not joined or not (before in DETERMINERS | NUMBERS or adjective(before) or before in {"of"})
    if form == "participle":
        return joined and before in BE | HAVE
    if not joined:
        return form == "s" and words.gaps[place].strip() == "," and bool(verbs_before(words, place, form))
    if form == "base":
        plural_subject = noun is not None and noun[1] is not False and words[place + 1] != "of"
        return (
            plural_subject
            or before in {"they", "we", "you", "to"} | (MODALS - {"n't"})
            or (before == "and" and bool(verbs_before(words, place, form)))
        )
    singular = noun is not None and noun[1] is not True
    if form == "s" and (singular or before in {"he", "she", "it", "who", "which", "that"}):
        return True
    if form == "past" and (noun is not None or before in PRONOUNS):
        return True
    return before in {"and", "or", "then"} and bool(verbs_before(words, place, form))


def verbs_before(words: Words, place: int, form: VerbForm) -> list[int]:
    """Places of earlier verbs of the same form in the same sentence."""
    found = []
    at = place - 1
    while at >= 0 and not words.opens(at + 1):
        if any(f == form for _, f in lexicon().verbs_by_form.get(words[at], ())) and _form_fits(words, at, form):
            found.append(at)
        at -= 1
    return found


def finite_verbs(words: Words, start: int, stop: int) -> list[int]:
    """Places from start to stop that hold a verb with a subject (forms of "be" included)."""
    found = []
    for place in range(start, stop):
        if words[place] in BE - {"be", "been", "being"} or any(
            form in ("s", "base", "past") for _, form in verb_at(words, place)
        ):
            found.append(place)
    return found
