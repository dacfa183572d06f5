"""Input adapter of two-tower models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mova.data.batch import InputAdapter, StoredVectorInputs
from mova.errors import UsageError
from mova.models.two_tower.checkpoint_encoder import CheckpointEncoder
from mova.models.two_tower.image_processor import ImageRule
from mova.models.two_tower.text_processor import TextRule
from mova.types import Pixels


def input_adapter(model: CheckpointEncoder, stored: bool) -> InputAdapter:
    """Return the adapter of a model.

    Raises:
        UsageError: pixels are read, and the checkpoint keeps each video's aspect ratio or encodes windows of frames.
    """
    if not stored and not model.window.is_picture:
        raise UsageError(
            f"{model.name}: encodes windows of {model.window.frames} frames, and training on pairs reads single "
            "frames; store its vectors with `mova data features`, and train its texts on them with --data.features"
        )
    if not stored and model.image_rule.resize in ("patches", "none") and model.image_rule.crop is None:
        raise UsageError(
            f"{model.name}: keeps each video's aspect ratio, so frames of one batch differ in size; "
            "train a checkpoint with a fixed image size"
        )
    adapter = TwoTowerInputs(model.image_rule, model.text_rule, model.tokenizer)
    return StoredVectorInputs(adapter) if stored else adapter


class TwoTowerInputs(InputAdapter):
    """Inputs of a dual encoder of transformers, by its checkpoint's own rules."""

    image_argument = "pixels"

    def __init__(self, image: ImageRule, text: TextRule, tokenizer: Any) -> None:
        self.image, self.text, self.tokenizer = image, text, tokenizer
        self.cuts_padding = not text.fixed

    def resize(self, pixels: Pixels) -> Pixels:
        """Resize and crop as inference does."""
        return self.image.shape(torch.from_numpy(np.ascontiguousarray(pixels))).numpy()

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokenize by the checkpoint's rule."""
        rows, dropped = self.text.token_ids(self.tokenizer, texts)
        ids, mask = self.text.pad(rows, self.tokenizer.pad_token_id or 0, self.tokenizer.padding_side)
        return ids, mask, torch.tensor(dropped)

    def image_arguments(self, frames: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return `pixels`, float32 (n, 3, h, w)."""
        return {self.image_argument: self.image.normalize(frames[mask], torch.float32)}
