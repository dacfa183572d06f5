"""The text tower of a two-tower model, for export."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from mova.models.text_export import TextExport, embeddings_given
from mova.models.two_tower.checkpoint_encoder import UNMASKED, CheckpointEncoder

EMBEDDINGS = ("token_embedding", "word_embeddings")
"""Names of the embedding of tokens in the architectures of transformers."""


def export_text(model: CheckpointEncoder) -> TextExport | None:
    """Return the text side of a model; None if its architecture or tokenizer is not known here."""
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    side = _text_side(model.backbone)
    table = _embedding(side)
    if tokenizer is None or table is None:
        return None
    rule = model.text_rule
    return TextExport(
        _Pooled(side, table),
        table.weight.detach(),
        tokenizer.to_str(),
        rule.length,
        rule.fixed,
        rule.lower,
        model.tokenizer.pad_token_id or 0,
        rule.fixed and model.tokenizer.padding_side == "left",
    )


class _Pooled(nn.Module):
    """(ids, embeddings) -> pooled vector."""

    def __init__(self, side: Any, table: nn.Module) -> None:
        super().__init__()
        self.side, self.table = side, table

    def forward(self, ids: Tensor, vectors: Tensor) -> Tensor:
        """(1, L) and (1, L, D) -> (1, d)."""
        options = {"attention_mask": torch.ones_like(ids)} if self.side.config.model_type in UNMASKED else {}
        with embeddings_given(self.table, vectors):
            return self.side.get_text_features(input_ids=ids, **options).pooler_output


def _text_side(backbone: Any) -> Any:
    """Return a float32 copy of a transformers model on the CPU that has only the parts that texts need."""
    side = copy.copy(backbone)
    parts = backbone._modules.items()
    side._modules = {name: copy.deepcopy(part) for name, part in parts if not name.startswith(("vision", "visual"))}
    side._parameters, side._buffers = {}, {}
    for part in side.modules():
        config = getattr(part, "config", None)
        if config is not None and part is not side:
            config._attn_implementation = "eager"
    return side.float().cpu().eval()


def _embedding(side: Any) -> nn.Embedding | None:
    for name, part in side.named_modules():
        if isinstance(part, nn.Embedding) and name.rsplit(".", 1)[-1] in EMBEDDINGS:
            return part
    return None
