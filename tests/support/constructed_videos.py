"""Videos of known motion and consistency: a shape that moves before a textured background."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from mova.types import Pixels

SIDE, FRAMES, RATE = 96, 25, 8.0


def texture(seed: int) -> np.ndarray:
    """A smooth random background, float (H, W, 3) in [0, 255]."""
    noise = gaussian_filter(np.random.default_rng(seed).random((SIDE, SIDE, 3)), (6, 6, 0))
    return 60 + 120 * (noise - noise.min()) / np.ptp(noise)


def moving(
    places: np.ndarray,
    *,
    colors: tuple[tuple[int, int, int], ...] = ((230, 40, 40),),
    square: tuple[bool, ...] = (False,),
    backgrounds: tuple[int, ...] = (0,),
    light: np.ndarray | None = None,
) -> Pixels:
    """A shape at `places` (T,), from left to right; the looks of shape and background follow each other over time."""
    y, x = np.mgrid[:SIDE, :SIDE]
    frames = []
    for t, at in enumerate(places):
        share = t / len(places)
        color, is_square, seed = (looks[int(share * len(looks))] for looks in (colors, square, backgrounds))
        distance = np.maximum(abs(y - 48), abs(x - at)) if is_square else np.hypot(y - 48, x - at)
        cover = np.clip(12.5 - distance, 0, 1)[..., None]
        picture = texture(seed) * (1 - cover) + np.array(color) * cover
        frames.append(picture + (0 if light is None else light[t]))
    return np.clip(np.stack(frames), 0, 255).astype(np.uint8)


STEADY = np.linspace(14, 82, FRAMES)
"""A shape that moves at one speed."""
EXAMPLES: dict[str, tuple[Pixels, Pixels]] = {
    "subject_consistency": (
        moving(STEADY),
        moving(STEADY, colors=((230, 40, 40), (40, 60, 230)), square=(False, True)),
    ),
    "background_consistency": (moving(STEADY), moving(STEADY, backgrounds=(0, 1, 2, 3))),
    "temporal_flickering": (
        moving(np.full(FRAMES, 48.0)),
        moving(np.full(FRAMES, 48.0), light=np.where(np.arange(FRAMES) % 2, 25.0, -25.0)),
    ),
    "motion_smoothness": (moving(STEADY), moving(STEADY + np.where(np.arange(FRAMES) % 2, 6.0, -6.0))),
    "dynamic_degree": (moving(STEADY), moving(np.full(FRAMES, 48.0))),
}
"""Axis -> a video that must score high, and one that must score low."""
