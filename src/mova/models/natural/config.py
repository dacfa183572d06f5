"""Configuration of a model of natural footage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig

MINILM = {
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_attention_heads": 12,
    "num_hidden_layers": 6,
    "vocab_size": 30522,
}
"""Sizes of all-MiniLM-L6-v2; everything else is the default of BERT."""


class NaturalConfig(PreTrainedConfig):
    """Sizes and settings of `Natural`.

    Attributes:
        text: settings of the text tower, for `transformers.BertConfig`.
        classes: number of image classes.
        short_side, long_side: pixels of the shorter side of a resized frame, and the most of its longer side.
        logit_divisor: divisor of the class logits (softmax temperature).
        text_length: maximum number of tokens per text, special tokens included.
        frame_rate: frames per second.
        relevance_threshold, units, rule: see `DualEncoder`.
    """

    model_type = "mova-natural"

    def __init__(
        self,
        text: Mapping[str, Any] | None = None,
        classes: int = 1000,
        short_side: int = 320,
        long_side: int = 640,
        logit_divisor: float = 2.0,
        text_length: int = 256,
        frame_rate: float = 1.0,
        relevance_threshold: float | None = None,
        units: dict[str, int] | None = None,
        rule: dict[str, float | None] | None = None,
        **kwargs: Any,
    ) -> None:
        self.text = dict(MINILM if text is None else text)
        self.classes = classes
        self.short_side = short_side
        self.long_side = long_side
        self.logit_divisor = logit_divisor
        self.text_length = text_length
        self.frame_rate = frame_rate
        self.relevance_threshold = relevance_threshold
        self.units = units
        self.rule = rule
        super().__init__(**kwargs)
