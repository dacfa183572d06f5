"""Evaluation on Worlds, held against encoders whose answers are known: an oracle, a constant, a bag of words."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from mova.eval.tasks.worlds import (
    clip_gallery,
    encode_worlds,
    evaluate_worlds,
    factor_accuracy,
    localization,
    measure_rule,
    measure_threshold,
    paragraph_retrieval,
)
from mova.models.encoder import DualEncoder, TextEmbedding
from mova.types import Frames
from mova.worlds.captions import VOCABULARY, words
from mova.worlds.render import TRAIN_STYLES


class Constant(DualEncoder):
    """Gives every frame and every text the same vector: everything ties."""

    name, frame_rate = "constant", 1.0
    embedding_dim = 4

    def fingerprint(self) -> str:
        return "constant"

    def encode_frames(self, frames: Frames) -> Tensor:
        return torch.ones(len(frames), 4)

    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        count = 1 if isinstance(texts, str) else len(texts)
        ones = torch.ones(count, 1, 4)
        return TextEmbedding(ones[:, 0], ones, ones[..., 0] > 0, np.zeros(count, dtype=np.int64))


class Bag(Constant):
    """Texts as bags of words, frames as random vectors seeded by their mean colour: untrained, but not constant."""

    embedding_dim = len(VOCABULARY)

    def encode_frames(self, frames: Frames) -> Tensor:
        generator = torch.Generator().manual_seed(int(frames.pixels.mean() * 1000))
        return torch.randn(len(frames), self.embedding_dim, generator=generator)

    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        batch = [texts] if isinstance(texts, str) else list(texts)
        rows = torch.zeros(len(batch), self.embedding_dim)
        for i, text in enumerate(batch):
            for word in words(text):
                rows[i, VOCABULARY.index(word)] += 1
        return TextEmbedding(rows, rows[:, None], torch.ones(len(batch), 1) > 0, np.zeros(len(batch), dtype=np.int64))


def test_a_model_that_knows_nothing_is_at_chance_by_ties() -> None:
    report = evaluate_worlds(Constant(), clips=12, worlds=4)
    assert set(report) == {"training styles", "sketch"}
    measures = report["training styles"]
    for name, value in measures.items():
        counted = re.search(r"\(of (\d+)\)", name)
        if name.startswith("hard negative"):
            assert value == pytest.approx(50.0)
        elif counted is not None:
            chance = 100 / int(counted.group(1))
            assert chance - 1e-6 <= value <= 2.5 * chance, name
    assert measures["paragraph to video, 4, R@1"] == pytest.approx(25.0)
    assert measures["told or untold frame, AUC"] == pytest.approx(0.5)


def test_the_same_seed_gives_the_same_report_and_another_seed_another() -> None:
    def measure(seed: int) -> dict[str, float]:
        return evaluate_worlds(Bag(), seed=seed, styles=["flat"], clips=6, worlds=3)["flat"]

    assert measure(1) == measure(1)
    assert measure(1) != measure(2)


def test_an_oracle_that_sees_the_script_is_perfect(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = list(encode_worlds(Bag(), TRAIN_STYLES, 700_123, 4))
    oracle = Bag()
    for s in encoded:
        sentences = oracle.encode_text([text for text, _ in s.world.annotations]).pooled
        vectors = torch.full((len(s.times), oracle.embedding_dim), 1e-6)
        for row, (_, spans) in zip(sentences, s.world.annotations, strict=True):
            for span in spans:
                inside = torch.from_numpy((s.times >= span.start) & (s.times < span.end))
                vectors[inside] = row
        s.frames.copy_(torch.nn.functional.normalize(vectors, dim=-1))
    assert paragraph_retrieval(oracle, encoded)["paragraph to video, 4, R@1"] == pytest.approx(100.0)
    chosen = measure_rule(oracle, encoded)
    assert chosen.rule.plain, "what is perfect already needs no rule"
    assert chosen.trials[0].objective == pytest.approx(100.0)
    assert {trial.rule.beta for trial in chosen.trials} > {0.0, 1.0}, "paragraphs of Worlds are in order"
    metrics = localization(oracle, encoded)
    assert metrics["sentence to frame, mAP"] > 0.95
    assert metrics["told or untold frame, AUC"] > 0.99
    assert 0.5 < measure_threshold(oracle, encoded) <= 1.0


def test_galleries_report_the_documented_measures() -> None:
    rng = np.random.default_rng(0)
    measures = clip_gallery(Bag(), TRAIN_STYLES, rng, 10)
    assert set(measures) == {"sentence to clip, random 10, R@1", "sentence to clip, twins 10, R@1"}
    assert len(factor_accuracy(Bag(), TRAIN_STYLES, rng, 2)) == 9
