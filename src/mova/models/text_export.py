"""The text side of a model in a form that runs without it: what a family provides for the export to ONNX.

Shape legend: n texts of one length, L tokens, V tokens of the vocabulary, D width of their embeddings, d width of the
shared space.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class TextExport:
    """Everything that turns a text into its vector.

    Attributes:
        module: (ids (n, L) int64, embeddings of these tokens (n, L, D) float32) -> pooled vectors (n, d), float32; if
            it takes only one text, n is 1. Its weights are float32 copies, on the CPU.
        table: (V, D), embeddings of the tokens. They are kept apart, because a text needs only a few of them.
        tokenizer: the tokenizer as JSON of the library `tokenizers`.
        length: maximum number of tokens, special tokens included.
        fixed: whether every text is padded to `length`.
        lower: whether texts are lower-cased first.
        pad_id: id of the padding.
        pad_left: whether padding goes to the left.
        empty_id: id that represents a text without tokens, if there can be such texts.
        unknown_id: id of words that the model does not know, if it has one and reports them.
    """

    module: nn.Module
    table: Tensor
    tokenizer: str
    length: int
    fixed: bool = False
    lower: bool = False
    pad_id: int = 0
    pad_left: bool = False
    empty_id: int | None = None
    unknown_id: int | None = None


@contextmanager
def embeddings_given(module: nn.Module, vectors: Tensor) -> Iterator[None]:
    """Let an embedding module return `vectors` instead of looking them up."""
    module.forward = lambda *_: vectors
    try:
        yield
    finally:
        del module.forward
