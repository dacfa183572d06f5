"""Flow, flicker, smoothness and amount of motion: known displacements, and videos that must score high and low."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from mova.errors import UsageError
from mova.judge.generator.flow import middle, optical_flow, warp
from mova.judge.generator.motion import measure_motion
from tests.support.constructed_videos import EXAMPLES, RATE

NOISE = gaussian_filter(np.random.default_rng(0).random((72, 96)), 1.5)
TEXTURE = ((NOISE - NOISE.min()) / np.ptp(NOISE)).astype(np.float32)
INSIDE = (slice(10, -10), slice(10, -20))
"""Without the edges, where what moves leaves the picture."""


@pytest.mark.parametrize("by", [(0.0, 0.0), (0.0, 0.5), (1.5, -2.3), (3.0, 4.0)])
def test_flow_finds_a_displacement(by: tuple[float, float]) -> None:
    moved = shift(TEXTURE, by, order=3, mode="nearest").astype(np.float32)
    flow = optical_flow(TEXTURE, moved)
    assert np.abs(flow[INSIDE] - by).mean() < 0.08
    assert np.abs(warp(moved, flow) - TEXTURE)[INSIDE].mean() < 0.02
    half = shift(TEXTURE, np.array(by) / 2, order=3, mode="nearest")
    assert np.abs(middle(TEXTURE[..., None], moved[..., None], flow)[..., 0] - half)[INSIDE].mean() < 0.02


def test_flow_without_texture_is_zero() -> None:
    flat = np.full((40, 30), 0.5, dtype=np.float32)
    assert np.array_equal(optical_flow(flat, flat), np.zeros((40, 30, 2)))
    assert np.isfinite(optical_flow(flat[:3, :3], flat[:3, :3] + 0.2)).all()


@pytest.mark.parametrize("axis", ["temporal_flickering", "motion_smoothness", "dynamic_degree"])
def test_constructed_videos_score_high_and_low(axis: str) -> None:
    name = {"temporal_flickering": "flicker", "motion_smoothness": "smoothness", "dynamic_degree": "dynamic"}[axis]
    high, low = (getattr(measure_motion(video, RATE), name) for video in EXAMPLES[axis])
    assert high > low + 0.01


def test_flicker_is_vbench_s_formula() -> None:
    video = EXAMPLES["temporal_flickering"][1]
    mean = np.mean([np.abs(a.astype(float) - b).mean() for a, b in pairwise(video)])
    assert measure_motion(video, RATE).flicker == pytest.approx((255 - mean) / 255)


def test_motion_is_measured_at_eight_frames_per_second() -> None:
    slow = EXAMPLES["dynamic_degree"][0]
    assert measure_motion(slow, 8.0).dynamic
    doubled = np.repeat(slow, 2, axis=0)  # the same at 16 frames per second
    assert measure_motion(doubled, 16.0).dynamic


def test_few_frames_and_other_sizes() -> None:
    frame = np.zeros((20, 20, 3), np.uint8)
    one, two = measure_motion([frame], 8.0), measure_motion([frame] * 2, 8.0)
    assert (one.flicker, one.smoothness, one.dynamic) == (None, None, None)
    assert (two.flicker, two.smoothness, two.dynamic) == (1.0, None, False)
    with pytest.raises(UsageError, match="size of the frames changes"):
        measure_motion([frame, frame[:10]], 8.0)
