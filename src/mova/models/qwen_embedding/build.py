"""Build a Qwen3-VL-Embedding model from a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from mova.models.qwen_embedding.model import QwenEmbedding
from mova.models.tower_access import refuse_windows as refuse_windows


@dataclass(frozen=True)
class QwenEmbeddingBuild:
    """Settings of model kind `qwen-vl-embedding`. All its weights are frozen: use `mova` for heads around it."""

    source: str
    """A checkpoint: a name on the Hub or a folder."""

    def build(self) -> QwenEmbedding:
        """Read the checkpoint in float32 on the CPU."""
        return QwenEmbedding.from_checkpoint(self.source, precision="fp32", device="cpu")
