"""Input adapter of Qwen3-VL-Embedding models: prompts of texts, beside stored vectors of windows.

Shape legend: N texts, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mova.data.batch import InputAdapter, StoredInputs
from mova.models.qwen_embedding.model import QwenEmbedding
from mova.models.qwen_embedding.prompts import Prompts
from mova.models.tower_access import require_stored


def input_adapter(model: QwenEmbedding, stored: bool) -> InputAdapter:
    """Return the adapter of a model.

    Raises:
        UsageError: pixels are read.
    """
    require_stored(model, stored)
    return PromptInputs(model.prompts)


class PromptInputs(StoredInputs):
    """Prompts of texts, and stored vectors of windows."""

    def __init__(self, prompts: Prompts) -> None:
        self.prompts = prompts

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokenize the prompts as inference does."""
        rows, dropped = self.prompts.read(texts)
        return *self.prompts.pad(rows), torch.tensor(dropped)
