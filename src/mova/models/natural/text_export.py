"""The text tower of a model of natural footage, for export."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from mova.models.natural.model import Natural
from mova.models.text_export import TextExport, embeddings_given


def export_text(model: Natural) -> TextExport:
    """Return the text side of a model."""
    tower = copy.deepcopy(model.text_tower).float().cpu().eval()
    tower.config._attn_implementation = "eager"
    mean = model.class_mean.detach().float().cpu()
    return TextExport(
        _Pooled(tower, mean),
        tower.embeddings.word_embeddings.weight.detach(),
        model.tokenizer.backend_tokenizer.to_str(),
        model.text_rule.length,
        lower=model.text_rule.lower,
        pad_id=model.tokenizer.pad_token_id or 0,
    )


class _Pooled(nn.Module):
    """(ids, embeddings) -> mean of the token states, scaled to length 1 and centered as in `Natural.text_states`."""

    def __init__(self, tower: Any, mean: Tensor) -> None:
        super().__init__()
        self.tower = tower
        self.register_buffer("mean", mean)

    def forward(self, ids: Tensor, vectors: Tensor) -> Tensor:
        """(1, L) and (1, L, D) -> (1, d)."""
        embeddings = self.tower.embeddings.word_embeddings
        with embeddings_given(embeddings, vectors):
            states = self.tower(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        pooled = states.mean(dim=1)
        return pooled / pooled.norm(dim=-1, keepdim=True) - self.mean
