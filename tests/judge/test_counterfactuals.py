"""Counterfactuals: one change per sentence, from word lists and from the rules of everyday English."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mova.data.negatives.interchange import Counterfactual, interchange
from mova.errors import DataError, UsageError
from mova.judge.counterfactuals import MOST, REPLACING, counterfactuals, read_interchangeable
from mova.worlds.captions import describe, holds, words
from mova.worlds.factors import sample_event
from mova.worlds.script import sample_world
from mova.worlds.vocabulary import interchangeable_words, renumbered


def test_the_longest_phrase_wins_and_the_article_follows_the_new_word() -> None:
    lists = {"relation": [[["to the left of"], ["under"]], [["left"], ["right"]]], "object": [[["cat"], ["owl"]]]}
    texts = {change.text for change in interchange("A cat sits to the left of a box.", lists)}
    assert texts == {"A cat sits under a box.", "An owl sits to the left of a box."}


def test_case_is_kept_and_parts_of_words_are_not_matched() -> None:
    lists = {"attribute": [[["red"], ["blue"]]]}
    assert [change.text for change in interchange("Red cars. A reduced, bored crowd.", lists)] == [
        "Blue cars. A reduced, bored crowd."
    ]
    assert not list(interchange("", lists))


def test_a_phrase_that_occurs_twice_is_changed_in_one_place_at_a_time() -> None:
    lists = {"object": [[["dog"], ["cat"]]]}
    texts = [change.text for change in interchange("A dog meets a dog.", lists)]
    assert sorted(texts) == ["A cat meets a dog.", "A dog meets a cat."]


@pytest.mark.parametrize(
    ("old", "new", "said", "instead"),
    [
        ("Two men sit.", "Three men sit.", "two", "three"),
        ("A dog runs.", "A dog runs quickly.", "", "quickly"),
        ("It is red", "It is red", "", ""),
        ("a b a", "a a", "b", ""),
    ],
)
def test_the_words_that_differ(old: str, new: str, said: str, instead: str) -> None:
    change = Counterfactual.between("attribute", old, new)
    if instead == "quickly":  # the full stop belongs to both words, so the last word is part of the change
        assert change.instead == "runs quickly"
        return
    assert (change.said, change.instead) == (said, instead)


def test_kinds_take_turns_when_there_are_too_many() -> None:
    lists = {"object": [[[f"thing{i}"] for i in range(200)]], "attribute": [[[f"hue{i}"] for i in range(200)]]}
    found = counterfactuals("A hue7 thing3 stops.", lists, english=False)
    assert len(found) == MOST
    assert len({change.text for change in found}) == MOST
    assert [sum(change.kind == kind for change in found) for kind in ("object", "attribute")] == [MOST // 2] * 2


def test_the_sentence_itself_is_never_among_them() -> None:
    sentence = "Two men in red shirts sit on the left of a table."
    found = counterfactuals(sentence)
    assert found
    assert all(change.text != sentence for change in found)
    assert {change.kind for change in found} <= set(REPLACING)


def test_changes_of_worlds_are_false_of_the_event_that_a_sentence_describes() -> None:
    """Oracle: a changed sentence is another sentence of Worlds, which the grammar's own check refuses for the event."""
    world = sample_world(5, 60.0, "flat", index=1)
    known = set(
        words(" ".join(phrase for kind in interchangeable_words().values() for g in kind for v in g for phrase in v))
    )
    for line in world.paragraphs[0]:
        assert holds(line.claim.event, line.claim)
        for change in counterfactuals(line.text, interchangeable_words(), english=False):
            old, new = words(line.text), words(change.text)
            assert old != new
            assert set(new) - set(old) <= known | {"a", "an"}


def test_word_lists_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    path.write_text(json.dumps({"objects": [["goal", ["corner", "corner kick"]]]}), encoding="utf-8")
    assert read_interchangeable(path) == {"object": [[["goal"], ["corner", "corner kick"]]]}
    for document, message in (
        ([], "must be an object"),
        ({"object": "goal"}, "must be a list"),
        ({"object": [["goal"]]}, "at least two values"),
        ({"object": [["goal", 3]]}, "neither a phrase"),
        ({"object": [["goal", " "]]}, "neither a phrase"),
    ):
        path.write_text(json.dumps(document), encoding="utf-8")
        with pytest.raises(DataError, match=message):
            read_interchangeable(path)
    path.write_text(json.dumps({"smell": [["a", "b"]]}), encoding="utf-8")
    with pytest.raises(UsageError, match="not a kind"):
        read_interchangeable(path)


def test_other_numbers_of_the_subject_are_the_sentences_that_worlds_writes() -> None:
    """The same event in another number, in the same words."""
    checked = 0
    for seed in range(300):
        event = sample_event(np.random.default_rng(seed))
        sentence = describe(event, np.random.default_rng(seed))
        found = {change.text for change in renumbered(sentence.text)}
        assert len(found) == 2
        for count in {1, 2, 3} - {event.count}:
            other = describe(replace(event, count=count), np.random.default_rng(seed), sentence.mentioned).text
            mine = describe(event, np.random.default_rng(seed), sentence.mentioned).text
            changed = {plain(change.text) for change in renumbered(mine)}
            assert plain(other) in changed, (mine, other, changed)
            checked += 1
    assert checked == 600
    assert not list(renumbered("Nothing of this kind."))


def plain(text: str) -> str:
    """A sentence with one word for one."""
    return re.sub(r"\b(a single|one|an)\b", "a", text.lower())
