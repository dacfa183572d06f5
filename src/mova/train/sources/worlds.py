"""Data of kind `worlds`: batches rendered while training."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from mova.train.objectives.base import Tensors
from mova.train.sources.base import RunContext
from mova.train.trainer import TrainingData
from mova.worlds.batches import WorldsBatches

MODEL_INPUTS = ("stacks", "input_ids", "attention_mask")


@dataclass(frozen=True)
class WorldsSource:
    """Settings of data kind `worlds`; see `WorldsBatches`."""

    batches: int
    """Batches per epoch."""
    videos: int = 16
    """Videos per batch."""
    events: int = 6
    """Events per video, each a clip of its own."""
    stacks: int = 2
    """Samples per clip."""
    pairs: float = 0.5
    """Share of events that are in a minimal pair."""
    image_size: int = 64
    """Side of a frame in pixels."""
    frame_rate: float = 2.0
    """Samples per second; a sample comes with the neighbors at this rate."""
    max_words: int = 48
    """Maximum number of words per sentence."""

    def check(self) -> None:
        """Nothing can be wrong before rendering starts."""

    def build(self, run: RunContext) -> TrainingData:
        """See `DataSource`."""
        return TrainingData(WorldsBatches(seed=run.seed, **asdict(self)), only_item, encode_worlds)


def only_item(items: list[Any]) -> Any:
    """Return the only item of a list: the data set's items are whole batches."""
    (batch,) = items
    return batch


def encode_worlds(model: nn.Module, batch: Tensors) -> dict[str, Any]:
    """Run a model on the frames and sentences of a batch."""
    return dict(model(**{name: batch[name] for name in MODEL_INPUTS}))
