"""Choose the frames of a video to show next to a caption, and read them again as pictures and model input.

Shape legend: S sentences, T sampled frames, F chosen frames, H W source pixels, C h w model input pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mova.errors import UsageError
from mova.models.tower_access import TowerAccess
from mova.models.two_tower.image_processor import resize
from mova.types import Frames, Pixels
from mova.video.isolated import Isolated
from mova.video.reader import read_times

PICTURE_PIXELS = 360
"""Shorter side of a frame in a picture."""


def choose_frames(relevance: npt.NDArray[np.float32], times: npt.NDArray[np.float64], count: int) -> list[int]:
    """Choose the most relevant frame of each sentence, then repeatedly the frame farthest from all chosen ones.

    If there are more sentences than `count`, the frames with the highest relevance stay.

    Args:
        relevance: (S, T) cosines, finite.
        times: (T,) seconds.
        count: maximum number of frames.

    Returns:
        At most `count` different indices, in order of time.

    Raises:
        UsageError: `count` is below 1.

    >>> choose_frames(np.array([[0.1, 0.9, 0.2, 0.3]]), np.array([0.0, 1.0, 2.0, 3.0]), 2)
    [1, 3]
    """
    if count < 1:
        raise UsageError(f"the number of frames to show must be at least 1, not {count}")
    best = relevance.argmax(axis=1)
    by_height = best[np.argsort(-relevance.max(axis=1), kind="stable")]
    chosen = list(dict.fromkeys(by_height.tolist()))[:count]
    while len(chosen) < min(count, len(times)):
        distance = np.abs(times[:, None] - times[chosen]).min(axis=1)
        distance[chosen] = -1.0
        chosen.append(int(distance.argmax()))
    return sorted(chosen)


def read_pictures(
    video: str | Path,
    times: npt.NDArray[np.float64],
    chosen: Sequence[int],
    pixels: int,
    decoder: Isolated | None = None,
) -> Pixels:
    """Read the chosen frames with a shorter side of `pixels`: uint8, (F, H, W, 3).

    Raises:
        VideoError: the file cannot be read.
    """
    read = read_times if decoder is None else decoder.read_times
    return read(video, times[list(chosen)], short_side=pixels).pixels


def reduced(pictures: Pixels, pixels: int) -> Pixels:
    """Resize frames (F, H, W, 3) to a shorter side of at most `pixels`, keeping the aspect ratio."""
    tall, wide = pictures.shape[1:3]
    share = pixels / min(tall, wide)
    if share >= 1:
        return pictures
    frames = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    small = resize(frames, (round(tall * share), round(wide * share)), "bilinear")
    return small.permute(0, 2, 3, 1).contiguous().numpy()


def read_inputs(
    tower: TowerAccess,
    video: str | Path,
    times: npt.NDArray[np.float64],
    chosen: Sequence[int],
    decoder: Isolated | None = None,
) -> tuple[Pixels, Tensor]:
    """Read the chosen frames as pictures (F, H, W, 3) and as input of a tower (F, C, h, w), neighbors included.

    Raises:
        VideoError: the file cannot be read.
    """
    offsets = np.arange(-tower.context, tower.context + 1)
    indices = np.clip(np.array(chosen)[:, None] + offsets, 0, len(times) - 1)
    unique = np.unique(indices)
    read = (read_times if decoder is None else decoder.read_times)(video, times[unique])
    rows = np.searchsorted(unique, indices)
    inputs = [tower.prepare(Frames(read.pixels[row], read.pts[row]))[tower.context] for row in rows]
    return read.pixels[rows[:, tower.context]], torch.stack(inputs)
