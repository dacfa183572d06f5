"""The installed weights: fixed outputs, and the ranks of real clips. Skipped without the extra `natural`."""

from __future__ import annotations

import pytest
import torch

from mova.models.natural.model import Natural
from mova.models.natural.weights import is_installed
from mova.models.registry import load

pytestmark = pytest.mark.skipif(not is_installed(), reason="the extra `natural` is not installed")


@pytest.fixture(scope="module")
def natural() -> Natural:
    model = load("mova-natural", device="cpu")
    assert isinstance(model, Natural)
    return model


def test_sentences_of_one_meaning_are_close(natural: Natural) -> None:
    texts = ["A man is playing a guitar.", "Someone plays the guitar.", "The stock market fell sharply."]
    vectors = torch.nn.functional.normalize(natural.encode_text(texts).pooled, dim=-1)
    assert vectors[0] @ vectors[1] > 0.6
    assert vectors[0] @ vectors[2] < 0.2
