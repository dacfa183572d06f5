"""Pairs of a video and a text, and padded batches of them.

Shape legend: V pairs, T frames, H height, W width (pixels), d width of vectors. Times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.types import Frames, FrameVectors


@dataclass(frozen=True, eq=False)
class Pair:
    """A video, or a clip of one, and a text about it.

    Attributes:
        id: of the manifest's row.
        group: pairs of one group show the same video, so their texts are no negatives of each other.
        frames: sampled, at least one; or the vectors that stand for them.
        text: the whole text.
        units: what of it is scored apart (sentences, say), at least one.
        granularity: how long video and text are, by name (`data/granularity.py`); empty where nobody asks.
    """

    id: str
    group: int
    frames: Frames | FrameVectors
    text: str
    units: tuple[str, ...]
    granularity: str = ""

    def __post_init__(self) -> None:
        if not len(self.frames) or not self.text.strip() or not self.units:
            raise ValueError(f"pair {self.id!r} needs frames, a text and its units")


@dataclass(frozen=True)
class BrokenVideo:
    """A video that could not be read, instead of its pair; nothing takes its place."""

    path: str
    cause: str


@dataclass(frozen=True, eq=False)
class Batch:
    """Pairs side by side, padded at the end of time.

    Attributes:
        frames: uint8, (V, T, H, W, 3), or vectors in floating point, (V, T, d); zeros where padded.
        frame_mask: bool, (V, T), true where a frame is real.
        texts, units: V texts and their units.
        groups: int64, (V,), see `Pair`.
        broken: videos that should have been here and could not be read.
        granularities: V names, see `Pair`; none where nobody asks.
    """

    frames: npt.NDArray[Any]
    frame_mask: npt.NDArray[np.bool_]
    texts: tuple[str, ...]
    units: tuple[tuple[str, ...], ...]
    groups: npt.NDArray[np.int64]
    broken: tuple[BrokenVideo, ...] = ()
    granularities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.texts)
        if self.frames.ndim not in (3, 5) or self.frame_mask.shape != self.frames.shape[:2]:
            raise ValueError(f"frames {self.frames.shape} and frame_mask {self.frame_mask.shape} do not agree")
        if not len(self.frames) == len(self.units) == len(self.groups) == count:
            raise ValueError(f"{len(self.frames)} videos, {count} texts, {len(self.units)} lists of units")
        if not self.frame_mask.any(axis=1).all():
            raise ValueError("a video of a batch needs at least one real frame")

    def __len__(self) -> int:
        return len(self.texts)
