"""What arms share: a warm backbone, and for each seed training batches and galleries. Everything is rendered once.

Shape legend: V videos, T samples a video.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import set_seed

from benchmarks.studies.proving_ground.fitting import fit
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.train.objectives.base import Tensors
from mova.train.objectives.worlds import Grounding
from mova.train.trainer import TrainingData
from mova.worlds.batches import WorldsBatches, factor_sizes, vocabulary
from mova.worlds.galleries import RATE, Short, WorldsPairs, easy_gallery, hard_gallery, render_shorts
from mova.worlds.render import HELD_OUT_STYLE, TRAIN_STYLES
from mova.worlds.writer import World, render_world, sample_world

HELD_OUT = 600_000
"""Seeds of galleries lie from here on; training draws from small seeds."""
LONG_SECONDS = 620.0
SIZE = 64
TOWERS: dict[str, Any] = {
    "stem": [32, 64, 96, 128],
    "hidden_size": 128,
    "frame_layers": 2,
    "embedding_dim": 128,
    "max_words": 96,
}
WARM_SEED, WARM_RATE = 10, 1.5e-3


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
        self._warm = warm_backbone(budget, warm)
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


def warm_backbone(budget: Budget, folder: Path) -> WorldsTiny:
    """A backbone trained on single clips and sentences: the surrogate of image-caption pretraining, one for all."""
    if not (folder / "model.safetensors").exists():
        set_seed(WARM_SEED)
        config = WorldsTinyConfig(vocabulary=vocabulary(), factors=factor_sizes(), image_size=SIZE, **TOWERS)
        source = WorldsBatches(WARM_SEED, budget.warm_steps, budget.videos)
        training_data = TrainingData(source, lambda items: items[0], _encode)
        objective = Grounding(paragraph=0.0, factors=3.0)
        model = fit(WorldsTiny(config), objective, training_data, folder, WARM_SEED, WARM_RATE, workers=1)
        cast(WorldsTiny, model).save_pretrained(folder)
    return WorldsTiny.from_pretrained(folder).float()


def _encode(model: nn.Module, batch: Tensors) -> dict[str, Any]:
    found: dict[str, Any] = model(
        stacks=batch["stacks"], input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    )
    return found


def _long(seed: int, index: int) -> LongVideo:
    world = sample_world(seed, LONG_SECONDS, HELD_OUT_STYLE, index=index)
    times = np.arange(0, world.duration, 1 / RATE)
    pixels = render_world(world, times, SIZE).transpose(0, 3, 1, 2)
    around = np.clip(np.arange(len(times))[:, None] + np.array([-1, 0, 1]), 0, len(times) - 1)
    return LongVideo(world, pixels[around].reshape(len(times), 9, SIZE, SIZE), times)
