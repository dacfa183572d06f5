"""Training batches are deterministic, and their truth matches the symbolic truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mova.worlds.batches import WorldsBatches, factor_sizes, holds_matrix, label_matrix, vocabulary
from mova.worlds.captions import Claim, describe, holds
from mova.worlds.factors import FACTORS, sample_event


@pytest.fixture(scope="module")
def batches() -> WorldsBatches:
    return WorldsBatches(seed=5, batches=4, videos=4, events=5, stacks=3, image_size=32)


def test_a_batch_depends_only_on_seed_and_index(batches: WorldsBatches) -> None:
    first, again = batches[1], WorldsBatches(5, 9, videos=4, events=5, stacks=3, image_size=32)[1]
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["stacks"], batches[2]["stacks"])


def test_shapes_are_as_documented(batches: WorldsBatches) -> None:
    batch = batches[0]
    frames, sentences = 4 * (5 + 1) * 3, 2 * 4 * 5
    assert batch["stacks"].shape == (frames, 9, 32, 32)
    assert batch["stacks"].dtype == torch.uint8
    assert batch["positive"].shape == batch["truth"].shape == (frames, sentences)
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert len(batch["input_ids"]) == sentences
    assert torch.bincount(batch["video"]).tolist() == [6 * 3] * 4
    assert all(batch[f"label_{name}"].max() < size for name, size in factor_sizes().items())


def test_positives_are_true_negatives_are_false_and_fillers_have_no_sentence(batches: WorldsBatches) -> None:
    for i in range(4):
        batch = batches[i]
        assert (batch["positive"] <= batch["truth"]).all()
        captioned = batch["positive"].any(dim=1)
        assert captioned.sum() == 20 * 3
        assert not batch["truth"][~captioned].any()
        clips = torch.arange(20).repeat_interleave(3)
        assert not batch["truth"][torch.arange(60), 20 + clips].any()
        assert (batch["label_shape"][~captioned] == -1).all()


def test_consecutive_stacks_share_frames_inside_a_clip(batches: WorldsBatches) -> None:
    stacks = batches[0]["stacks"].view(24, 3, 3, 3, 32, 32)
    assert torch.equal(stacks[:, 0, 1:], stacks[:, 1, :2])
    assert torch.equal(stacks[:, 1, 1:], stacks[:, 2, :2])


def test_no_word_is_unknown_and_padding_is_masked(batches: WorldsBatches) -> None:
    batch = batches[3]
    real = batch["attention_mask"].bool()
    assert (batch["input_ids"][real] > 1).all()
    assert (batch["input_ids"][~real] == 0).all()
    assert len(set(vocabulary())) == len(vocabulary())


def test_paragraphs_describe_their_own_video(batches: WorldsBatches) -> None:
    batch = batches[2]
    for v, row in enumerate(batch["paragraphs"].tolist()):
        captioned = [k for k in row if k >= 0]
        assert 1 <= len(captioned) <= 2
        assert all(k // 5 == v for k in captioned)
    assert batch["paragraph_truth"].diagonal().all()


def test_truth_of_all_pairs_equals_the_truth_of_each_pair() -> None:
    rng = np.random.default_rng(0)
    events = [sample_event(rng) for _ in range(60)]
    claimed = [sample_event(rng) for _ in range(60)]
    mentions = [describe(event, rng, [f for f in FACTORS if rng.random() < 0.15]).mentioned for event in claimed]
    mentioned = np.array([[factor in s for factor in FACTORS] for s in mentions])
    expected = [[holds(real, Claim(e, s)) for e, s in zip(claimed, mentions, strict=True)] for real in events]
    result = holds_matrix(events, claimed, mentioned)
    assert result.tolist() == expected
    assert 0.01 < result.mean() < 0.5


def test_labels_are_indices_of_values() -> None:
    event = sample_event(np.random.default_rng(1))
    row = label_matrix([event])[0]
    assert FACTORS["shape"][row[0]] == event.shape
    assert (event.relation is None) == (row[list(FACTORS).index("relation")] == -1)
