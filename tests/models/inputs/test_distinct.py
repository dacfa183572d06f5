"""Frames that repeat are encoded once, with the same vectors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mova.models.inputs.distinct import Distinct
from mova.types import Frames


class Encoder:
    """Counts the frames that it encodes; the vector of a frame is its mean color."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, frames: Frames) -> Tensor:
        self.seen += len(frames)
        return torch.from_numpy(frames.pixels.mean(axis=(1, 2), dtype=np.float32))


def frames(values: list[int], side: int = 40) -> Frames:
    """Frames that differ in a single pixel, between the coarse ones, by their values."""
    pixels = np.full((len(values), side, side, 3), 7, np.uint8)
    pixels[:, 3, 5] = np.array(values, np.uint8)[:, None]
    return Frames(pixels, np.arange(len(values), dtype=np.float64))


def test_vectors_are_those_of_every_frame_for_any_runs_and_chunks() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        values = np.repeat(rng.integers(0, 3, 20), rng.integers(1, 5, 20)).tolist()
        every, encoder = frames(values), Encoder()
        distinct, parts, at = Distinct(encoder), [], 0
        while at < len(every):
            size = int(rng.integers(1, 9))
            parts.append(distinct(every[at : at + size]))
            at += size
        np.testing.assert_array_equal(torch.cat(parts), Encoder()(every))
        changes = 1 + int(np.sum(np.diff(values) != 0))
        assert encoder.seen == changes
        assert distinct.repeated == len(values) - changes


def test_another_size_is_another_frame() -> None:
    encoder = Encoder()
    distinct = Distinct(encoder)
    for side in (40, 48, 40):
        assert distinct(frames([1, 1], side)).shape == (2, 3)
    assert encoder.seen == 3


def test_no_frames_are_no_vectors() -> None:
    encoder = Encoder()
    assert len(Distinct(encoder)(frames([1])[:0])) == 0
