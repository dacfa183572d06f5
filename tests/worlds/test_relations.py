"""Relation galleries: the facts of moments, and sentences that name one value."""

from __future__ import annotations

import numpy as np

from mova.worlds.captions import words
from mova.worlds.factors import FACTORS
from mova.worlds.relations import relation_clips, value_sentences


def test_clips_have_the_facts_of_events() -> None:
    stacks, facts = relation_clips(np.random.default_rng(0), 40, ("flat",), size=32)
    assert stacks.shape == (40, 9, 32, 32)
    assert stacks.std(axis=(1, 2, 3)).min() > 1
    assert set(facts) == set(FACTORS)
    for name, row in facts.items():
        assert row.shape == (40,)
        assert row.max() < len(FACTORS[name])
    alone = facts["relation"] < 0
    assert 0 < alone.sum() < 40
    assert np.array_equal(alone, facts["shape2"] < 0)
    again = relation_clips(np.random.default_rng(0), 40, ("flat",), size=32)[0]
    assert np.array_equal(stacks, again)


def test_sentences_name_their_value_and_no_value_outside_the_named() -> None:
    named = {"colour": ["black", "white"], "place": ["sea", "room"], "shape": ["star", "heart", "triangle"]}
    rows = value_sentences(np.random.default_rng(1), "colour", named["colour"], named, count=6)
    assert [len(row) for row in rows] == [6, 6]
    for color, row in zip(named["colour"], rows, strict=True):
        for sentence in row:
            assert color in words(sentence)
            assert not {"circle", "square", "ring", "cross", "disc", "red", "blue"} & set(words(sentence))


def test_every_factor_has_sentences() -> None:
    for factor in ("shape", "colour", "size", "motion", "place", "count", "relation"):
        rows = value_sentences(np.random.default_rng(2), factor, FACTORS[factor], count=2)
        assert len(rows) == len(FACTORS[factor])
        assert len({sentence for row in rows for sentence in row}) == 2 * len(rows)
