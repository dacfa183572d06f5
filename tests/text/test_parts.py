"""Sentences that are longer than an encoder reads are split into parts, and nothing of them is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mova.text.parts import split_to_fit


def words(text: str) -> int:
    return len(text.split())


@given(st.text(alphabet="ab ,;(\n界", max_size=80), st.integers(1, 9))
def test_parts_fit_and_hold_every_character_in_order(text: str, limit: int) -> None:
    parts = split_to_fit(text, len, limit)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(len(part) <= limit for part in parts)


@given(st.lists(st.sampled_from(["a", "dog,", "runs"]), min_size=1, max_size=40), st.integers(1, 12))
def test_no_word_is_split_where_words_fit(chosen: list[str], limit: int) -> None:
    parts = split_to_fit(" ".join(chosen), words, limit)
    assert [word for part in parts for word in part.split()] == chosen
    assert len(parts) <= 2 * len(chosen) / limit + 1, "parts are not needlessly short"


def test_a_text_that_fits_is_left_as_it_is() -> None:
    assert split_to_fit("A dog, a cat and a bird.", words, 7) == ["A dog, a cat and a bird."]


def test_clauses_near_the_middle_are_kept_together() -> None:
    text = "a man with a hat opens the door; his dog runs out into the garden"
    assert split_to_fit(text, words, 8) == ["a man with a hat opens the door;", "his dog runs out into the garden"]


def test_text_without_spaces_is_split_in_its_middle() -> None:
    assert split_to_fit("春眠不覚暁処処聞", len, 4) == ["春眠不覚", "暁処処聞"]
