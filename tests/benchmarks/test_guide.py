"""The study of guided generation: what each frame may read, how clips are cut and read, and that arms are equal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")

from benchmarks.studies.guide import study
from benchmarks.studies.guide.clips import (
    MOST_WORDS,
    SENTENCES,
    SIDE,
    Clips,
    Pool,
    clip_pixels,
    draw_clips,
    draw_pool,
    event_of,
    shrink,
)
from benchmarks.studies.guide.encoders import (
    CUT,
    KEPT,
    LIMIT,
    ORDER,
    conditions,
    in_order,
    read_texts,
    sentence_of_words,
    tower,
)
from benchmarks.studies.guide.generator import (
    CLIP_FRAMES,
    PATCH,
    Conditions,
    Generator,
    Training,
    frames_of,
    patches,
    sample,
    train_generator,
)

TINY = Training(steps=2, batch=4, width=32, layers=1, sampling_steps=2)


@pytest.fixture(scope="module")
def pool() -> Pool:
    """A few rendered events."""
    return draw_pool(np.random.default_rng(0), 24)


@pytest.fixture(scope="module")
def clips(pool: Pool) -> Clips:
    """Clips of these events."""
    return draw_clips(np.random.default_rng(1), pool, 6)


def test_every_sentence_tells_all_factors_of_its_event(pool: Pool, clips: Clips) -> None:
    nouns = {
        "square": ("square", "box"),
        "cross": ("cross", "plus"),
        "ring": ("ring", "hoop"),
        "heart": ("heart",),
    }
    for events, sentences in zip(clips.events, clips.sentences, strict=True):
        assert len(sentences) == SENTENCES
        for i, sentence in zip(events, sentences, strict=True):
            assert any(noun in sentence.lower() for noun in nouns[event_of(pool.facts[i]).shape])
    assert all(len(prompt.split()) <= MOST_WORDS for prompt in clips.prompts)


def test_small_frames_are_means_of_blocks_without_the_edge() -> None:
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    frames[0, :8] = frames[0, :, -8:] = 255
    frames[0, 11:14, 14:17] = 200  # block of row 1, column 2
    frames[0, 8:9, 8:11] = 90
    small = shrink(frames)
    assert small[0, 1, 2].tolist() == [200] * 3
    assert small[0, 0, 0].tolist() == [30] * 3
    assert int((small > 0).sum()) == 6


def test_patches_are_squares_of_pixels_and_join_again() -> None:
    frames = torch.randn(2, CLIP_FRAMES, 3, SIDE, SIDE)
    cut = patches(frames)
    side = SIDE // PATCH
    torch.testing.assert_close(cut[1, 3, side + 2], frames[1, 3, :, PATCH : 2 * PATCH, 2 * PATCH : 3 * PATCH].flatten())
    torch.testing.assert_close(frames_of(cut.flatten(1, 2)), frames)


def test_a_word_changes_only_frames_that_it_is_open_to() -> None:
    torch.manual_seed(0)
    net = Generator(8, TINY).eval()
    torch.nn.init.normal_(net.leave.weight)
    opened = torch.zeros(1, CLIP_FRAMES, 3, dtype=torch.bool)
    opened[0, 4, 1] = True
    noisy, level, tokens = torch.randn(1, CLIP_FRAMES, 3, SIDE, SIDE), torch.tensor([500]), torch.randn(1, 3, 8)
    before = net(noisy, level, Conditions(tokens, opened))
    other = tokens.clone()
    other[0, [0, 2]] = torch.randn(2, 8)
    torch.testing.assert_close(net(noisy, level, Conditions(other, opened)), before)
    other[0, 1] = torch.randn(8)
    changed = (net(noisy, level, Conditions(other, opened)) - before).abs().amax(dim=(0, 2, 3, 4))
    assert [t for t in range(CLIP_FRAMES) if changed[t] > 1e-3] == [4]


def test_the_cut_tower_drops_what_the_stretched_one_reads(clips: Clips) -> None:
    cut, stretched = tower(LIMIT), tower()
    table = cut.text_tower.positions[0]
    torch.testing.assert_close(stretched.text_tower.positions[0, :KEPT], table[:KEPT])
    torch.testing.assert_close(stretched.text_tower.positions[0, KEPT::4], table[KEPT:])
    other = replace(clips, sentences=[[prompt[0], prompt[1], "Finally, a heart."] for prompt in clips.sentences])
    assert min(len(prompt[0].split()) + len(prompt[1].split()) for prompt in clips.sentences) >= LIMIT
    torch.testing.assert_close(read_texts(cut, clips), read_texts(cut, other))
    assert read_texts(cut, clips)[1].sum(dim=1).tolist() == [LIMIT] * len(clips.prompts)
    states, others = read_texts(stretched, clips)[0], read_texts(stretched, other)[0]
    assert not torch.allclose(states, others, atol=1e-3)


def test_frames_in_order_read_their_sentence_alone(clips: Clips) -> None:
    model = tower()
    read = conditions(read_texts(model, clips), clips, in_order(len(clips.prompts)))
    for prompt, opened, sentence in zip(clips.sentences, read.opened, sentence_of_words(clips), strict=True):
        lengths = [len(model.tokenizer(text)["input_ids"]) for text in prompt]
        assert opened.sum(dim=1).tolist() == [length for length in lengths for _ in range(2)]
        assert int(opened[:2].any(dim=0).nonzero().max()) == lengths[0] - 1
        assert sentence[: sum(lengths)].tolist() == [k for k in range(SENTENCES) for _ in range(lengths[k])]
    whole = conditions(read_texts(model, clips), clips, None)
    assert (whole.opened.sum(dim=2) == read.opened[:, ::2].sum(dim=(1, 2))[:, None]).all()


def test_arms_differ_in_text_alone() -> None:
    frames, losses = torch.randn(8, CLIP_FRAMES, 3, SIDE, SIDE).clamp(-1, 1), []
    for seed in (1, 2):
        tokens = torch.randn(8, 5, 6, generator=torch.Generator().manual_seed(seed))
        text = Conditions(tokens, torch.ones(8, CLIP_FRAMES, 5, dtype=torch.bool))
        seen: list[float] = []
        net = train_generator(frames, text, TINY, 0, lambda _, loss, seen=seen: seen.append(loss))
        losses.append(seen)
        assert torch.equal(sample(net, text, TINY, 3), sample(net, text, TINY, 3))
    assert losses[0][0] == losses[1][0], "the last layer starts at zero, so the first loss depends on clips and noise"
    assert losses[0][1] != losses[1][1]


def test_faithfulness_counts_each_factor_of_each_sentence(
    pool: Pool, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    coded = replace(pool, pixels=np.zeros_like(pool.pixels))
    coded.pixels[:, 0, 0, :4, 0] = pool.facts
    monkeypatch.setattr(study, "read", lambda reader, events: events[:, 0, 0, :4, 0].astype(np.int64))
    pixels = clip_pixels(coded, clips)
    read = study.faithful(None, pixels, coded, clips)  # type: ignore[arg-type]
    assert read == {"factors": [[100.0] * 4] * SENTENCES, "whole": [100.0] * SENTENCES}
    pixels[:3, 4, 0, 1, 0] += 7  # first frame of the third event: its color, in half of the clips
    read = study.faithful(None, pixels, coded, clips)  # type: ignore[arg-type]
    assert read["factors"] == [[100.0] * 4, [100.0] * 4, [100.0, 50.0, 100.0, 100.0]]
    assert read["whole"] == [100.0, 100.0, 50.0]


def test_an_arm_is_trained_rendered_and_read(tmp_path: Path) -> None:
    budget = replace(study.QUICK, events=24, held_out=12, clips=8, training=TINY)
    for name in (CUT, ORDER):
        result = study.run(name, study.Stage(0, budget, tmp_path))
        assert np.load(tmp_path / f"{name}.npy").shape == (study.SHOWN, CLIP_FRAMES, SIDE, SIDE, 3)
        assert len(study.by_sentence(result)) == SENTENCES
        assert all(0 <= share <= 100 for share in study.by_sentence(result))
