"""Build a Qwen3-VL-Embedding model from a recipe, and say what the family does not support."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from mova.errors import UsageError
from mova.models.qwen_embedding.model import QwenEmbedding
from mova.models.tower_access import refuse_windows as refuse_windows


@dataclass(frozen=True)
class QwenEmbeddingBuild:
    """Settings of model kind `qwen-vl-embedding`."""

    source: str
    """A checkpoint: a name on the Hub or a folder."""

    def build(self) -> QwenEmbedding:
        """Read the checkpoint in float32 on the CPU."""
        return QwenEmbedding.from_checkpoint(self.source, precision="fp32", device="cpu")


def refuse_pairs(model: QwenEmbedding, stored: bool) -> NoReturn:
    """Raise: recipes read single frames.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        f"{model.name}: encodes windows of {model.window.frames} frames, and training on pairs reads single frames; "
        "train an encoder of pictures"
    )
