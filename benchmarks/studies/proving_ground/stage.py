"""What arms share: a warm backbone, and for each seed training batches and galleries. Everything is rendered once.

Shape legend: V videos, T samples a video.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks.common.warm_backbone import HELD_OUT, SIZE, warm_backbone
from mova.models.worlds_tiny.model import WorldsTiny
from mova.worlds.galleries import RATE, Short, WorldsPairs, easy_gallery, hard_gallery, render_shorts
from mova.worlds.render import HELD_OUT_STYLE, TRAIN_STYLES
from mova.worlds.writer import World, render_world, sample_world

LONG_SECONDS = 620.0


@dataclass(frozen=True)
class Budget:
    """How much of everything."""

    warm_steps: int = 1000
    steps: int = 150
    videos: int = 16
    easy: int = 240
    groups: int = 60
    long: int = 16


@dataclass(frozen=True, eq=False)
class Gallery:
    """Videos and their captions; caption i belongs to video i."""

    shorts: list[Short]
    frames: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class LongVideo:
    """A video of more than ten minutes in a style that no arm has seen."""

    world: World
    frames: npt.NDArray[np.uint8]
    times: npt.NDArray[np.float64]


class Kept(Dataset[dict[str, Tensor]]):
    """Batches on disk, so that every arm of a seed sees the very same ones without rendering them again."""

    def __init__(self, source: WorldsPairs, folder: Path) -> None:
        self.folder, self.count = folder, len(source)
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(self.count):
            torch.save(source[i], folder / f"{i}.pt")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """The batch as it was rendered."""
        batch: dict[str, Tensor] = torch.load(self.folder / f"{index}.pt")
        return batch


class Stage:
    """Everything that belongs to a seed: training data, galleries, and the warm backbone that all seeds share."""

    def __init__(self, seed: int, budget: Budget, folder: Path, warm: Path) -> None:
        self.seed, self.budget, self.folder = seed, budget, folder
        self._warm = warm_backbone(warm, budget.warm_steps, budget.videos)
        self.batches = Kept(WorldsPairs(1_000 + seed, budget.steps, budget.videos), folder / "batches")
        self.validation = self._galleries(0, budget.easy // 2, budget.groups // 2)
        self.test = self._galleries(1, budget.easy, budget.groups)
        self.long = [_long(HELD_OUT + seed, i) for i in range(budget.long)]

    def backbone(self) -> WorldsTiny:
        """A fresh copy of the warm backbone."""
        return copy.deepcopy(self._warm)

    def _galleries(self, part: int, easy: int, groups: int) -> dict[str, Gallery]:
        rng = np.random.default_rng([HELD_OUT + self.seed, part])
        shorts = {"easy": easy_gallery(rng, easy), "hard": hard_gallery(rng, groups)}
        return {name: Gallery(found, render_shorts(found, rng, TRAIN_STYLES)) for name, found in shorts.items()}


def ceiling(shorts: Sequence[Short]) -> tuple[float, float]:
    """R@1 (percent, both ways) of one who knows every fact and guesses among all that fit."""
    truth = np.array([[video.satisfies(caption.lines) for caption in shorts] for video in shorts])
    return 100.0 * float((1 / truth.sum(axis=0)).mean()), 100.0 * float((1 / truth.sum(axis=1)).mean())


def _long(seed: int, index: int) -> LongVideo:
    world = sample_world(seed, LONG_SECONDS, HELD_OUT_STYLE, index=index)
    times = np.arange(0, world.duration, 1 / RATE)
    pixels = render_world(world, times, SIZE).transpose(0, 3, 1, 2)
    around = np.clip(np.arange(len(times))[:, None] + np.array([-1, 0, 1]), 0, len(times) - 1)
    return LongVideo(world, pixels[around].reshape(len(times), 9, SIZE, SIZE), times)
