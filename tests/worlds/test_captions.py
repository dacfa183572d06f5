"""Sentences are parsed back by an independent parser, to compare what they say with what they mean."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest

from mova.data.negatives.kinds import KINDS
from mova.worlds.captions import OPENINGS, VOCABULARY, Claim, connect, describe, holds, words
from mova.worlds.factors import FACTORS, Event, facts, labels, mutate, sample_event
from mova.worlds.script import sample_world

NOUN = {
    "circle": "circles?|discs?|balls?",
    "square": "squares?|box(?:es)?",
    "triangle": "triangles?",
    "star": "stars?",
    "heart": "hearts?",
    "cross": "cross(?:es)?|plus(?:es)?",
    "ring": "rings?|hoops?",
    "crescent": "crescents?|moons?",
}
COLOUR = {
    "red": "red|crimson",
    "orange": "orange",
    "yellow": "yellow|golden",
    "green": "green|emerald",
    "blue": "blue|azure",
    "purple": "purple|violet",
    "black": "black",
    "white": "white",
}
SIZE = {"small": "small|little|tiny", "large": "large|big|huge"}
COUNT = {"1": "a|an|one|a single", "2": "two", "3": "three"}
RELATION = {"above": "above|over", "below": "below|under|beneath", "left_of": "left of", "right_of": "right of"}
PLACE_WORDS = {
    "beach": "beach|shore",
    "night": "night",
    "forest": "forest|woods|trees",
    "snow": "snow|snowy|winter",
    "desert": "desert|dunes",
    "sea": "sea|waves",
    "city": "city|buildings|street",
    "room": "room|indoors|house",
}
MOTION = {
    "left_to_right": "from left to right|to the right|rightward",
    "right_to_left": "from right to left|to the left|leftward",
    "rising": "ris(?:e|es|ing)|(?:moves?|moving|floats?|floating) up|upward",
    "falling": "fall(?:s|ing)?|down(?:ward)?|sink(?:s|ing)?",
    "bouncing": "bounc(?:e|es|ing)|up and down",
    "spinning": "spin(?:s|ning)?|rotat(?:e|es|ing)|on the spot",
    "circling": "in a circle|in circles|round path",
    "growing": "grow(?:s|ing)?|bigger|larger",
    "shrinking": "shrink(?:s|ing)?|smaller",
    "blinking": "blink(?:s|ing)?|flash(?:es|ing)?|flicker(?:s|ing)?",
}


def any_of(table: dict[str, str]) -> str:
    return "|".join(table.values())


def name_of(text: str, table: dict[str, str]) -> str | None:
    names = [name for name, pattern in table.items() if re.search(rf"\b(?:{pattern})\b", text)]
    assert len(names) <= 1, (text, names)
    return names[0] if names else None


def parse(text: str) -> dict[str, str | None]:
    """Parse a sentence into the value of every factor, None where it is not mentioned."""
    rest = text.lower()
    second = re.search(rf"(?:to the )?\b({any_of(RELATION)}) (an?) (?:({any_of(COLOUR)}) )?({any_of(NOUN)})\b", rest)
    values: dict[str, str | None] = dict.fromkeys(FACTORS)
    if second:
        values["relation"] = name_of(second[1], RELATION)
        values["colour2"] = name_of(second[3], COLOUR) if second[3] else None
        values["shape2"] = name_of(second[4], NOUN)
        rest = rest[: second.start()] + rest[second.end() :]
    # "in a circle" is a motion, and "up and down" is neither up nor down
    for name in ("bouncing", "circling", "left_to_right", "right_to_left", *MOTION):
        match = re.search(rf"\b(?:{MOTION[name]})\b", rest)
        if match:
            values["motion"] = name
            rest = rest[: match.start()] + rest[match.end() :]
            break
    values["place"] = name_of(rest, PLACE_WORDS)
    adjectives = f"(?:({any_of(SIZE)}) )?(?:({any_of(COLOUR)}) )?"
    subject = re.search(rf"\b({any_of(COUNT)}) {adjectives}({any_of(NOUN)})\b", rest)
    assert subject, text
    values["count"] = next(n for n, p in COUNT.items() if re.fullmatch(p, subject[1]))
    values["size"] = name_of(subject[2], SIZE) if subject[2] else None
    values["colour"] = name_of(subject[3], COLOUR) if subject[3] else None
    values["shape"] = name_of(subject[4], NOUN)
    assert subject[4].endswith("s") == (values["count"] != "1") or subject[4] in ("cross", "plus"), text
    return values


def test_a_sentence_says_exactly_what_it_lists_as_mentioned() -> None:
    rng = np.random.default_rng(0)
    for _ in range(4000):
        event = sample_event(rng)
        sentence = describe(event, rng)
        truth = facts(event)
        assert parse(sentence.text) == {n: truth[n] if n in sentence.mentioned else None for n in FACTORS}, sentence


def test_grammar() -> None:
    rng = np.random.default_rng(1)
    texts = [describe(sample_event(rng), rng).text for _ in range(4000)]
    for text in texts:
        assert re.fullmatch(r"[A-Z][a-z]*(?:,? [a-z]+)*\.", text), text
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text.lower()), text
        many = re.search(r"\b(two|three)\b", text.lower())
        assert not re.search(r"\b(is|appears)\b" if many else r"\b(are|appear)\b", text.lower()), text
        assert not re.search(r"\b(\w+) \1\b", text.lower()), text
    openings = {" ".join(text.split()[:2]) for text in texts}
    assert len(set(texts)) > 3900
    assert len(openings) > 40


def test_verbs_agree_with_their_subjects() -> None:
    rng = np.random.default_rng(2)
    verbs = "moves|slides|drifts|travels|rises|climbs|floats|falls|sinks|drops|bounces|hops|jumps|spins|rotates|turns"
    verbs += "|goes|grows|gets|becomes|shrinks|blinks|flashes|flickers"
    for _ in range(3000):
        event = sample_event(rng)
        text = describe(event, rng).text.lower()
        if event.count > 1:
            assert not re.search(rf"\b({verbs})\b", text), text
        else:
            bare = "|".join(re.sub(r"(?<=sh)es$|(?<=go)es$|s$", "", verb) for verb in verbs.split("|"))
            assert not re.search(rf"\b({bare})\b", text), text


def test_mentions_follow_the_request() -> None:
    rng = np.random.default_rng(3)
    event = Event("star", "red", "small", "spinning", "snow", 2, ("above", "circle", "blue"))
    assert describe(event, rng, ()).mentioned == ("shape", "count")
    assert describe(event, rng, ("colour2", "place")).mentioned == ("shape", "place", "count")
    assert describe(event, rng, ("relation",)).mentioned == ("shape", "count", "relation", "shape2")
    assert describe(event, rng, tuple(FACTORS)).mentioned == tuple(FACTORS)
    assert "relation" not in describe(sample_plain(rng), rng, tuple(FACTORS)).mentioned
    for factor in FACTORS:
        assert all(factor in describe(event, rng, must=(factor,)).mentioned for _ in range(30))
    shares = np.mean(
        [[f in describe(event, rng).mentioned for f in ("colour", "motion", "place")] for _ in range(2000)], axis=0
    )
    assert shares == pytest.approx([0.75] * 3, abs=0.04)


def sample_plain(rng: np.random.Generator) -> Event:
    while True:
        event = sample_event(rng)
        if event.relation is None:
            return event


def test_the_vocabulary_is_complete_and_every_word_is_used() -> None:
    rng = np.random.default_rng(4)
    used: set[str] = set()
    for _ in range(9000):
        used.update(words(describe(sample_event(rng), rng).text))
    for position, _ in product(OPENINGS, range(60)):
        used.update(words(connect("A star is seen.", position, rng)))
    assert tuple(sorted(used)) == VOCABULARY
    assert 150 <= len(VOCABULARY) <= 230


def test_a_connective_keeps_the_sentence() -> None:
    rng = np.random.default_rng(5)
    text = connect("In the snow, a star spins.", "last", rng)
    opening, rest = text.split(", ", 1)
    assert opening.lower() in OPENINGS["last"]
    assert rest == "in the snow, a star spins."
    assert opening[0].isupper()


def test_holds_agrees_with_facts_and_reads_relations_in_both_directions() -> None:
    rng = np.random.default_rng(6)
    for _ in range(500):
        event = sample_event(rng)
        sentence = describe(event, rng)
        assert holds(event, Claim(event, sentence.mentioned))
        for factor in sentence.mentioned:
            false = Claim(mutate(event, factor, rng), sentence.mentioned)
            if "motion" in sentence.mentioned or event.relation is None:
                assert not holds(event, false)
    scene = Event("star", "red", "small", "spinning", "snow", 1, ("above", "circle", "blue"))
    reverse = Event("circle", "blue", "large", "growing", "snow", 1, ("below", "star", "red"))
    assert holds(scene, Claim(reverse, ("shape", "colour", "place", "count", "relation", "shape2", "colour2")))
    assert not holds(scene, Claim(reverse, ("shape", "motion", "count")))
    wrong = Event("circle", "blue", "large", "growing", "snow", 1, ("above", "star", "red"))
    assert not holds(scene, Claim(wrong, ("shape", "count", "relation", "shape2")))


def test_no_event_is_a_described_one_with_a_relation_added() -> None:
    world = sample_world(987_013, 630.0, "flat")  # no sentence would tell such an event from the described one
    for segment in world.segments:
        if segment.role == "told":
            event = segment.content
            assert isinstance(event, Event)
            claim = Claim(event, tuple(name for name, value in facts(event).items() if value is not None))
            assert {other for _, other in world.events if holds(other, claim)} == {event}


@pytest.mark.parametrize("seconds", [10, 40, 300])
def test_negatives_are_false_and_change_one_thing(seconds: int) -> None:
    kinds: set[str] = set()
    for seed in range(12 if seconds < 300 else 4):
        world = sample_world(seed, seconds, "flat")
        events = [(span, facts(event)) for span, event in world.events]
        true = [line.text for line in world.paragraphs[0]]

        def spans(text: str, events: list = events) -> list[float]:
            claims = {name: value for name, value in parse(text).items() if value is not None}
            return [span.start for span, real in events if all(real[n] == v for n, v in claims.items())]

        for text, annotated in world.annotations:
            assert spans(text) == [span.start for span in annotated]
        for false in world.negatives:
            kinds.add(false.kind)
            assert false.text == " ".join(false.sentences)
            assert false.sentences == tuple(line.text for line in false.lines)
            if false.kind == "hallucination":
                assert [*false.sentences[: false.sentence], *false.sentences[false.sentence + 1 :]] == true
                assert spans(false.sentences[false.sentence]) == []
                continue
            changed = [i for i, (a, b) in enumerate(zip(true, false.sentences, strict=True)) if a != b]
            assert false.sentence in changed
            if false.kind == "flip":
                first, second = (spans(false.sentences[i]) for i in changed)
                assert min(first) > max(second)
            else:
                assert changed == [false.sentence]
                assert spans(false.sentences[false.sentence]) == []
                before, after = parse(true[false.sentence]), parse(false.sentences[false.sentence])
                assert sum(before[name] != after[name] for name in FACTORS) == 1
    assert kinds == set(KINDS)


def test_labels_index_the_factors() -> None:
    rng = np.random.default_rng(7)
    for _ in range(200):
        event = sample_event(rng)
        named = {n: None if i < 0 else FACTORS[n][i] for n, i in labels(event).items()}
        assert named == facts(event)
        assert Event.from_json(event.to_json()) == event
