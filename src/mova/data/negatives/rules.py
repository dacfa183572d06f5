"""Hard negatives by rule: all changes of one kind that the lexicons allow for a caption.

Each function yields every caption that a single change gives, in text order. The functions neither sample nor check
the result: `generate.py` chooses among the proposals, and `checks.py` rejects the bad ones.
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
    finite_verbs,
    head_of,
    in_compound,
    is_adjective,
    is_adverb,
    noun_at,
    verb_at,
)
from mova.data.negatives.inflection import VerbForm
from mova.data.negatives.lexicon import Contrast, Noun, lexicon
from mova.data.negatives.spatial import relations
from mova.data.negatives.tokens import TokenizedText

_SHADES = frozenset({"light", "dark", "pale", "bright", "deep"})
_UNSHADED = frozenset({"black", "white"})
_NUMBER_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NOT_BEFORE_COUNT = frozenset({"all", "at", "number", "by", "and", "of", "these"})
_OBJECT_WORDS = 6
"""Words after a verb among which its particle is searched, and at the end of a sentence those searched for "with"."""
_NEAR = 4
"""Words after a number among which the counted noun is searched."""
_FILMED = frozenset({"video", "recording", "recordings", "footage", "camera"})
_ANIMATE = frozenset({"person", "worker", "animal", "bird"})
_ANIMATE_PRONOUNS = frozenset({"he", "she", "they", "it", "who"})


def actions(words: TokenizedText) -> Iterator[str]:
    """Yield captions in which another action happens: one verb is replaced, in the same form.

    >>> "A man runs to the table." in actions(TokenizedText.of("A man walks to the table."))
    True
    """
    for index in range(len(words)):
        if words.is_proper_noun(index) or in_compound(words, index):
            continue
        for base, form in verb_at(words, index):
            yield from _other_verbs(words, index, base, form)


def _other_verbs(words: TokenizedText, index: int, base: str, form: VerbForm) -> Iterator[str]:
    particle = _particle(words, index)
    phrase = f"{base} {words[particle]}" if particle is not None else ""
    if phrase in lexicon().verbs and particle is not None:
        for contrast in lexicon().verbs[phrase]:
            if contrast.frame == "i" or contrast.allows(_object(words, index, form, skip=particle)):
                for target in contrast.targets:
                    verb, _, other = lexicon().verb_forms[target][form].partition(" ")
                    if not _in_same_sentence(words, index, verb):
                        yield words.replace({index: verb, particle: other})
        return
    for contrast in lexicon().verbs.get(base, ()):
        if _frame_fits(words, index, form, contrast):
            for target in contrast.targets:
                verb = lexicon().verb_forms[target][form]
                if not _in_same_sentence(words, index, verb):
                    yield words.replace({index: verb})


def _in_same_sentence(words: TokenizedText, index: int, verb: str) -> bool:
    """Return whether the word's sentence already has this verb form: "takes it away and puts it back" is skipped."""
    return any(words[i] == verb for i in words.sentence_range(index))


def _animate(words: TokenizedText, index: int) -> bool:
    """Return whether the sentence names a person or an animal before this verb."""
    before = [i for i in words.sentence_range(index) if i < index]
    matches = (noun_at(words, i) for i in before)
    return any(match is not None and match.noun.group in _ANIMATE for match in matches) or any(
        words[i] in _ANIMATE_PRONOUNS for i in before
    )


def _particle(words: TokenizedText, index: int) -> int | None:
    """Return the index of a verb's particle, directly after it or after a short object; None if it has none."""
    for i in range(index + 1, min(index + 1 + _OBJECT_WORDS, len(words))):
        if not words.joined(i):
            return None
        word = words[i]
        if word in PARTICLES:
            ambiguous = i > index + 1 or word in ("on", "in", "over")
            after = words[i + 1] if words.joined(i + 1) else ""
            ends = not after or after in PREPOSITIONS | CONJUNCTIONS or is_adverb(after)
            return i if ends or not ambiguous else None
        if word in PREPOSITIONS | CONJUNCTIONS:
            return None
    return None


def _frame_fits(words: TokenizedText, index: int, form: VerbForm, contrast: Contrast) -> bool:
    after = words[index + 1] if words.joined(index + 1) else ""
    if contrast.frame == "t":
        object_noun = _object(words, index, form)
        bare = noun_at(words, index + 1)
        needs_no_article = bare is not None and (bare.plural is not False or bare.noun.group.startswith("mass"))
        has_object = after in DETERMINERS | NUMBERS | OBJECTS or is_adjective(after) or needs_no_article
        passive = form == "participle" and words[index - 1] in BE
        takes_object = passive or (bool(after) and has_object)
        return takes_object and _particle(words, index) is None and contrast.allows(object_noun)
    if contrast.frame == "i0" and after in PARTICLES | {"still"} - {"in", "on", "over"}:
        return False
    if contrast.frame == "i0" and not contrast.nouns and not _animate(words, index):
        return False
    return not after or after in PREPOSITIONS | CONJUNCTIONS | PARTICLES or is_adverb(after)


def _object(words: TokenizedText, index: int, form: VerbForm, skip: int | None = None) -> Noun | None:
    """Return the object of a verb: the noun after it or, in the passive, before it; None if it is not known."""
    if form == "participle" and words[index - 1] in BE:
        match = noun_at(words, index - 2)
        return match.noun if match else None
    start = index + 2 if skip == index + 1 else index + 1
    return head_of(words, start) if words.joined(start) else None


