"""Masks of the common subsequence: captions worked by hand, a brute-force length, and the published code."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mova.text.common_subsequence import common_subsequence_mask

sequences = st.lists(st.integers(0, 3), max_size=9)


def ids(text: str, words: dict[str, int]) -> list[int]:
    return [words.setdefault(word, 10 + len(words)) for word in text.split()]


def shared(first: str, second: str) -> tuple[str, str]:
    words: dict[str, int] = {}
    texts = first.split(), second.split()
    masks = common_subsequence_mask(ids(first, words), ids(second, words))
    kept = (
        " ".join(word if keep else "_" for word, keep in zip(t, m, strict=True))
        for t, m in zip(texts, masks, strict=True)
    )
    return tuple(kept)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("first", "second", "kept_one", "kept_two"),
    [
        ("a man opens the red door", "a man closes the red door", "a man _ the red door", "a man _ the red door"),
        ("a dog runs", "a small dog runs", "a dog runs", "a _ dog runs"),
        ("two men sit", "five old men sit", "_ men sit", "_ _ men sit"),
        # a flip: the longer event stays, the connective with it
        ("he walks in then sits", "he sits then walks in", "he walks in _ _", "he _ _ walks in"),
        # a hallucination only adds
        ("a cat sleeps .", "a cat sleeps with a kite nearby .", "a cat sleeps .", "a cat sleeps _ _ _ _ ."),
        ("same words", "same words", "same words", "same words"),
        ("nothing in common", "entirely different", "_ _ _", "_ _"),
        # a prompt around the caption is kept, even if the caption repeats parts of it
        ("is a cat in a ? yes", "is a dog by a a ? yes", "is a _ _ a ? yes", "is a _ _ _ a ? yes"),
    ],
)  # fmt: skip
def test_captions_worked_by_hand(first: str, second: str, kept_one: str, kept_two: str) -> None:
    assert shared(first, second) == (kept_one, kept_two)


def longest(first: list[int], second: list[int]) -> int:
    @cache
    def length(i: int, j: int) -> int:
        if i == len(first) or j == len(second):
            return 0
        if first[i] == second[j]:
            return 1 + length(i + 1, j + 1)
        return max(length(i + 1, j), length(i, j + 1))

    return length(0, 0)


@settings(max_examples=300)
@given(sequences, sequences)
def test_both_sides_keep_the_same_longest_subsequence(first: list[int], second: list[int]) -> None:
    mask_one, mask_two = common_subsequence_mask(first, second)
    assert mask_one.shape == (len(first),)
    assert mask_two.shape == (len(second),)
    assert np.asarray(first)[mask_one].tolist() == np.asarray(second)[mask_two].tolist()
    assert mask_one.sum() == longest(first, second)


def test_special_tokens_are_always_kept_and_never_compared() -> None:
    first, second = common_subsequence_mask([0, 5, 6, 9, 9], [9, 7, 6], special=(0, 9))
    assert first.tolist() == [True, False, True, True, True]
    assert second.tolist() == [True, False, True]


def test_empty_sides() -> None:
    first, second = common_subsequence_mask([], [4, 5])
    assert first.shape == (0,)
    assert second.tolist() == [False, False]
    assert [m.tolist() for m in common_subsequence_mask([], [4, 5], compat=True)] == [[], [False, False]]


def test_compat_keeps_a_token_whose_digits_occur_in_another() -> None:
    """12 is not in the other caption, but 1 and 2 are, in order, in 102."""
    assert [m.tolist() for m in common_subsequence_mask([7, 12], [7, 102])] == [[True, False], [True, False]]
    assert [m.tolist() for m in common_subsequence_mask([7, 12], [7, 102], compat=True)] == [
        [True, True],
        [True, False],
    ]


def test_compat_drops_a_shared_token_whose_digits_were_matched_elsewhere() -> None:
    """What one side matches must be in order, and the longer number wins."""
    assert common_subsequence_mask([1234, 55], [55, 1234], compat=True)[0].tolist() == [True, False]
    # of "31 18" and "8 31" the blank and the 1 after it are as long a match as the shared token
    assert common_subsequence_mask([31, 18], [8, 31])[0].tolist() == [True, False]
    assert common_subsequence_mask([31, 18], [8, 31], compat=True)[0].tolist() == [False, False]


@settings(max_examples=100)
@given(st.lists(st.integers(10, 99), max_size=7), st.lists(st.integers(10, 99), max_size=7))
def test_compat_of_equal_captions_keeps_all(first: list[int], second: list[int]) -> None:
    assert all(mask.all() for mask in common_subsequence_mask(first, first, compat=True))
    lengths = [len(mask) for mask in common_subsequence_mask(first, second, compat=True)]
    assert lengths == [len(first), len(second)]
