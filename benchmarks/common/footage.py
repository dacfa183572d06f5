"""Vectors of frames and of texts in any number, for benchmarks of search: random and clustered, or real with noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from mova.search.evidence import VECTORS
from mova.search.storage.store import Store

DIM, SCENE, SCENES = 512, 6, 4000
"""Width, frames per scene, and different scenes."""
FRAME_NOISE, TEXT_NOISE = 0.5, 0.3
"""Length of the random vector that is added to a real frame, or to a real text, of length 1."""

_F32 = np.ndarray


class Footage:
    """Random vectors of frames and of texts."""

    dim = DIM

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.common = rng.normal(size=DIM).astype(np.float32)
        self.scenes = rng.normal(size=(SCENES, DIM)).astype(np.float32)

    def frames(self, count: int) -> _F32:
        """Return frames of one video, (T, d)."""
        which = np.repeat(self.rng.integers(0, SCENES, count // SCENE + 1), SCENE)[:count]
        noise = self.rng.standard_normal((count, DIM), dtype=np.float32)
        return _unit(self.common + 0.8 * self.scenes[which] + 0.5 * noise)

    def texts(self, count: int) -> _F32:
        """Return texts, (n, d): half are about a scene, half about nothing."""
        about = self.scenes[self.rng.integers(0, SCENES, count)] * (np.arange(count) % 2)[:, None]
        return _unit(0.5 * self.common + about + 2 * self.rng.standard_normal((count, DIM), dtype=np.float32))


class RealFootage:
    """Vectors of an index and of the background sentences of its model, with noise.

    Args:
        rng: draws stretches and noise.
        folder: of an index; its texts are those of `false_alarms.safetensors`, which `mova index` and searches write.
    """

    def __init__(self, rng: np.random.Generator, folder: Path) -> None:
        self.rng, self.folder = rng, folder
        store = Store(folder)
        contents = sorted({record.content for record in store.records().values()})
        self.videos = [frames.vectors for frames in store.fetch(contents).values()]
        self.dim = store.meta.dim
        self.sentences = load_file(folder / VECTORS)["vectors"]

    def frames(self, count: int) -> _F32:
        """Return frames of one video, (T, d): stretches of real ones."""
        parts: list[_F32] = []
        while sum(map(len, parts)) < count:
            video = self.videos[self.rng.integers(len(self.videos))]
            first = self.rng.integers(len(video))
            parts.append(video[first : first + SCENE])
        return self._noisy(np.concatenate(parts)[:count], FRAME_NOISE)

    def texts(self, count: int) -> _F32:
        """Return texts, (n, d)."""
        return self._noisy(self.sentences[self.rng.integers(0, len(self.sentences), count)], TEXT_NOISE)

    def _noisy(self, rows: _F32, length: float) -> _F32:
        return _unit(rows + length * _unit(self.rng.standard_normal(rows.shape, dtype=np.float32)))


def _unit(rows: _F32) -> _F32:
    unit: _F32 = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit
