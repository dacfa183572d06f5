"""Galleries of short worlds: what captions say is true of their own video, and groups differ as they claim."""

from __future__ import annotations

import numpy as np
import torch

from mova.worlds.batches import WorldsBatches
from mova.worlds.factors import differing
from mova.worlds.galleries import (
    EVENTS,
    MEMBERS,
    SAMPLES,
    WorldsPairs,
    easy_gallery,
    hard_gallery,
    render_shorts,
)


def test_every_sentence_is_true_of_its_own_event_and_of_no_other_kind() -> None:
    for short in easy_gallery(np.random.default_rng(0), 60):
        assert len(short.events) == EVENTS
        assert len(short.lines) == len(short.told) == len(short.sentences)
        truth = short.truth()
        assert truth.shape == (len(short.lines), (EVENTS + 1) * SAMPLES)
        for row, own in zip(truth, short.told, strict=True):
            shown = {int(i) // SAMPLES for i in np.flatnonzero(row)}
            assert own in shown
            assert all(short.events[i] == short.events[own] for i in shown)


def test_members_of_a_group_differ_in_what_is_told_and_nowhere_else() -> None:
    found = hard_gallery(np.random.default_rng(1), 25)
    for start in range(0, len(found), len(MEMBERS)):
        group = found[start : start + len(MEMBERS)]
        base = group[0]
        assert [short.member for short in group] == list(MEMBERS)
        for short in group[1:]:
            changed = [i for i in range(EVENTS) if short.events[i] != base.events[i]]
            assert len(changed) == (2 if short.member == "swap" else 1)
            assert set(changed) <= set(short.told)
            for i in changed:
                (name,) = differing(short.events[i], base.events[i])
                assert name in short.lines[short.told.index(i)].claim.mentioned
                assert name == "shape" or short.member != "object"
            assert short.shows(short.lines)
            assert not base.shows(short.lines)
            assert not short.shows(base.lines)


def test_the_same_seed_gives_the_same_gallery() -> None:
    def captions(seed: int) -> list[list[str]]:
        return [short.sentences for short in hard_gallery(np.random.default_rng(seed), 3)]

    assert captions(5) == captions(5)
    assert captions(5) != captions(6)


def test_samples_are_rendered_between_their_neighbours() -> None:
    shorts = easy_gallery(np.random.default_rng(2), 3)
    videos = render_shorts(shorts, np.random.default_rng(3), ["flat"], size=32)
    assert videos.shape == (3, (EVENTS + 1) * SAMPLES, 9, 32, 32)
    first, second = videos[:, ::2], videos[:, 1::2]
    assert np.array_equal(
        first[:, :, 3:], second[:, :, :6]
    )  # a sample's middle and right are the next one's left and middle
    assert (videos.reshape(3, -1).std(axis=1) > 5).all()


def test_batches_hold_the_told_sentences_of_their_source_in_order_of_time() -> None:
    pairs, source = WorldsPairs(7, 2, videos=3)[1], WorldsBatches(7, 2, 3, EVENTS, SAMPLES)[1]
    for v in range(3):
        told = sorted(index for index in source["paragraphs"][v].tolist() if index >= 0)
        assert int(pairs["unit_mask"][v].sum()) == len(told)
        for k, index in enumerate(told):
            own = source["input_ids"][index][source["attention_mask"][index].bool()]
            assert torch.equal(pairs["unit_ids"][v, k][pairs["unit_token_mask"][v, k]], own)
        whole = torch.cat([source["input_ids"][i][source["attention_mask"][i].bool()] for i in told])
        assert torch.equal(pairs["input_ids"][v][pairs["token_mask"][v]], whole)
        assert torch.equal(pairs["frames"][v], source["stacks"][source["video"] == v])
    assert pairs["frame_mask"].all()
    assert pairs["group"].tolist() == [0, 1, 2]
