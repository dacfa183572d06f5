"""X-CLIP against transformers' own processor and model, from the file to the vector."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoTokenizer
from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

import mova
from mova.errors import ModelError, UsageError
from mova.models.tiny_checkpoint import WIDTH, WINDOW
from mova.models.two_tower.model import TwoTower
from mova.models.x_clip.model import XClip
from mova.scoring.windows.rule import WindowRule
from mova.types import Frames
from mova.video.reader import stream
from tests.support.moving_square import write_moving_square

TEXTS = ["A man opens a door.", "Two red squares move left!", "tea", "Naïve café; it's raining?"]


@pytest.fixture(scope="module")
def model(tiny_x_clip: Path) -> XClip:
    loaded = mova.load(str(tiny_x_clip), precision="fp32", device="cpu")
    assert isinstance(loaded, XClip)
    return loaded


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven seconds of 96 x 64 with a square that moves over a ramp, at 4 frames per second."""
    return write_moving_square(tmp_path_factory.mktemp("film") / "film.mp4", count=44)


def by_transformers(checkpoint: Path, windows: list[np.ndarray]) -> torch.Tensor:
    processor = VideoMAEImageProcessorPil.from_pretrained(checkpoint)
    reference: Any = AutoModel.from_pretrained(checkpoint).eval()
    clips = [[Image.fromarray(picture) for picture in window] for window in windows]
    with torch.inference_mode():
        return reference.get_video_features(**processor(clips, return_tensors="pt")).pooler_output


def test_a_file_becomes_the_window_vectors_that_transformers_gives(model: XClip, tiny_x_clip: Path, film: Path) -> None:
    pixels = Frames.concatenate(list(stream(film, fps=1))).pixels
    assert len(pixels) == 11
    starts = [0, 2, 4, 6, 7]  # every two frames, and the last window ends with the video
    expected = by_transformers(tiny_x_clip, [pixels[k : k + WINDOW] for k in starts])
    video = model.encode_video(film)
    assert video.frames.shape == (5, WIDTH)
    assert video.windows is not None
    assert video.windows.tolist() == [[k, k + 4] for k in starts]
    assert video.times.tolist() == [0.0, 3.0, 5.0, 7.0, 8.5]
    torch.testing.assert_close(video.frames, expected, atol=0.02, rtol=0)
    apart = (expected[0] - expected[-1]).abs().max()
    assert (video.frames - expected).abs().max() < 0.05 * apart, "the difference must be far below that of windows"


def test_pixels_agree_with_the_processor_within_two_steps(model: XClip, tiny_x_clip: Path) -> None:
    processor = VideoMAEImageProcessorPil.from_pretrained(tiny_x_clip)
    rng = np.random.default_rng(0)
    for size in ((45, 80), (80, 45), (32, 32)):
        pixels = rng.integers(0, 256, (3, *size, 3), dtype=np.uint8)
        expected = processor([[Image.fromarray(p) for p in pixels]], return_tensors="pt")["pixel_values"][0]
        prepared = model.prepare_frames(Frames(pixels, np.arange(3.0)))
        actual = model.image_rule.normalize(prepared, torch.float32)
        assert (actual - expected).abs().max() <= 2.01 / 255 / min(model.image_rule.std)


def test_texts_become_the_vectors_that_transformers_gives(model: XClip, tiny_x_clip: Path) -> None:
    reference: Any = AutoModel.from_pretrained(tiny_x_clip).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_x_clip)
    with torch.inference_mode():
        inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
        expected = reference.get_text_features(**inputs).pooler_output
    torch.testing.assert_close(model.encode_text(TEXTS).pooled, expected, atol=1e-5, rtol=1e-4)


def test_a_window_depends_on_the_order_of_its_frames(model: XClip) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (WINDOW, 40, 40, 3), dtype=np.uint8)
    there = model.encode_video(Frames(pixels, np.arange(4.0))).frames
    back = model.encode_video(Frames(pixels[::-1].copy(), np.arange(4.0))).frames
    assert (there - back).abs().max() > 0.01 * there.abs().max()


def test_the_rate_sets_how_long_windows_are(model: XClip, film: Path) -> None:
    video = model.encode_video(film, fps=4)
    assert video.windows is not None
    assert np.allclose(video.windows[:, 1] - video.windows[:, 0], 1.0)
    assert len(video.windows) == (44 - 4) // 2 + 1
    part = model.encode_video(film, start=4.0, end=9.0)
    assert part.windows is not None
    assert part.windows.tolist() == [[4.0, 8.0], [5.0, 9.0]]


def test_a_short_video_and_a_picture_are_one_window_of_repeated_frames(model: XClip) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    short = model.encode_video(pixels, fps=1.0)
    whole = model.encode_video(Frames(pixels[[0, 0, 1, 1]], np.arange(4.0)))
    assert torch.equal(short.frames, whole.frames)
    assert short.windows is not None
    assert short.windows.tolist() == [[0.0, 2.0]]
    assert model.encode(Image.fromarray(pixels[0])).shape == (WIDTH,)
    assert model.encode([Image.fromarray(p) for p in pixels]).shape == (2, WIDTH)


def test_frames_in_memory_have_the_rate_of_their_times(model: XClip) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (8, 40, 40, 3), dtype=np.uint8)
    video = model.encode_video(Frames(pixels, np.arange(8.0) * 3))
    assert video.windows is not None
    assert video.windows.tolist() == [[0.0, 12.0], [6.0, 18.0], [12.0, 24.0]]


def test_a_saved_model_is_the_same_with_its_stride(model: XClip, film: Path, tmp_path: Path) -> None:
    model.window = WindowRule(WINDOW, 1)
    try:
        model.save_pretrained(tmp_path / "saved")
        expected = model.encode_video(film)
    finally:
        model.window = WindowRule(WINDOW, 2)
    again = mova.load(str(tmp_path / "saved"), precision="fp32", device="cpu")
    assert isinstance(again, XClip)
    assert again.window == WindowRule(WINDOW, 1)
    assert again.fingerprint() == model.fingerprint()
    assert torch.equal(again.encode_video(film).frames, expected.frames)
    assert "xclip" in (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")


def test_half_precision_points_the_same_way(tiny_x_clip: Path, model: XClip, film: Path) -> None:
    half = XClip.from_checkpoint(tiny_x_clip, precision="bf16", device="cpu")
    assert half.fingerprint() == model.fingerprint()
    cosines = torch.cosine_similarity(half.encode_video(film).frames, model.encode_video(film).frames)
    assert cosines.min() > 0.995


def test_what_the_family_lacks_is_said(model: XClip, tiny_x_clip: Path, tiny_clip: Path) -> None:
    from mova.models.families import input_adapter
    from mova.models.tower_access import open_tower

    with pytest.raises(UsageError, match="encodes windows of 4 frames, not single frames"):
        model.encode_frames(Frames(np.zeros((2, 8, 8, 3), np.uint8), np.arange(2.0)))
    with pytest.raises(UsageError, match="training on pairs reads single frames; store its vectors"):
        input_adapter(model)
    with pytest.raises(UsageError, match="use the method subsets"):
        open_tower(model)
    with pytest.raises(ModelError, match="not a dual encoder"):
        TwoTower.from_checkpoint(tiny_x_clip)
    with pytest.raises(ModelError, match="not a dual encoder"):
        XClip.from_checkpoint(tiny_clip)


def test_texts_that_are_too_long_are_cut_with_a_warning(model: XClip, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="mova"):
        texts = model.encode_text(["tea " * 200])
    assert texts.dropped[0] > 0
    assert "split captions into sentences" in caplog.text
