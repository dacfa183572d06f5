"""The small two-tower model: attention, padding, streaming, saving."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from mova.errors import ModelError, UsageError
from mova.models.layers.attention import Block
from mova.models.registry import load
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.scoring.caption_score import EvidenceRule
from mova.text.units import UnitRule
from mova.types import Frames

WORDS = ["<pad>", "<unk>", "a", "red", "star", "rises"]


@pytest.fixture(scope="module")
def model() -> WorldsTiny:
    torch.manual_seed(0)
    config = WorldsTinyConfig(
        vocabulary=WORDS, factors={"shape": 3}, image_size=32, stem=[8, 16], hidden_size=16, heads=2, embedding_dim=12
    )
    return WorldsTiny(config).eval()


def frames(count: int, size: int = 32, seed: int = 0) -> Frames:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(count) / 2)


def test_explicit_attention_equals_that_of_pytorch() -> None:
    torch.manual_seed(0)
    block = Block(16, 4)
    x, mask = torch.randn(3, 7, 16), torch.rand(3, 7) < 0.7
    mask[:, 0] = True
    q, k, v = block.qkv(block.norm1(x)).view(3, 7, 3, 4, 4).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
    y = x + block.out(mixed.transpose(1, 2).reshape(3, 7, 16))
    expected = y + block.down(F.relu(block.up(block.norm2(y))))
    torch.testing.assert_close(block(x, mask), expected)


def test_longer_neighbours_in_a_batch_change_no_text(model: WorldsTiny) -> None:
    alone = model.encode_text("A red star.").pooled[0]
    beside = model.encode_text(["A red star.", "a red star rises a red star rises"]).pooled[0]
    torch.testing.assert_close(alone, beside)


def test_case_and_punctuation_change_no_text_and_unknown_words_are_reported(
    model: WorldsTiny, caplog: pytest.LogCaptureFixture
) -> None:
    assert torch.equal(model.encode_text("A RED, star!").pooled, model.encode_text("a red star").pooled)
    with caplog.at_level(logging.WARNING, logger="mova"):
        logging.getLogger("mova").propagate = True
        model.encode_text("a red elephant")
    assert "1 of 3 words are unknown" in caplog.text


def test_words_beyond_the_limit_are_counted(model: WorldsTiny) -> None:
    assert model.encode_text(["a " * 50, "a"]).dropped.tolist() == [2, 0]


def test_a_frame_sees_its_neighbours_and_no_further(model: WorldsTiny) -> None:
    clip = frames(6)
    changed = Frames(clip.pixels.copy(), clip.pts)
    changed.pixels[4] = 0
    before, after = model.encode_frames(clip), model.encode_frames(changed)
    differs = (before - after).abs().amax(dim=1) > 1e-6
    assert differs.tolist() == [False, False, False, True, True, True]


def test_streaming_equals_one_pass(model: WorldsTiny) -> None:
    clip = frames(9)
    expected = model.encode_frames(clip)
    parts = list(model.encode_stream([clip[:1], clip[1:2], clip[2:7], clip[7:]]))
    torch.testing.assert_close(torch.cat([vectors for _, vectors in parts]), expected)
    assert np.concatenate([times for times, _ in parts]).tolist() == clip.pts.tolist()


def test_larger_frames_are_resized_and_cropped_to_the_centre(model: WorldsTiny) -> None:
    flat = np.zeros((2, 64, 96, 3), dtype=np.uint8)
    flat[:, :, 16:80] = 200
    wide = model.preprocess(Frames(flat, np.arange(2.0)))
    assert wide.shape == (2, 3, 32, 32)
    assert wide.float().mean() > 190


def test_saving_and_loading_gives_the_same_vectors(model: WorldsTiny, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert (again.rule, again.units) == (EvidenceRule(), UnitRule())
    clip = frames(3)
    assert torch.equal(again.encode_frames(clip), model.encode_frames(clip))
    assert torch.equal(again.encode_text("a star").pooled, model.encode_text("a star").pooled)
    assert again.fingerprint() == model.fingerprint()


def test_calibration_is_saved(model: WorldsTiny, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    measured = load(tmp_path)
    measured.rule, measured.units = EvidenceRule(beta=0.5), UnitRule(keep_sentences=False)
    measured.relevance_threshold = 0.4
    measured.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert (again.rule, again.units, again.relevance_threshold) == (measured.rule, measured.units, 0.4)


def test_another_frame_rate_is_refused(model: WorldsTiny) -> None:
    with pytest.raises(UsageError, match="2 frames per second"):
        model.encode_video(frames(3), fps=1.0)


def test_a_text_without_words_is_an_unknown_word_and_no_text_is_refused(model: WorldsTiny) -> None:
    encoded = model.encode_text(["12:30.", "a red star"])
    assert torch.isfinite(encoded.pooled).all()
    assert encoded.mask.sum(dim=1).tolist() == [1, 3]
    with pytest.raises(UsageError, match="no text"):
        model.encode_text([])


def test_a_damaged_folder_is_refused(model: WorldsTiny, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    save_file({k: v for k, v in weights.items() if "text_tower.project" not in k}, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="2 weights are missing"):
        load(tmp_path)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be read"):
        load(tmp_path)
