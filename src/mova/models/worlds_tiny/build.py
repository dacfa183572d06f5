"""Build a small model for Worlds from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch

from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.worlds.batches import factor_sizes, vocabulary


@dataclass(frozen=True)
class WorldsTinyBuild:
    """Settings of model kind `worlds-tiny`; see `WorldsTinyConfig`. The vocabulary is that of Worlds."""

    image_size: int = 64
    """Side of a frame in pixels."""
    stem: Sequence[int] = (32, 64, 128)
    """Channels of the convolutional stages; each halves the side."""
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

    def build(self) -> WorldsTiny:
        """Return a model with random weights."""
        model = WorldsTiny(WorldsTinyConfig(vocabulary=vocabulary(), factors=factor_sizes(), **asdict(self)))
        model.frame_tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model
