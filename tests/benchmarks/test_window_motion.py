"""Windows and single frames on motion: what the pairs differ in, and what each arm can see at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.studies.window_motion import ARMS, DRAWS, FRAMES, LONG, Encoder, of_ten, order_pair, share, train
from mova.models.registry import load
from mova.models.worlds_tiny.model import WorldsTiny
from mova.worlds.factors import differing


@pytest.fixture(scope="module")
def model() -> WorldsTiny:
    loaded = load("mova-worlds-tiny", device="cpu")
    assert isinstance(loaded, WorldsTiny)
    return loaded


@pytest.mark.parametrize("kind", ["motion", "opposite motion", "other fact"])
def test_the_clips_of_a_pair_differ_in_one_fact_and_in_nothing_else(kind: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        pair = DRAWS[kind](rng)
        (first,), (second,) = pair.clips
        (factor,) = differing(first.event, second.event)
        assert (factor == "motion") == (kind != "other fact")
        assert first[1:] == second[1:]
        assert len(first.times) == FRAMES
        assert 0 <= first.times[0] <= first.times[-1] <= first.duration
        assert pair.texts[0] != pair.texts[1]
        assert of_ten(pair)[0] == pair.texts[0]
        assert len(set(of_ten(pair))) == len(of_ten(pair))


@pytest.mark.parametrize("frames", [FRAMES, LONG])
def test_clips_in_another_order_have_the_same_frames_and_sentences(frames: int) -> None:
    pair = order_pair(np.random.default_rng(1), frames)
    assert pair.clips[0] == pair.clips[1][::-1]
    assert sum(len(part.times) for part in pair.clips[0]) == frames
    (a, b), (c, d) = (text.lower().split(" then, ") for text in pair.texts)
    assert (a, b) == (d, c)


def test_only_windows_know_the_order_of_their_frames(model: WorldsTiny) -> None:
    torch.manual_seed(0)
    clips = torch.randn(3, FRAMES, 10)
    for arm in ARMS:
        encoder = Encoder(model, 10, arm, width=8, hidden=16, shared=8).eval()
        with torch.no_grad():
            forward, backward = encoder.clips(clips), encoder.clips(clips.flip(1))
            long = torch.randn(LONG, 10)
            moments = encoder.moments(long)
            if arm == "windows":
                torch.testing.assert_close(moments[1:2], encoder.windows(long[None, 2 : 2 + FRAMES]))
                assert not torch.allclose(forward, backward, atol=1e-3)
            if arm == "frames":
                torch.testing.assert_close(forward, backward)
                repeated = encoder.windows(long[3].expand(1, FRAMES, -1))
                torch.testing.assert_close(moments[3:4], repeated)
        assert torch.equal(forward.norm(dim=-1).round(decimals=5), torch.ones(3))


def test_training_finds_what_tells_two_clips_apart(model: WorldsTiny) -> None:
    torch.manual_seed(0)
    ramp = torch.linspace(-1, 1, FRAMES)[:, None] * torch.ones(4)
    features = torch.stack([ramp, -ramp] * 8).half()
    ids, mask, _ = model.token_ids(["a star rises", "a star falls"] * 8)
    left = {}
    for arm in ("windows", "frames"):
        encoder = Encoder(model, 4, arm, width=16, hidden=32, shared=16)
        train(encoder, features, ids, mask, steps=40, seed=0)
        with torch.no_grad():
            clips, texts = encoder.eval().clips(features[:2].float()), encoder.texts(ids[:2], mask[:2])
            right = (clips * texts).sum(-1)
            left[arm] = share(right, (clips * texts.flip(0)).sum(-1))
    assert left == {"windows": 100.0, "frames": 50.0}


def test_ties_count_half() -> None:
    assert share(torch.tensor([1.0, 0.0, 0.5, 0.5]), torch.tensor([0.0, 1.0, 0.5, 0.5 + 1e-7])) == 50.0
