"""Data shared by all arms: a warm backbone, and per seed training batches and galleries, all rendered once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks.common.warm_backbone import HELD_OUT, SIZE, warm_backbone
from mova.models.worlds_tiny.model import WorldsTiny
from mova.worlds.batches import WorldsBatches
from mova.worlds.galleries import EVENTS, RATE, Short, WorldsPairs, easy_gallery, hard_gallery, render_shorts
from mova.worlds.render import HELD_OUT_STYLE, TRAIN_STYLES
from mova.worlds.writer import World, render_world, sample_world

LONG_SECONDS = 620.0


@dataclass(frozen=True)
class Budget:
    """Sizes of the study: steps, videos per batch, and videos of the galleries."""

    warm_steps: int = 1000
    steps: int = 150
    videos: int = 16
    easy: int = 240
    groups: int = 60
    long: int = 16
    described: int = 120


@dataclass(frozen=True, eq=False)
class Gallery:
    """Videos and their captions; caption i belongs to video i."""

    shorts: list[Short]
    frames: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class LongVideo:
    """A video of more than ten minutes in a style that no arm was trained on."""

    world: World
    frames: npt.NDArray[np.uint8]
    times: npt.NDArray[np.float64]


class StoredBatches(Dataset[dict[str, Tensor]]):
    """Batches on disk, so that all arms of a seed use the same batches, rendered only once; those there are kept."""

    def __init__(self, source: WorldsPairs | WorldsBatches, folder: Path) -> None:
        self.folder, self.count = folder, len(source)
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(self.count):
            path = folder / f"{i}.pt"
            if not path.exists():
                torch.save(source[i], path.with_suffix(".part"))
                path.with_suffix(".part").replace(path)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Load a batch."""
        batch: dict[str, Tensor] = torch.load(self.folder / f"{index}.pt")
        return batch


class Stage:
    """The data of a seed, rendered when first used, and the warm backbone that all seeds share."""

    def __init__(self, seed: int, budget: Budget, folder: Path, warm: Path) -> None:
        self.seed, self.budget, self.folder = seed, budget, folder
        self._warm = warm_backbone(warm, budget.warm_steps, budget.videos)

    @cached_property
    def batches(self) -> StoredBatches:
        """Training batches."""
        source = WorldsPairs(1_000 + self.seed, self.budget.steps, self.budget.videos)
        return StoredBatches(source, self.folder / "batches")

    @cached_property
    def validation(self) -> dict[str, Gallery]:
        """Galleries for choosing weights and rules."""
        return self._galleries(0, self.budget.easy // 2, self.budget.groups // 2)

    @cached_property
    def test(self) -> dict[str, Gallery]:
        """Galleries for retrieval."""
        return self._galleries(1, self.budget.easy, self.budget.groups)

    @cached_property
    def long(self) -> list[LongVideo]:
        """Videos of more than ten minutes."""
        return [_long(HELD_OUT + self.seed, i) for i in range(self.budget.long)]

    @cached_property
    def described(self) -> Gallery:
        """Videos whose events all have a sentence."""
        rng = np.random.default_rng([HELD_OUT + self.seed, 2])
        shorts = easy_gallery(rng, self.budget.described, most=EVENTS, least=EVENTS)
        return Gallery(shorts, render_shorts(shorts, rng, TRAIN_STYLES))

    def backbone(self) -> WorldsTiny:
        """Return a fresh copy of the warm backbone."""
        return copy.deepcopy(self._warm)

    def _galleries(self, part: int, easy: int, groups: int) -> dict[str, Gallery]:
        rng = np.random.default_rng([HELD_OUT + self.seed, part])
        shorts = {"easy": easy_gallery(rng, easy), "hard": hard_gallery(rng, groups)}
        return {name: Gallery(videos, render_shorts(videos, rng, TRAIN_STYLES)) for name, videos in shorts.items()}


def ceiling(shorts: Sequence[Short]) -> tuple[float, float]:
    """Return the R@1 (percent, both directions) of an oracle that knows every fact and guesses among all matches."""
    truth = np.array([[video.satisfies(caption.lines) for caption in shorts] for video in shorts])
    return 100.0 * float((1 / truth.sum(axis=0)).mean()), 100.0 * float((1 / truth.sum(axis=1)).mean())


def _long(seed: int, index: int) -> LongVideo:
    world = sample_world(seed, LONG_SECONDS, HELD_OUT_STYLE, index=index)
    times = np.arange(0, world.duration, 1 / RATE)
    pixels = render_world(world, times, SIZE).transpose(0, 3, 1, 2)
    around = np.clip(np.arange(len(times))[:, None] + np.array([-1, 0, 1]), 0, len(times) - 1)
    return LongVideo(world, pixels[around].reshape(len(times), 9, SIZE, SIZE), times)
