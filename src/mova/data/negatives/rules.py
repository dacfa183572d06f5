"""Hard negatives by rule: of a caption, all changes of one kind that the lexicons allow (VideoCon's misalignments).

Each function returns every caption that one change gives, in the order of the text. None of them draws at random and
none checks the whole; `contrast.py` chooses among them and `contrast_check.py` refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mova.data.negatives.event_order import flips
from mova.data.negatives.grammar import (
    BE,
    CONJUNCTIONS,
    DETERMINERS,
    NUMBERS,
    OBJECTS,
    PARTICLES,
    PREPOSITIONS,
    adjective,
    adverb,
    finite_verbs,
    head_of,
    in_compound,
    noun_at,
    verb_at,
)
from mova.data.negatives.inflection import VerbForm
from mova.data.negatives.lexicon import Contrast, Noun, lexicon
from mova.data.negatives.spatial import relations
from mova.data.negatives.tokens import Words

_SHADES = frozenset({"light", "dark", "pale", "bright", "deep"})
_UNSHADED = frozenset({"black", "white"})
_COUNTABLE = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_OBJECT_WORDS = 6
_NEAR = 4
_FILMED = frozenset({"video", "recording", "recordings", "footage", "camera"})
_ANIMATE = frozenset({"person", "worker", "animal", "bird"})
_ANIMATE_PRONOUNS = frozenset({"he", "she", "they", "it", "who"})


def actions(words: Words) -> Iterator[str]:
    """Another verb in the same form: what happens is different."""
    for place in range(len(words)):
        if words.proper(place) or in_compound(words, place):
            continue
        for base, form in verb_at(words, place):
            yield from _other_verbs(words, place, base, form)


def _other_verbs(words: Words, place: int, base: str, form: VerbForm) -> Iterator[str]:
    particle = _particle(words, place)
    phrase = f"{base} {words[particle]}" if particle is not None else ""
    if phrase in lexicon().verbs and particle is not None:
        for contrast in lexicon().verbs[phrase]:
            if contrast.frame == "i" or contrast.suits(_object(words, place, form, skip=particle)):
                for target in contrast.targets:
                    verb, _, other = lexicon().verb_forms[target][form].partition(" ")
                    if not _said(words, place, verb):
                        yield words.exchange({place: verb, particle: other})
        return
    for contrast in lexicon().verbs.get(base, ()):
        if _frame_fits(words, place, form, contrast):
            for target in contrast.targets:
                verb = lexicon().verb_forms[target][form]
                if not _said(words, place, verb):
                    yield words.exchange({place: verb})


def _said(words: Words, place: int, verb: str) -> bool:
    """Whether the sentence of a word has this form already: "takes it away and puts it back" is left alone."""
    return any(words[at] == verb for at in words.sentence(place))


def _animate(words: Words, place: int) -> bool:
    """Whether somebody who can sit or sing is named in the sentence before a verb."""
    before = [at for at in words.sentence(place) if at < place]
    known = (noun_at(words, at) for at in before)
    return any(each is not None and each[0].group in _ANIMATE for each in known) or any(
        words[at] in _ANIMATE_PRONOUNS for at in before
    )


def _particle(words: Words, place: int) -> int | None:
    """The place of the particle of a verb: right after it, or after a short object; None where there is none."""
    for at in range(place + 1, min(place + 1 + _OBJECT_WORDS, len(words))):
        if not words.joined(at):
            return None
        word = words[at]
        if word in PARTICLES:
            after = words[at + 1] if words.joined(at + 1) else ""
            between = at > place + 1
            ends = not after or after in PREPOSITIONS | CONJUNCTIONS or adverb(after)
            return at if (ends if between or word in ("on", "in", "over") else True) else None
        if word in PREPOSITIONS | CONJUNCTIONS:
            return None
    return None


def _frame_fits(words: Words, place: int, form: VerbForm, contrast: Contrast) -> bool:
    after = words[place + 1] if words.joined(place + 1) else ""
    if contrast.frame == "t":
        known = _object(words, place, form)
        bare = noun_at(words, place + 1)
        whole = bare is not None and (bare[1] is not False or bare[0].group.startswith("mass"))
        stands = after in DETERMINERS | NUMBERS | OBJECTS or adjective(after) or whole
        passive = form == "participle" and words[place - 1] in BE
        return (passive or (bool(after) and stands)) and _particle(words, place) is None and contrast.suits(known)
    if contrast.frame == "i0" and after in PARTICLES | {"still"} - {"in", "on", "over"}:
        return False
    if contrast.frame == "i0" and not contrast.nouns and not _animate(words, place):
        return False
    return not after or after in PREPOSITIONS | CONJUNCTIONS | PARTICLES or adverb(after)


def _object(words: Words, place: int, form: VerbForm, skip: int | None = None) -> Noun | None:
    """The noun that a verb is done to: after it, or, of a passive, before it."""
    if form == "participle" and words[place - 1] in BE:
        found = noun_at(words, place - 2)
        return found[0] if found else None
    start = place + 2 if skip == place + 1 else place + 1
    return head_of(words, start) if words.joined(start) else None


def attributes(words: Words) -> Iterator[str]:
    """Another quality of the same thing."""
    for place in range(len(words)):
        if words.proper(place) or in_compound(words, place) or not _qualifying(words, place):
            continue
        head = head_of(words, place + 1) if words.joined(place + 1) else None
        shaded = words.joined(place) and words[place - 1] in _SHADES
        for contrast in lexicon().adjectives.get(words[place], ()):
            if contrast.suits(head):
                for target in contrast.targets:
                    near = {words[place + step] for step in (-2, -1, 1, 2)}
                    if not (shaded and target in _UNSHADED) and target not in near:
                        yield words.exchange({place: target})


def _qualifying(words: Words, place: int) -> bool:
    """Whether a word stands before a noun, and is not the first half of another quality ("black and white")."""
    after = words[place + 1]
    if not words.joined(place + 1) or after in PREPOSITIONS | BE | NUMBERS | DETERMINERS:
        return False
    if after == "and":
        return (
            adjective(words[place + 2]) and words[place + 2] != words[place] and head_of(words, place + 2) is not None
        )
    return adjective(after) or noun_at(words, place + 1) is not None


def counts(words: Words) -> Iterator[str]:
    """Another number of the same things, two at least, so that verbs and nouns agree."""
    for place in range(len(words)):
        word = words[place]
        figure = word.isdigit() and 2 <= int(word) <= 20
        if not (word in _COUNTABLE or figure) or words[place - 1] in {
            "all",
            "at",
            "number",
            "by",
            "and",
            "of",
            "these",
        }:
            continue
        if not _countable(words, place + 1):
            continue
        value = int(word) if figure else _COUNTABLE.index(word) + 2
        if value == 2 and {"both", "other"} & {words[i] for i in range(len(words))}:
            continue
        for other in (value + 1, value + 2, value - 1, value + 3):
            if 2 <= other <= (20 if figure else 10):
                yield words.exchange({place: str(other) if figure else _COUNTABLE[other - 2]})


def _countable(words: Words, place: int) -> bool:
    """Whether things follow a number: no hours, no hands (two a person), and not "the two of them"."""
    after = words[place] if words.joined(place) else ""
    if not after or after in PREPOSITIONS | CONJUNCTIONS | BE | NUMBERS | {"million", "thousand", "times"}:
        return False
    if verb_at(words, place) and noun_at(words, place) is None:
        return False
    near = [noun_at(words, at) for at in range(place, min(place + _NEAR, len(words))) if words.joined(at)]
    head = next((each[0] for each in near if each is not None), None)
    return head is None or head.group not in ("time", "body")


def objects(words: Words) -> Iterator[str]:
    """Another thing of the same group, wherever the caption names it."""
    found = [(place, at) for place in range(len(words)) if (at := noun_at(words, place)) is not None]
    senses = {at[0].sense for _, at in found}
    forms = {words[place] for place in range(len(words))}
    done: set[int] = set()
    for _, (noun, _, _) in found:
        if noun.fixed or noun.sense in done:
            continue
        done.add(noun.sense)
        mentions = [(at, each) for at, each in found if each[0].sense == noun.sense]
        if any(each[0] != noun or each[1] is None or each[2] > 1 for _, each in mentions):
            continue
        if any(in_compound(words, at) or words.proper(at) or words[at + 1] in _FILMED for at, _ in mentions):
            continue
        if sum(word in (noun.lemma, noun.plural) for word in map(words.__getitem__, range(len(words)))) > len(mentions):
            continue
        for other in _first_of_senses(lexicon().groups[noun.group]):
            if other.sense not in senses and not {other.lemma, other.plural} & forms and other.lemma != other.plural:
                yield words.exchange({at: other.form(bool(many)) for at, (_, many, _) in mentions})


def _first_of_senses(nouns: list[Noun]) -> list[Noun]:
    """One noun a sense."""
    return list({noun.sense: noun for noun in reversed(nouns)}.values())[::-1]


def hallucinations(words: Words) -> Iterator[str]:
    """Something that was not there, at the end of a sentence."""
    ends = [i for i in range(1, len(words) + 1) if i == len(words) or words.opens(i)]
    present = {words[place] for place in range(len(words))}
    starts = [0, *ends]
    for start, end in zip(starts, ends, strict=False):
        if "with" in (words[place] for place in range(max(start, end - _OBJECT_WORDS), end)):
            continue
        if end < len(words) and not finite_verbs(words, start, end):
            continue
        for addition in lexicon().additions:
            if not present & (set(addition.thing.split()) - DETERMINERS - PREPOSITIONS):
                last = words.words[end - 1]
                yield words.exchange({end - 1: f"{last} with {addition.thing} {addition.doing}"})


PROPOSALS: Mapping[str, Callable[[Words], Iterator[str]]] = {
    "action": actions,
    "attribute": attributes,
    "count": counts,
    "flip": flips,
    "hallucination": hallucinations,
    "object": objects,
    "relation": relations,
}
"""Kind -> its rule."""
