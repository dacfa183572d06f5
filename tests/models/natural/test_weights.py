"""The installed weights on fixed pictures and sentences. Skipped without the extra `natural`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from torch.nn import functional as F

from mova.models.natural.model import Natural
from mova.models.natural.weights import is_installed
from mova.models.registry import load
from mova.types import Frames

pytestmark = pytest.mark.skipif(not is_installed(), reason="the extra `natural` is not installed")

QUERIES = ["a temple", "a flower", "a cat", "a man plays the guitar", "a car on the road"]


@pytest.fixture(scope="module")
def natural() -> Natural:
    model = load("mova-natural", device="cpu", precision="fp32")
    assert isinstance(model, Natural)
    return model


def photograph(name: str) -> Frames:
    return Frames(np.array(load_sample_image(name))[None], np.zeros(1))


@pytest.mark.parametrize(
    ("name", "classes", "logits"),
    [
        ("china.jpg", [698, 442, 975], [4.1271, 3.3084, 3.2923]),
        ("flower.jpg", [599, 309, 310], [3.4916, 3.1163, 3.0060]),
    ],
)
def test_classes_of_photographs(natural: Natural, name: str, classes: list[int], logits: list[float]) -> None:
    """698 is "palace", 599 "honeycomb", 309 "bee"."""
    with torch.no_grad():
        features = natural.dense_images(next(iter(natural.image_batches(photograph(name)))))
        best = natural.network.classifier(features.mean(dim=(2, 3)))[0].topk(3)
    assert best.indices.tolist() == classes
    assert best.values.tolist() == pytest.approx(logits, abs=2e-3)


@pytest.mark.parametrize(("name", "query"), [("china.jpg", "a temple"), ("flower.jpg", "a flower")])
def test_queries_find_photographs(natural: Natural, name: str, query: str) -> None:
    frame = F.normalize(natural.encode_frames(photograph(name)), dim=-1)
    scores = (frame @ F.normalize(natural.encode_text(QUERIES).pooled, dim=-1).T)[0]
    assert QUERIES[int(scores.argmax())] == query
    assert scores.max() > 0.3


def test_sentences_of_one_meaning_are_close(natural: Natural) -> None:
    texts = ["A man is playing a guitar.", "Someone plays the guitar.", "The stock market fell sharply."]
    vectors = F.normalize(natural.encode_text(texts).pooled, dim=-1)
    assert vectors[0] @ vectors[1] > 0.6
    assert vectors[0] @ vectors[2] < 0.2
