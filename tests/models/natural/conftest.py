"""A model of natural footage with random weights and a tokenizer of a few words."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from mova.models.natural.config import NaturalConfig
from mova.models.natural.model import Natural

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "sleeps", "dog", "on", "the", "sofa")


def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", WORDS.index("[CLS]")), ("[SEP]", WORDS.index("[SEP]"))]
    )
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


@pytest.fixture
def model() -> Natural:
    torch.manual_seed(0)
    text = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "vocab_size": len(WORDS),
    }
    config = NaturalConfig(text=text, classes=12, short_side=64, long_side=128, text_length=8)
    made = Natural(config, tokenizer())
    made.classes.copy_(torch.nn.functional.normalize(torch.randn(12, 16), dim=-1))
    made.frame_mean.copy_(torch.randn(16) / 100)
    return made.prepare("fp32", "cpu")
