"""Splitting captions into sentences."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mova.errors import UsageError
from mova.text.sentences import split_sentences

CASES = [
    ("A man opens a door. Then he pours tea.", ["A man opens a door.", "Then he pours tea."]),
    ("a man runs. then he stops", ["a man runs.", "then he stops"]),
    ("no punctuation at all here", ["no punctuation at all here"]),
    ("Is it late? Yes! He goes.", ["Is it late?", "Yes!", "He goes."]),
    # abbreviations, initials, numbers
    ("Mr. Smith pays $3.50 to Dr. Who. He leaves.", ["Mr. Smith pays $3.50 to Dr. Who.", "He leaves."]),
    ("He wakes at 5 a.m. and eats. She comes at 6 p.m. They talk.",
     ["He wakes at 5 a.m. and eats.", "She comes at 6 p.m.", "They talk."]),
    ("They visit the U.S. Capitol. He left the U.S. Then he came back.",
     ["They visit the U.S. Capitol.", "He left the U.S.", "Then he came back."]),
    ("J. R. Smith sings. See Fig. 3 and No. 5. Done.",
     ["J. R. Smith sings.", "See Fig. 3 and No. 5.", "Done."]),
    ("It costs 1.000.000 or 2,5 or .5 units. Fine.", ["It costs 1.000.000 or 2,5 or .5 units.", "Fine."]),
    ("Cups, plates, etc. are washed. Forks etc. Then spoons.",
     ["Cups, plates, etc. are washed.", "Forks etc.", "Then spoons."]),
    ("So do I. He too.", ["So do I.", "He too."]),
    ("Open www.example.com now. Go.", ["Open www.example.com now.", "Go."]),
    # quotations, brackets, ellipses
    ('He says "Stop!" and runs. "Go!" she cries. "Now." He goes.',
     ['He says "Stop!" and runs.', '"Go!" she cries.', '"Now."', "He goes."]),
    ("“Who is it?” she asks. ‘Me.’", ["“Who is it?” she asks.", "‘Me.’"]),
    ("He waves (she laughs.) Then they sit.", ["He waves (she laughs.)", "Then they sit."]),
    ("Wait... what? He goes... Then it ends…", ["Wait... what?", "He goes...", "Then it ends…"]),
    ("Really?! Yes!!", ["Really?!", "Yes!!"]),
    # lines and lists
    ("one event\ntwo events\n\n\nthree events\r\n", ["one event", "two events", "three events"]),
    ("1. A man runs.\n2. A dog barks.\n- a cat sleeps\n• a bird sings",
     ["A man runs.", "A dog barks.", "a cat sleeps", "a bird sings"]),
    ("1. A man. 2. A dog.", ["A man.", "A dog."]),
    ("A long line of prose that an editor has wrapped at its column and that\ngoes on here. And more.",
     ["A long line of prose that an editor has wrapped at its column and that goes on here.", "And more."]),
    # other scripts
    ("一个男人开门。然后他倒茶！「好。」他说", ["一个男人开门。", "然后他倒茶！", "「好。」", "他说"]),
    ("एक आदमी आता है। वह बैठता है।", ["एक आदमी आता है।", "वह बैठता है।"]),
    ("Il ouvre. Élise entre.", ["Il ouvre.", "Élise entre."]),
    ("  spaced   out.   twice.  ", ["spaced   out.", "twice."]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[case[0][:24] for case in CASES])
def test_known_captions(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected


@pytest.mark.parametrize("text", ["", "  \n ", "...", "?!", "- \n* ", "。"])
def test_text_without_words_is_rejected(text: str) -> None:
    with pytest.raises(UsageError, match="no words"):
        split_sentences(text)


PIECES = st.sampled_from(
    [
        "a",
        "The",
        "Mr.",
        "U.S.",
        "3.5",
        "...",
        ".",
        "!",
        "?",
        '"',
        "(",
        ")",
        "\n",
        " ",
        "。",
        "dog",
        "p.m.",
        "I.",
        "’",
    ]
)


@given(st.lists(PIECES, min_size=1, max_size=40).map("".join))
def test_no_character_is_lost_or_added(text: str) -> None:
    try:
        sentences = split_sentences(text)
    except UsageError:
        assert not any(c.isalnum() for c in text)
        return
    assert all(sentence == sentence.strip() and any(c.isalnum() for c in sentence) for sentence in sentences)
    letters = "".join(c for c in text if c.isalnum())
    assert "".join(c for sentence in sentences for c in sentence if c.isalnum()) == letters


@given(st.text(max_size=200))
def test_any_text_is_split_or_rejected(text: str) -> None:
    with suppress(UsageError):
        assert split_sentences(text)


def test_text_that_is_not_unicode_is_rejected() -> None:
    for text in (os.fsdecode(b"A dog runs. \x85"), "A dog \ud83d"):
        with pytest.raises(UsageError, match="not valid Unicode"):
            split_sentences(text)


def test_a_long_caption_is_split_quickly() -> None:
    assert len(split_sentences("A man walks. " * 20_000)) == 20_000
