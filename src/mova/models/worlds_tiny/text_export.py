"""The text tower of the small model for Worlds, for export."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from mova.models.text_export import TextExport, embeddings_given
from mova.models.worlds_tiny.model import WorldsTiny
from mova.models.worlds_tiny.towers import TextTower


def export_text(model: WorldsTiny) -> TextExport:
    """Return the text side of a model."""
    tower = copy.deepcopy(model.text_tower).float().cpu().eval()
    unknown = model.tokenizer.unk_token_id
    return TextExport(
        _Pooled(tower),
        tower.words.weight.detach(),
        model.tokenizer.backend_tokenizer.to_str(),
        model.config.max_words,
        empty_id=unknown,
        unknown_id=unknown,
    )


class _Pooled(nn.Module):
    """(ids, embeddings) -> mean of the token states."""

    def __init__(self, tower: TextTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, ids: Tensor, vectors: Tensor) -> Tensor:
        """(1, L) and (1, L, D) -> (1, d)."""
        with embeddings_given(self.tower.words, vectors):
            return self.tower(ids, torch.ones_like(ids, dtype=torch.bool)).mean(dim=1)
