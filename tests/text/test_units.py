"""Splitting captions into units."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mova.errors import ModelError, UsageError
from mova.text.sentences import split_sentences
from mova.text.units import UnitRule, sentences_or_windows, split_units, windows


def numbered(count: int) -> str:
    return " ".join(f"w{i}" for i in range(count))


def test_short_sentences_are_not_split() -> None:
    text = "A man opens a door. Then, he pours tea!"
    assert split_units(text) == split_sentences(text)
    assert split_units(numbered(12)) == [numbered(12)]


@pytest.mark.parametrize(
    ("count", "bounds"),
    [
        (13, [(0, 8), (4, 12), (5, 13)]),
        (14, [(0, 8), (4, 12), (6, 14)]),
        (16, [(0, 8), (4, 12), (8, 16)]),
        (20, [(0, 8), (4, 12), (8, 16), (12, 20)]),
    ],
)
def test_windows_overlap_and_the_last_one_ends_at_the_end(count: int, bounds: list[tuple[int, int]]) -> None:
    words = numbered(count).split()
    assert split_units(numbered(count)) == [" ".join(words[a:b]) for a, b in bounds]


def test_only_the_long_sentence_of_a_caption_is_split() -> None:
    result = split_units(f"It is red. {numbered(13)}. It is blue.")
    assert [result[0], result[-1]] == ["It is red.", "It is blue."]
    assert len(result) == 5
    assert result[3].endswith("w12.")


def test_other_sizes_and_invalid_sizes() -> None:
    assert split_units("a b c d e", longest=3, window=2, stride=2) == ["a b", "c d", "d e"]
    assert split_units("a b c d e", longest=3, window=3, stride=1) == ["a b c", "b c d", "c d e"]
    for sizes in ((0, 0, 0), (12, 8, 0), (12, 8, 9), (7, 8, 4)):
        with pytest.raises(ValueError, match="stride <= window <= longest"):
            split_units("a", **dict(zip(("longest", "window", "stride"), sizes, strict=True)))
    with pytest.raises(UsageError, match="no words"):
        split_units(" ... ")


def test_a_rule_survives_a_round_trip_through_a_configuration() -> None:
    rule = UnitRule(14, 7, 3, keep_sentences=False)
    assert UnitRule.from_dict(rule.to_dict()) == rule
    assert UnitRule.from_dict(None) == UnitRule.from_dict({}) == UnitRule()
    for settings in ({"stride": 0}, {"shortest": 1}, {"window": "8"}):
        with pytest.raises(ModelError, match=r"unit rule|units"):
            UnitRule.from_dict(settings)


def test_separate_punctuation_is_not_a_word() -> None:
    text = "a - b - c - d - e - f - g - h - i - j - k - l"
    assert split_units(text) == [text]
    result = split_units(f"“ {text} — m »")
    assert result[0].startswith("“ a")
    assert result[-1].endswith("— m »")
    assert result[0].endswith("h")


def test_numbers_quotes_and_compounds_are_one_word() -> None:
    text = "at 3.50 o'clock Mr. Smith's well-known \"Don't!\" sign (size 2,5 x 1,000) falls upon the 21st man"
    result = split_units(text)
    assert result[0] == "at 3.50 o'clock Mr. Smith's well-known \"Don't!\" sign"
    assert all(word in text.split() for unit in result for word in unit.split())


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("一个男人打开门然后他倒茶给坐在窗边的女人喝完以后两个人一起走出房间", "一个男人打开门然后他倒茶给坐在窗"),
        (
            "男が部屋に入ってきてコーヒーを飲みながら窓の外を眺めているとき電話が鳴る",
            "男が部屋に入ってきてコーヒーを飲",
        ),
        ("他用3个redballs然后打开门倒茶给坐在窗边的女人喝完以后两个人", "他用3个redballs然后打开门倒茶给"),
    ],
)
def test_scripts_without_spaces(text: str, first: str) -> None:
    result = split_units(text)
    assert len(result) > 1
    assert result[0] == first
    assert all(unit in text for unit in result)
    assert text.endswith(result[-1])


def test_short_text_without_spaces_is_not_split_and_korean_has_spaces() -> None:
    assert split_units("一个男人打开门") == ["一个男人打开门"]
    korean = "한 남자가 문을 열고 들어와 차를 따른 다음 창가에 앉은 여자에게 천천히 건네준다"
    assert split_units(korean)[0] == " ".join(korean.split()[:8])


def test_marks_and_vowels_stay_with_their_letters() -> None:
    text = "ผู้ชายคนหนึ่งเปิดประตูแล้วเดินเข้าไปในห้องครัวเพื่อชงชาให้ผู้หญิงที่นั่งอยู่ข้างหน้าต่าง"
    result = split_units(text)
    assert len(result) > 1
    for unit in result:
        assert unit[0].isalnum(), "a combining mark may not begin a unit"
        assert unit[-1] not in "เแโใไ", "a vowel written first belongs to the letter after it"
    quoted = split_units("一二三四五六七八九十一二三四五六「七八九十一二三四五六七八九十」")
    assert not any(unit.endswith("「") for unit in quoted)


def test_only_text_without_punctuation_has_windows_instead_of_sentences() -> None:
    long = f"{numbered(30)}."
    assert sentences_or_windows(long) == [long]
    assert sentences_or_windows(f'He says "{numbered(30)}."') == [f'He says "{numbered(30)}."']
    assert sentences_or_windows(numbered(30)) == split_units(numbered(30))
    assert sentences_or_windows(numbered(12)) == [numbered(12)]
    assert sentences_or_windows(f"It is red. {numbered(13)}") == ["It is red.", *split_units(numbered(13))]
    assert sentences_or_windows("one event\nanother event") == ["one event", "another event"]


@example(["-", "門", "門", "門"], "", 1, 0, 0)
@given(
    st.lists(st.sampled_from(["a", "dog", "3.5", "(x)", "-", "門", "人走", "เปิด", "น้ำ", "「", "it's"]), max_size=60),
    st.sampled_from([" ", ""]),
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_units_cover_the_sentence_and_none_contains_another(
    parts: list[str], glue: str, stride: int, more: int, most: int
) -> None:
    text = glue.join(parts)
    with suppress(UsageError):
        (sentence,) = split_sentences(text)
        result = split_units(text, longest=stride + more + most, window=stride + more, stride=stride)
        ends: list[tuple[int, int]] = []
        at = 0
        for unit in result:
            if ends:  # words may repeat: a unit reaches beyond the one before
                at = max(at, ends[-1][1] + 1 - len(unit))
            begin = sentence.index(unit, at)
            ends.append((begin, begin + len(unit)))
            at = begin + 1
        assert ends[0][0] == 0
        assert ends[-1][1] == len(sentence) or sentence.endswith(result[-1])
        assert all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(ends))


@given(st.text(max_size=120))
def test_any_text_is_split_into_units_or_rejected(text: str) -> None:
    with suppress(UsageError):
        result = split_units(text)
        assert result
        assert all(any(c.isalnum() for c in unit) for unit in result)


@given(st.integers(1, 100), st.integers(1, 20), st.integers(1, 20))
def test_windows_cover_everything_with_full_length(n: int, length: int, stride: int) -> None:
    if stride > length:
        with pytest.raises(UsageError):
            windows(n, length, stride)
        return
    slices = windows(n, length, stride)
    assert sorted({i for window in slices for i in range(window.start, window.stop)}) == list(range(n))
    assert {window.stop - window.start for window in slices} == {min(n, length)}
    assert len({window.start for window in slices}) == len(slices)


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(UsageError, match="the text has 20,000 sentences or parts, at most 10,000"):
        split_units("A dog runs. " * 20_000)
    with pytest.raises(UsageError, match="the text has 1,000,000 characters"):
        split_units("x" * 10**6)
