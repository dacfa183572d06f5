"""Input adapter of models of sentence-transformers: texts as they are, beside stored vectors.

The library tokenizes texts itself, with prompts and conversations. So a batch carries the bytes of texts, and the model
encodes them as in a search.

Shape legend: N texts, L bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mova.data.batch import InputAdapter, StoredInputs
from mova.models.sentence_transformer.model import SentenceEncoder
from mova.models.tower_access import require_stored
from mova.models.two_tower.text_processor import TextRule


def input_adapter(model: SentenceEncoder, stored: bool) -> InputAdapter:
    """Return the adapter of a model.

    Raises:
        UsageError: pixels are read.
    """
    require_stored(model, stored)
    return ByteInputs(model.text_rule, model.inner.tokenizer)


class ByteInputs(StoredInputs):
    """Bytes of texts, and stored vectors.

    Args:
        rule: number of tokens that the model reads; None: no limit.
        tokenizer: counts the tokens beyond it.
    """

    def __init__(self, rule: TextRule | None, tokenizer: Any) -> None:
        self.rule, self.tokenizer = rule, tokenizer

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the UTF-8 bytes of texts (N, L), their mask, and the number of tokens that the model will drop."""
        dropped = [0] * len(texts) if self.rule is None else self.rule.token_ids(self.tokenizer, texts)[1]
        rows = [list(text.encode()) for text in texts]
        return *TextRule(max(map(len, rows))).pad(rows, 0, "right"), torch.tensor(dropped)
