"""The warm backbone from which several studies start: a Worlds-tiny model trained on single clips and sentences.

It stands in for image-caption pretraining, and is the same for all seeds and arms.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import nn
from torch.utils.data import Dataset
from transformers import set_seed

from benchmarks.common.fitting import fit
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.train.objectives.base import Tensors
from mova.train.objectives.worlds import Grounding
from mova.train.trainer import TrainingData
from mova.worlds.batches import WorldsBatches, factor_sizes, vocabulary

HELD_OUT = 600_000
"""Smallest seed of test galleries; training uses small seeds."""
SIZE = 64
"""Width and height of frames, in pixels."""
STEPS, VIDEOS = 1000, 16
"""Default number of training steps, and videos per batch."""
_SEED, _RATE = 10, 1.5e-3
_TOWERS: dict[str, Any] = {
    "stem": [32, 64, 96, 128],
    "hidden_size": 128,
    "frame_layers": 2,
    "embedding_dim": 128,
    "max_words": 96,
}


def warm_backbone(
    folder: Path,
    steps: int = STEPS,
    videos: int = VIDEOS,
    *,
    size: int = SIZE,
    towers: Mapping[str, Any] | None = None,
    batches: Dataset[Any] | None = None,
) -> WorldsTiny:
    """Load the warm backbone from a folder; train it there if it is missing.

    Args:
        folder: where it is kept.
        steps, videos: number of training steps, and of videos per batch.
        size: width and height of frames, in pixels.
        towers: settings of `WorldsTinyConfig` that override those of the default towers.
        batches: training batches that are rendered already (default: `warm_batches`).
    """
    if not (folder / "model.safetensors").exists():
        set_seed(_SEED)
        settings = {**_TOWERS, **(towers or {})}
        config = WorldsTinyConfig(vocabulary=vocabulary(), factors=factor_sizes(), image_size=size, **settings)
        source = batches or warm_batches(steps, videos, size)
        training_data = TrainingData(source, lambda items: items[0], _encode)
        objective = Grounding(paragraph=0.0, factors=3.0)
        model = fit(WorldsTiny(config), objective, training_data, folder, _SEED, _RATE, workers=1)
        cast(WorldsTiny, model).save_pretrained(folder)
    return WorldsTiny.from_pretrained(folder).float()


def warm_batches(steps: int, videos: int, size: int) -> WorldsBatches:
    """Return the batches of single clips and sentences that the backbone is trained on."""
    return WorldsBatches(_SEED, steps, videos, image_size=size)


def _encode(model: nn.Module, batch: Tensors) -> dict[str, Any]:
    vectors: dict[str, Any] = model(
        stacks=batch["stacks"], input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    )
    return vectors
