"""Render scripts and encode them as frozen frame vectors, with an artifact that marks generated videos.

Shape legend: V videos, T samples per video, d width of frame vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mova.models.worlds_tiny.model import WorldsTiny
from mova.worlds.galleries import Short, render_shorts
from mova.worlds.render import TRAIN_STYLES

Pixels = npt.NDArray[np.uint8]
LEVELS = 8
"""Number of levels per channel in a generated video."""
STRIPES = 50.0
"""Amplitude of its stripes, on a scale of 255."""
_BATCH = 32


@torch.no_grad()
def film(
    shorts: Sequence[Short], rng: np.random.Generator, towers: Sequence[WorldsTiny], generated: bool = False
) -> list[Tensor]:
    """Render videos, with the artifact if generated, and encode them with several towers.

    Returns:
        One tensor (V, T, d) per tower; frames are not kept.
    """
    parts: list[list[Tensor]] = [[] for _ in towers]
    for start in range(0, len(shorts), _BATCH):
        pixels = render_shorts(shorts[start : start + _BATCH], rng, TRAIN_STYLES, towers[0].config.image_size)
        if generated:
            pixels = add_artifact(pixels, rng)
        stacks = torch.from_numpy(pixels)
        for vectors, tower in zip(parts, towers, strict=True):
            vectors.append(tower.image_features(stacks.flatten(0, 1)).unflatten(0, stacks.shape[:2]))
    return [torch.cat(vectors) for vectors in parts]


def add_artifact(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Add a look that no real video has: few levels, and diagonal stripes with a random phase and width per video.

    Args:
        pixels: (V, T, C, h, w).
        rng: draws the stripes.
    """
    rows, columns = np.indices(pixels.shape[-2:], dtype=np.float32)
    result = np.empty_like(pixels)
    for video, source in zip(result, pixels, strict=True):
        wave = 2 * np.pi * ((rows + columns) / rng.uniform(3.5, 6.0) + rng.random())
        striped = source + STRIPES * np.sin(wave)
        step = 255.0 / (LEVELS - 1)
        video[:] = np.clip(np.rint(np.rint(striped / step) * step), 0, 255).astype(np.uint8)
    return result
