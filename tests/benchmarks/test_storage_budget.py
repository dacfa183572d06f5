"""Frames kept under a budget: each rule on videos whose best choice is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.studies import storage_budget
from benchmarks.studies.storage_budget import highest, keepers, medoids, novel, per_part, uniform
from mova.eval.tasks.long_galleries import clips_gallery
from mova.models.embeddings import VideoEmbedding


@pytest.fixture
def scenes() -> np.ndarray:
    """Three still scenes of different lengths."""
    return np.repeat(np.eye(4, dtype=np.float32)[:3], [2, 9, 5], axis=0)


def test_rules_that_look_keep_a_frame_of_every_scene(scenes: np.ndarray) -> None:
    assert novel(scenes, 3).tolist() == [0, 2, 11]
    assert {int(t > 1) + int(t > 10) for t in medoids(scenes, 3, seed=0)} == {0, 1, 2}
    assert len(medoids(scenes, 8, seed=0)) == 3, "equal frames are kept once"
    assert len(novel(scenes, 2)) <= 2


def test_worth_decides_within_parts_and_overall() -> None:
    worth = np.array([0.1, 0.9, 0.8, 0.7, 0.2, 0.3], np.float32)
    assert highest(worth, 2).tolist() == [1, 2]
    assert per_part(worth, 3).tolist() == [1, 2, 5]
    assert uniform(worth, 3).tolist() == [1, 3, 5]


def test_no_rule_keeps_more_than_its_budget() -> None:
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(50, 4)).astype(np.float32)
    worth = {name: rng.random(50).astype(np.float32) for name in (storage_budget.MASK, storage_budget.OPEN)}
    for name, keep in keepers(worth, frames, 7, seed=0).items():
        kept = keep()
        assert 0 < len(kept) <= 7, name
        assert len(set(kept.tolist())) == len(kept)
        assert ((kept >= 0) & (kept < 50)).all()


def test_all_frames_find_what_is_there_and_one_frame_does_not() -> None:
    vectors = torch.eye(30)
    clips = [VideoEmbedding(vectors[[i, i]], np.arange(2.0), duration=10.0) for i in range(30)]
    gallery = clips_gallery(clips, [f"{i}." for i in range(30)], videos=9, minutes=1)
    videos = [gallery.embedding(i).frames for i in range(9)]
    texts = [vectors[list(video.statements)] for video in gallery.videos]
    everything = storage_budget.figures(gallery, videos, [np.arange(len(v)) for v in videos], texts)
    assert (everything["found"], everything["kept"], everything["frames"]) == (100, 100, 12)
    first = storage_budget.figures(gallery, videos, [np.array([0])] * 9, texts)
    assert first["found"] == first["kept"] < 60
    assert first["R@1"] < everything["R@1"]
