"""A small encoder with a meaning that tests can compute by hand: it sees colours, and knows their names."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mova.models.encoder import DualEncoder, TextEmbedding
from mova.models.inputs.windows import WindowReading
from mova.scoring.windows.rule import WindowRule
from mova.types import Frames
from mova.video.writer import write_mp4

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 50),
    "blue": (30, 50, 220),
    "yellow": (230, 220, 40),
    "magenta": (210, 40, 200),
    "cyan": (40, 210, 210),
    "white": (235, 235, 235),
    "black": (20, 20, 20),
}
NAMES = tuple(COLOURS)
_PALETTE = np.array(list(COLOURS.values()), dtype=np.float32)


class ColourEncoder(DualEncoder):
    """Frame vector: nearness of the mean colour to each named one. Text vector: the named colours.

    Args:
        width: longer vectors, the rest zeros.
        seconds_per_frame: how long encoding takes at least.
    """

    background = ("nothing in particular",)
    relevance_threshold = 0.7

    def __init__(self, rate: float = 4.0, variant: str = "a", width: int = 8, seconds_per_frame: float = 0.0) -> None:
        self.name = f"colours-{variant}"
        self.frame_rate = rate
        self.variant = variant
        self.width = width
        self.seconds_per_frame = seconds_per_frame
        self.frames_seen = 0

    @property
    def embedding_dim(self) -> int:
        return self.width

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.variant}-{self.width}".encode()).hexdigest()

    def encode_frames(self, frames: Frames) -> Tensor:
        self.frames_seen += len(frames)
        time.sleep(self.seconds_per_frame * len(frames))
        return self._colours(frames.pixels)

    def _colours(self, pixels: np.ndarray) -> Tensor:
        mean = pixels.reshape(len(pixels), -1, 3).mean(axis=1, dtype=np.float32)
        far = ((mean[:, None, :] - _PALETTE) ** 2).sum(axis=2)
        return self._wide(np.exp(-far / 60.0**2) + 1e-4)

    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        texts_list = [texts] if isinstance(texts, str) else list(texts)
        vectors = np.zeros((len(texts_list), len(NAMES)), dtype=np.float32)
        for row, text in zip(vectors, texts_list, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                if word in COLOURS:
                    row[NAMES.index(word)] += 1
        vectors[vectors.sum(axis=1) == 0] = 1.0
        wide = self._wide(vectors)
        return TextEmbedding(
            pooled=wide,
            tokens=wide[:, None],
            mask=torch.ones(len(texts_list), 1, dtype=torch.bool),
            dropped=np.zeros(len(texts_list), dtype=np.int64),
        )

    def _wide(self, vectors: np.ndarray) -> Tensor:
        padded = np.zeros((len(vectors), self.width), dtype=np.float32)
        padded[:, : vectors.shape[1]] = vectors
        return torch.from_numpy(padded)


class ColourWindows(WindowReading, ColourEncoder):
    """Window vector: the mean of the frame vectors of a `ColourEncoder`; two seconds, every second."""

    def __init__(self, frames: int = 8, stride: int = 4, rate: float = 4.0) -> None:
        super().__init__(rate, "windows")
        self.window = WindowRule(frames, stride)

    def prepare_frames(self, frames: Frames) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(frames.pixels[:, :8, :8]))

    def encode_windows(self, windows: Tensor, rate: float) -> Tensor:
        return self._colours(windows.flatten(0, 1).numpy()).unflatten(0, windows.shape[:2]).mean(dim=1)


def write_colours(
    path: Path, parts: Sequence[tuple[str, float]], *, fps: float = 8.0, size: tuple[int, int] = (48, 64)
) -> Path:
    """Write an mp4 that shows one plain colour after another, each for the given seconds; create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stills = [
        np.broadcast_to(np.array(COLOURS[name], dtype=np.uint8), (round(seconds * fps), *size, 3))
        for name, seconds in parts
    ]
    return write_mp4(path, stills, fps=fps, preset="ultrafast")


def draw_parts(rng: np.random.Generator, count: int, longest: float = 4.0) -> list[tuple[str, float]]:
    """Random colours; neighbours differ, and each lasts a multiple of a quarter of a second."""
    parts: list[tuple[str, float]] = []
    while len(parts) < count:
        name = NAMES[rng.integers(len(NAMES))]
        if not parts or parts[-1][0] != name:
            parts.append((name, float(rng.integers(4, int(longest * 4) + 1)) / 4))
    return parts
