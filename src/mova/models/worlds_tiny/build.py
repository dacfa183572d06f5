"""Build a small model for Worlds from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch

from mova.errors import UsageError
from mova.models.registry import load
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.worlds.batches import factor_sizes, vocabulary


@dataclass(frozen=True)
class WorldsTinyBuild:
    """Settings of model kind `worlds-tiny`; see `WorldsTinyConfig`. The vocabulary is that of Worlds."""

    image_size: int = 64
    """Side of a frame in pixels."""
    stem: Sequence[int] = (32, 64, 128)
    """Channels of the convolutional stages; each halves the side."""
    appearance: Sequence[int] = ()
    """Channels of as many stages that see the middle frame alone; none if empty."""
    hidden_size: int = 128
    """Width of both towers."""
    frame_layers: int = 3
    """Transformer blocks of the frame tower."""
    text_layers: int = 2
    """Transformer blocks of the text tower."""
    heads: int = 4
    """Attention heads."""
    embedding_dim: int = 192
    """Width of the shared space."""
    max_words: int = 48
    """Maximum number of words per text."""
    frame_rate: float = 2.0
    """Frames per second."""
    background: Sequence[str] = ()
    """Sentences that describe no video in particular; see `DualEncoder`."""
    relevance_threshold: float | None = None
    """See `DualEncoder`; section `finish` measures it again."""
    units: Mapping[str, int] | None = None
    """Settings of the rule that splits captions, see `UnitRule`; null: its defaults."""
    rule: Mapping[str, float | None] | None = None
    """Settings of the evidence rule, see `EvidenceRule`; section `finish` chooses it again."""
    start: str | None = None
    """A model of this family, by name or folder, whose weights are the first ones where it has them; null: random."""

    def build(self) -> WorldsTiny:
        """Return a model with random weights, or with those of `start` and random ones beside them.

        Raises:
            UsageError: `start` is another kind of model, or its sizes differ.
        """
        settings = {name: value for name, value in asdict(self).items() if name != "start"}
        model = WorldsTiny(WorldsTinyConfig(vocabulary=vocabulary(), factors=factor_sizes(), **settings))
        if self.start is not None:
            _take_weights(model, self.start)
        model.frame_tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model


def _take_weights(model: WorldsTiny, name: str) -> None:
    """Copy the weights of a model known by name or folder; all of them must fit."""
    other = load(name, device="cpu")
    if not isinstance(other, WorldsTiny):
        raise UsageError(f"model.start {name!r} is a {type(other).__name__}; worlds-tiny starts from its own kind only")
    mine, weights = model.state_dict(), other.state_dict()
    differ = [key for key, value in weights.items() if key not in mine or mine[key].shape != value.shape]
    if differ:
        raise UsageError(f"model.start {name!r} has other sizes ({differ[0]} and {len(differ) - 1} more)")
    model.load_state_dict({**mine, **weights})
