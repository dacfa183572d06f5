"""Input adapter of the small model for Worlds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mova.data.batch import InputAdapter, StoredVectorInputs
from mova.models.two_tower.text_processor import TextRule
from mova.models.worlds_tiny.model import WorldsTiny, center_square
from mova.types import Pixels


def input_adapter(model: WorldsTiny, stored: bool) -> InputAdapter:
    """Return the adapter of a model."""
    adapter = WorldsTinyInputs(model.config.image_size, model.tokenizer)
    return StoredVectorInputs(adapter) if stored else adapter


class WorldsTinyInputs(InputAdapter):
    """Inputs of the small model for Worlds: a frame comes with its neighbors; ends are repeated."""

    image_argument = "stacks"

    def __init__(self, size: int, tokenizer: Any) -> None:
        self.size, self.tokenizer = size, tokenizer

    def resize(self, pixels: Pixels) -> Pixels:
        """Resize and crop as inference does."""
        frames = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
        return center_square(frames, self.size).permute(0, 2, 3, 1).contiguous().numpy()

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokenize into whole words; a text without any word becomes one unknown word."""
        rule = TextRule(self.tokenizer.model_max_length)
        rows, dropped = rule.token_ids(self.tokenizer, texts)
        full = [row or [self.tokenizer.unk_token_id] for row in rows]
        return *rule.pad(full, self.tokenizer.pad_token_id, "right"), torch.tensor(dropped)

    def image_arguments(self, frames: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return `stacks`, uint8 (n, 9, h, w)."""
        video, at = mask.nonzero(as_tuple=True)
        last = mask.sum(dim=1)[video] - 1
        around = torch.stack([(at - 1).clamp(min=0), at, torch.minimum(at + 1, last)], dim=1)
        stacks = frames[video[:, None], around]
        return {self.image_argument: stacks.permute(0, 1, 4, 2, 3).flatten(1, 2).contiguous()}