def attributes(words: TokenizedText) -> Iterator[str]:
    """Yield captions in which a thing has another quality: one adjective is replaced."""
    for index in range(len(words)):
        if words.is_proper_noun(index) or in_compound(words, index) or not _qualifying(words, index):
            continue
        head = head_of(words, index + 1) if words.joined(index + 1) else None
        shaded = words.joined(index) and words[index - 1] in _SHADES
        for contrast in lexicon().adjectives.get(words[index], ()):
            if contrast.allows(head):
                for target in contrast.targets:
                    near = {words[index + step] for step in (-2, -1, 1, 2)}
                    if not (shaded and target in _UNSHADED) and target not in near:
                        yield words.replace({index: target})


def _qualifying(words: TokenizedText, index: int) -> bool:
    """Return whether a word modifies a noun and is not the first half of a pair of adjectives ("black and white")."""
    after = words[index + 1]
    if not words.joined(index + 1) or after in PREPOSITIONS | BE | NUMBERS | DETERMINERS:
        return False
    if after == "and":
        return (
            is_adjective(words[index + 2])
            and words[index + 2] != words[index]
            and head_of(words, index + 2) is not None
        )
    return is_adjective(after) or noun_at(words, index + 1) is not None


def counts(words: TokenizedText) -> Iterator[str]:
    """Yield captions with another number of the same things. The number stays above one, so verbs and nouns agree."""
    for index in range(len(words)):
        word = words[index]
        digits = word.isdigit() and 2 <= int(word) <= 20
        if not (word in _NUMBER_WORDS or digits) or words[index - 1] in _NOT_BEFORE_COUNT:
            continue
        if not _countable(words, index + 1):
            continue
        value = int(word) if digits else _NUMBER_WORDS.index(word) + 2
        if value == 2 and {"both", "other"} & {words[i] for i in range(len(words))}:
            continue
        for other in (value + 1, value + 2, value - 1, value + 3):
            if 2 <= other <= (20 if digits else 10):
                yield words.replace({index: str(other) if digits else _NUMBER_WORDS[other - 2]})


def _countable(words: TokenizedText, index: int) -> bool:
    """Return whether countable things follow a number: not hours, not hands (two per person), not "the two of them"."""
    after = words[index] if words.joined(index) else ""
    if not after or after in PREPOSITIONS | CONJUNCTIONS | BE | NUMBERS | {"million", "thousand", "times"}:
        return False
    if verb_at(words, index) and noun_at(words, index) is None:
        return False
    near = [noun_at(words, i) for i in range(index, min(index + _NEAR, len(words))) if words.joined(i)]
    head = next((match.noun for match in near if match is not None), None)
    return head is None or head.group not in ("time", "body")


def objects(words: TokenizedText) -> Iterator[str]:
    """Yield captions in which a thing is another one of its group; every mention of it is replaced."""
    nouns = [(i, match) for i in range(len(words)) if (match := noun_at(words, i)) is not None]
    senses = {match.noun.sense for _, match in nouns}
    forms = {words[i] for i in range(len(words))}
    done: set[int] = set()
    for _, (noun, _, _) in nouns:
        if noun.fixed or noun.sense in done:
            continue
        done.add(noun.sense)
        mentions = [(i, match) for i, match in nouns if match.noun.sense == noun.sense]
        if any(match.noun != noun or match.plural is None or match.length > 1 for _, match in mentions):
            continue
        if any(in_compound(words, i) or words.is_proper_noun(i) or words[i + 1] in _FILMED for i, _ in mentions):
            continue
        if sum(word in (noun.lemma, noun.plural) for word in map(words.__getitem__, range(len(words)))) > len(mentions):
            continue
        for other in _first_of_senses(lexicon().groups[noun.group]):
            if other.sense not in senses and not {other.lemma, other.plural} & forms and other.lemma != other.plural:
                yield words.replace({i: other.form(bool(match.plural)) for i, match in mentions})


def _first_of_senses(nouns: list[Noun]) -> list[Noun]:
    """Return the first noun of each sense."""
    return list({noun.sense: noun for noun in reversed(nouns)}.values())[::-1]


def hallucinations(words: TokenizedText) -> Iterator[str]:
    """Yield captions that add a thing that was not there, at the end of a sentence."""
    ends = [i for i in range(1, len(words) + 1) if i == len(words) or words.starts_sentence(i)]
    present = {words[index] for index in range(len(words))}
    starts = [0, *ends]
    for start, end in zip(starts, ends, strict=False):
        if "with" in (words[index] for index in range(max(start, end - _OBJECT_WORDS), end)):
            continue
        if end < len(words) and not finite_verbs(words, start, end):
            continue
        for addition in lexicon().additions:
            if not present & (set(addition.thing.split()) - DETERMINERS - PREPOSITIONS):
                last = words.words[end - 1]
                yield words.replace({end - 1: f"{last} with {addition.thing} {addition.doing}"})


RULES: Mapping[str, Callable[[TokenizedText], Iterator[str]]] = {
    "action": actions,
    "attribute": attributes,
    "count": counts,
    "flip": flips,
    "hallucination": hallucinations,
    "object": objects,
    "relation": relations,
}
"""Kind -> the rule that proposes negatives of that kind."""
