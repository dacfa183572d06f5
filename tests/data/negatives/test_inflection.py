"""English inflection, the tables of the lexicon, and tokenized captions."""

from __future__ import annotations

import re

import pytest

from mova.data.negatives.inflection import article, plural, verb_forms
from mova.data.negatives.lexicon import lexicon
from mova.data.negatives.tokens import TokenizedText

IRREGULAR = {"run": ("ran", "run"), "take": ("took", "taken")}


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("walk", "walk walks walking walked walked"),
        ("run", "run runs running ran run"),
        ("carry", "carry carries carrying carried carried"),
        ("play", "play plays playing played played"),
        ("wash", "wash washes washing washed washed"),
        ("tie", "tie ties tying tied tied"),
        ("close", "close closes closing closed closed"),
        ("flip", "flip flips flipping flipped flipped"),
        ("open", "open opens opening opened opened"),
        ("mix", "mix mixes mixing mixed mixed"),
        ("row", "row rows rowing rowed rowed"),
        ("ski", "ski skis skiing skied skied"),
    ],
)
def test_forms_of_verbs(verb: str, forms: str) -> None:
    assert " ".join(verb_forms(verb, IRREGULAR).values()) == forms


def test_a_particle_stays_behind_its_verb() -> None:
    forms = verb_forms("take away", IRREGULAR)
    assert (forms["s"], forms["participle"]) == ("takes away", "taken away")


@pytest.mark.parametrize(
    ("singular", "expected"), [("cat", "cats"), ("dish", "dishes"), ("lorry", "lorries"), ("red cup", "red cups")]
)  # fmt: skip
def test_plurals(singular: str, expected: str) -> None:
    assert plural(singular) == expected


@pytest.mark.parametrize("word", ["apple", "elderly", "umbrella", "hour", "orange", "unlocked", "X-ray", "8", "igloo"])
def test_an(word: str) -> None:
    assert article(word) == "an"


@pytest.mark.parametrize(
    "word", ["unicycle", "ukulele", "one-legged", "European", "dog", "useful", "yellow", "uniform", "7"]
)
def test_a(word: str) -> None:
    assert article(word) == "a"


def test_every_target_of_the_lexicon_has_forms_and_no_synonym_is_a_target() -> None:
    tables = lexicon()
    assert all("" not in forms.values() for forms in tables.verb_forms.values())
    for contrast in [entry for table in (tables.adjectives, tables.verbs) for v in table.values() for entry in v]:
        assert contrast.targets
        assert not set(contrast.words) & set(contrast.targets), contrast
        if contrast.frame:
            assert set(contrast.targets) <= tables.verb_forms.keys()
    assert all(len({noun.sense for noun in nouns}) > 1 for nouns in tables.groups.values())


def test_conditions_of_the_lexicon_refer_to_known_nouns() -> None:
    tables = lexicon()
    names = {word for noun, _ in tables.nouns.values() for word in (*noun.group.split(), noun.lemma)} | {"anything"}
    contrasts = [entry for table in (tables.adjectives, tables.verbs) for v in table.values() for entry in v]
    assert {name for entry in contrasts for name in entry.nouns | entry.excluded} <= names
    assert all(re.match(r"(?:a|an) ", addition.thing) for addition in tables.additions)
    assert all(addition.thing.split()[0] == article(addition.thing.split()[1]) for addition in tables.additions)


@pytest.mark.parametrize(
    "text", ["", "A man's 3.5 m rope - e.g. here!", "  two  spaces\nline ", 'naïve über-cat, "so"…']
)
def test_tokens_join_to_the_original_text(text: str) -> None:
    assert TokenizedText.of(text).replace({}) == text


def test_replace_keeps_capitals_and_corrects_the_article() -> None:
    words = TokenizedText.of("A dog runs. An old man, a boy.")
    assert words.replace({1: "elephant"}) == "An elephant runs. An old man, a boy."
    assert words.replace({4: "young"}) == "A dog runs. A young man, a boy."
    assert words.replace({0: "the", 3: "some"}) == "The dog runs. Some old man, a boy."
    assert words.replace({4: ""}) == "A dog runs. An man, a boy."
