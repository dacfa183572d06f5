"""Frames of video LLMs beside transformers' own: patches and sizes of Qwen-VL, whole frames of the others."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPImageProcessorPil, Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from mova.errors import ModelError, VideoError
from mova.models.video_llm.frames import DEFAULTS, FrameProcessor, PatchRule, time_settings
from mova.types import Frames

PATCHES = {
    "patch_size": 14,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "min_pixels": 56 * 56,
    "max_pixels": 28 * 28 * 40,
}


def picture(height: int, width: int) -> np.ndarray:
    """Smooth, so that the order in which a filter rounds does not show."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [np.sin(x / (9 + i)) * np.cos(y / (7 + i)) for i in range(3)]
    return ((np.stack(waves, axis=-1) + 1) * 127).astype(np.uint8)


def test_patches_equal_those_of_the_library() -> None:
    image = picture(131, 190)
    size = {"shortest_edge": PATCHES["min_pixels"], "longest_edge": PATCHES["max_pixels"]}
    reference = Qwen2VLImageProcessorPil(patch_size=14, merge_size=2, temporal_patch_size=2, size=size)(
        [image], return_tensors="pt"
    )
    patches = FrameProcessor("Qwen2VLVideoProcessor", PATCHES)([np.stack([image, image])])
    assert torch.equal(patches["video_grid_thw"], reference["image_grid_thw"])
    gap = (patches["pixel_values_videos"] - reference["pixel_values"]).abs()
    assert float(gap.max()) < 0.06  # three steps of 255, normalised
    assert float(gap.mean()) < 0.005


@given(st.integers(20, 3000), st.integers(20, 3000))
def test_sizes_of_a_frame_equal_those_of_the_library(height: int, width: int) -> None:
    rule = PatchRule(14, 2, 2, 56 * 56, 28 * 28 * 1280, 10**9, volume=False)
    if max(height, width) / min(height, width) > 200:
        return
    expected = smart_resize(height, width, 28, 56 * 56, 28 * 28 * 1280)
    assert rule.target(4, height, width) == tuple(max(28, side) for side in expected)


@given(st.integers(1, 200), st.integers(40, 1200), st.integers(40, 1200))
def test_a_volume_stays_within_its_bounds(frames: int, height: int, width: int) -> None:
    rule = PatchRule(16, 2, 2, 4096, 32 * 32 * 768 * 64, 768, volume=True)
    tall, wide = rule.target(frames, height, width)
    assert tall % 32 == wide % 32 == 0
    even_frames = max(2, round(frames / 2) * 2)
    frames = max(frames, 2)
    budget = max(frames * min(768 * 32 * 32, rule.most // frames), rule.least)
    assert even_frames * tall * wide <= budget * 1.6 or (tall, wide) == (32, 32)
    assert abs(math.log((tall / wide) / (height / width))) < 1.2


def test_long_videos_share_the_tokens() -> None:
    rule = DEFAULTS["Qwen2VLVideoProcessor"][1]
    assert rule is not None
    short, long = rule.target(8, 1080, 1920), rule.target(768, 1080, 1920)
    assert math.prod(short) <= 768 * 28 * 28
    assert math.prod(long) * 768 / 2 <= 128_000 * 28 * 28 * 0.9
    with pytest.raises(VideoError, match="too long and thin"):
        rule.target(8, 10, 2010)


def test_an_odd_last_frame_is_shown_twice() -> None:
    made = FrameProcessor(
        "Qwen3VLVideoProcessor", {"patch_size": 8, "size": {"shortest_edge": 64, "longest_edge": 4096}}
    )
    video = np.stack([picture(32, 32)] * 3)
    odd, even = made([video]), made([np.concatenate([video, video[-1:]])])
    assert odd["video_grid_thw"][0, 0] == 2
    assert torch.equal(odd["pixel_values_videos"], even["pixel_values_videos"])


def test_frames_equal_those_of_the_library() -> None:
    settings = {"size": {"shortest_edge": 48}, "crop_size": {"height": 40, "width": 40}, "resample": 3}
    image = picture(96, 130)
    reference = CLIPImageProcessorPil(**settings)([image], return_tensors="pt")["pixel_values"]
    pixels = FrameProcessor("VideoLlavaVideoProcessor", settings)([np.stack([image, image])])["pixel_values_videos"]
    assert pixels.shape == (1, 2, 3, 40, 40)
    assert float((pixels[0, 1] - reference[0]).abs().mean()) < 0.005


def test_settings_are_read_and_unknown_ones_rejected() -> None:
    made = FrameProcessor("InternVLVideoProcessor", {"size": {"height": 448, "width": 448}, "do_normalize": False})
    assert made.image.target(10, 20) == (448, 448)
    assert made.image.std == (1.0, 1.0, 1.0)
    assert made.short_side(4, 100, 200) == 448
    assert FrameProcessor("VideoLlavaVideoProcessor", {"size": 32, "do_center_crop": False}).image.crop is None
    assert FrameProcessor("VideoLlavaVideoProcessor", {"do_resize": False, "crop_size": 8}).image.resize == "none"
    with pytest.raises(ModelError, match="resample 1"):
        FrameProcessor("InternVLVideoProcessor", {"resample": 1})
    with pytest.raises(ModelError, match="size"):
        FrameProcessor("InternVLVideoProcessor", {"size": {"longest_edge": 3}})


def test_times_of_frames_reach_the_families_that_use_them() -> None:
    pixels = np.zeros((3, 4, 4, 3), np.uint8)
    settings = time_settings(Frames(pixels, np.array([1.0, 1.5, 2.0])))
    assert settings["frames_indices"] == [1.0, 1.5, 2.0]
    assert len(pixels) / settings["total_num_frames"] * settings["fps"] == 2.0  # frames per second
    assert time_settings(Frames(pixels[:1], np.array([4.0])))["total_num_frames"] == 1.0
    assert time_settings(Frames(pixels[:2], np.array([4.0, 4.0])))["total_num_frames"] == 2.0
