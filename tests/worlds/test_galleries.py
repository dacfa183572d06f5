"""Galleries of short worlds: captions are true of their index video, and members of a group differ as documented."""

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


def test_every_sentence_is_true_of_its_own_event_only() -> None:
    for short in easy_gallery(np.random.default_rng(0), 60):
        assert len(short.events) == EVENTS
        assert len(short.lines) == len(short.captioned) == len(short.sentences)
        truth = short.truth()
        assert truth.shape == (len(short.lines), (EVENTS + 1) * SAMPLES)
        for row, index in zip(truth, short.captioned, strict=True):
            matches = {int(i) // SAMPLES for i in np.flatnonzero(row)}
            assert index in matches
            assert all(short.events[i] == short.events[index] for i in matches)


def test_members_of_a_group_differ_only_in_what_the_caption_mentions() -> None:
    shorts = hard_gallery(np.random.default_rng(1), 25)
    for start in range(0, len(shorts), len(MEMBERS)):
        group = shorts[start : start + len(MEMBERS)]
        base = group[0]
        assert [short.member for short in group] == list(MEMBERS)
        for short in group[1:]:
            changed = [i for i in range(EVENTS) if short.events[i] != base.events[i]]
            assert len(changed) == (2 if short.member == "swap" else 1)
            assert set(changed) <= set(short.captioned)
            for i in changed:
                (name,) = differing(short.events[i], base.events[i])
                assert name in short.lines[short.captioned.index(i)].claim.mentioned
                assert name == "shape" or short.member != "object"
            assert short.satisfies(short.lines)
            assert not base.satisfies(short.lines)
            assert not short.satisfies(base.lines)


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
    )  # middle and right frame of a sample = left and middle frame of the next
    assert (videos.reshape(3, -1).std(axis=1) > 5).all()


def test_batches_hold_the_sentences_of_their_source_in_order_of_time() -> None:
    pairs, source = WorldsPairs(7, 2, videos=3)[1], WorldsBatches(7, 2, 3, EVENTS, SAMPLES)[1]
    for v in range(3):
        sentences = sorted(index for index in source["paragraphs"][v].tolist() if index >= 0)
        assert int(pairs["unit_mask"][v].sum()) == len(sentences)
        for k, index in enumerate(sentences):
            expected = source["input_ids"][index][source["attention_mask"][index].bool()]
            assert torch.equal(pairs["unit_ids"][v, k][pairs["unit_token_mask"][v, k]], expected)
        ids = torch.cat([source["input_ids"][i][source["attention_mask"][i].bool()] for i in sentences])
        assert torch.equal(pairs["input_ids"][v][pairs["token_mask"][v]], ids)
        assert torch.equal(pairs["frames"][v], source["stacks"][source["video"] == v])
    assert pairs["frame_mask"].all()
    assert pairs["group"].tolist() == [0, 1, 2]
