"""The exported text tower: equal to the model, refused when anything it was made from differs."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

import mova
from mova.models.encoder import DualEncoder
from mova.models.fitted.model import Fitted
from mova.models.natural.model import Natural, NaturalConfig
from mova.models.two_tower.model import TwoTower
from mova.scoring.caption_score import EvidenceRule
from mova.search.cold import text_tower, tower_writer
from mova.search.cold.evidence import Rule, caption_scores
from mova.search.cold.text_tower import TextTower, damaged_files
from mova.search.cold.tower_writer import write_text_tower
from mova.search.storage.records import Meta
from tests.support.fakes import ColourEncoder
from tests.support.tiny_models import clip_tokenizer

TEXTS = [
    "a dog",
    "A red star moves left, then it grows.",
    "naïve CAFÉ: 3 birds & a 'cat'?",
    "the " * 300,
    "An old woman reads a newspaper in the kitchen; children play football outside.",
]


def meta_of(model: DualEncoder) -> Meta:
    return Meta(model.name, model.fingerprint(), model.embedding_dim, 1.0)


def natural() -> Natural:
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
    config = NaturalConfig(text={**sizes, "vocab_size": len(tokenizer)}, classes=7, text_length=24)
    return Natural(config, tokenizer).prepare("fp32", "cpu")


def model_of(kind: str, request: pytest.FixtureRequest) -> DualEncoder:
    if kind == "worlds":
        return mova.load("mova-worlds-tiny")
    if kind == "natural":
        return natural()
    if kind == "fitted":
        return Fitted.around(mova.load("mova-worlds-tiny"))
    return TwoTower.from_checkpoint(request.getfixturevalue(f"tiny_{kind}"), precision="fp32", device="cpu")


@pytest.mark.parametrize("kind", ["worlds", "natural", "fitted", "clip", "siglip2", "naflex", "metaclip2", "aimv2"])
def test_the_exported_tower_encodes_like_the_model(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    model = model_of(kind, request)
    before = {name: value.clone() for name, value in model.state_dict().items()}  # type: ignore[attr-defined]
    assert write_text_tower(model, meta_of(model), tmp_path)
    tower = TextTower.open(tmp_path, meta_of(model))
    assert tower is not None
    expected = model.encode_sentences(TEXTS).unit_vectors()
    for few_or_many in (TEXTS[:2], TEXTS):
        result = tower.text_vectors(few_or_many)
        np.testing.assert_allclose(result, expected[: len(few_or_many)], atol=2e-5)
        np.testing.assert_allclose(np.linalg.norm(result, axis=1), 1, atol=1e-6)
    assert any(len(model.text_parts(text)) > 1 for text in TEXTS), "one is longer than the model reads"
    assert not any("dropped" in record.message for record in caplog.records)
    after = model.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert damaged_files(tmp_path) == []


def test_unknown_words_are_reported_as_by_the_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = mova.load("mova-worlds-tiny")
    write_text_tower(model, meta_of(model), tmp_path)
    tower = TextTower.open(tmp_path, meta_of(model))
    assert tower is not None
    assert not caplog.records, "nothing about the texts that compare the tower with the model"
    for encoder in (model, tower):
        encoder.encode_sentences(["a red zeppelin", "1234"])
    assert [record.message for record in caplog.records] == ["2 of 4 words are unknown to mova-worlds-tiny"] * 2


@pytest.fixture
def tower(tmp_path: Path) -> tuple[Path, Meta]:
    model = mova.load("mova-worlds-tiny")
    assert write_text_tower(model, meta_of(model), tmp_path)
    return tmp_path, meta_of(model)


@pytest.mark.parametrize("reason", ["version", "model", "folder", "size", "json", "onnxruntime"])
def test_a_tower_that_does_not_fit_is_refused_with_the_reason(
    reason: str, tower: tuple[Path, Meta], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, meta = tower
    files = folder / "text_tower"
    caplog.set_level(logging.INFO, logger="mova")
    if reason == "version":
        monkeypatch.setattr(text_tower, "__version__", "99.0")
    elif reason == "model":
        meta = Meta(meta.model, "another", meta.dim, 1.0)
    elif reason == "folder":
        monkeypatch.setattr(text_tower, "model_state", lambda name: "another")
    elif reason == "size":
        next(files.glob("weights-*")).write_bytes(b"short")
    elif reason == "json":
        path = files / "tower.json"
        path.write_text(path.read_text().replace('"length": 48', '"length": 47'))
    else:
        monkeypatch.setattr(text_tower, "find_spec", lambda name: None if name == reason else object())
    assert TextTower.open(folder, meta) is None
    message = caplog.records[-1].message
    expected = {"version": "this is 99.0", "model": "another model", "folder": "have changed", "size": "weights-"}
    assert expected.get(reason, reason if reason != "json" else "tower.json was changed") in message
    assert message.endswith("the model is loaded instead")


def test_an_export_that_differs_from_the_model_is_not_used_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="mova")
    model = mova.load("mova-worlds-tiny")
    tries = []
    real = tower_writer.export_text
    monkeypatch.setattr(tower_writer, "export_text", lambda model: (tries.append(model), real(model))[1])
    right = model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda texts: right([*texts[1:], texts[0]]))
    for _ in range(2):
        assert not write_text_tower(model, meta_of(model), tmp_path)
    assert len(tries) == 1
    assert [path.name for path in (tmp_path / "text_tower").iterdir()] == ["tower.json"]
    assert "differ" in json.loads((tmp_path / "text_tower" / "tower.json").read_text())["unusable"]
    assert TextTower.open(tmp_path, meta_of(model)) is None
    assert not [record for record in caplog.records if "text tower" in record.message]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), MemoryError(), ImportError("no onnx")])
def test_a_failure_of_the_moment_leaves_no_files_and_is_tried_again(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = mova.load("mova-worlds-tiny")

    def fail(side: object, texts: int) -> bytes:
        raise failure

    with monkeypatch.context() as broken:
        broken.setattr(tower_writer, "_exported", fail)
        with pytest.raises(type(failure)):
            write_text_tower(model, meta_of(model), tmp_path)
    assert list((tmp_path / "text_tower").iterdir()) == []
    assert write_text_tower(model, meta_of(model), tmp_path)
    assert len(list((tmp_path / "text_tower").iterdir())) == 5


def test_a_model_that_cannot_be_exported_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = mova.load("mova-worlds-tiny")
    tries = []
    monkeypatch.setattr(tower_writer, "_exported", lambda side, texts: tries.append(texts) or 1 / 0)
    for _ in range(2):
        assert not write_text_tower(model, meta_of(model), tmp_path)
    assert tries == [2, 1]  # for several texts, for one
    assert [path.name for path in (tmp_path / "text_tower").iterdir()] == ["tower.json"]


def test_a_process_without_the_packages_of_an_export_leaves_a_tower_as_it_is(
    tower: tuple[Path, Meta], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, meta = tower
    before = sorted(path.name for path in (folder / "text_tower").iterdir())
    with monkeypatch.context() as without:
        for module in (text_tower, tower_writer):
            without.setattr(module, "find_spec", lambda name: None)
        assert not write_text_tower(mova.load("mova-worlds-tiny"), meta, folder)
    assert sorted(path.name for path in (folder / "text_tower").iterdir()) == before
    assert TextTower.open(folder, meta) is not None


@pytest.mark.parametrize("kind", ["colours", "siglip"])
def test_a_model_of_no_family_or_with_a_tokenizer_in_python_has_no_tower(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = ColourEncoder() if kind == "colours" else model_of(kind, request)
    assert not write_text_tower(model, meta_of(model), tmp_path)
    assert TextTower.open(tmp_path, meta_of(model)) is None
    assert damaged_files(tmp_path) == []


def test_changed_weights_are_found_by_reading_them(tower: tuple[Path, Meta]) -> None:
    path = next((tower[0] / "text_tower").glob("weights-*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert damaged_files(tower[0]) == [f"text_tower/{path.name}"]


@pytest.mark.parametrize(
    "rule",
    [
        Rule(),
        Rule(beta=0.25),
        Rule(g=0.5, theta=0.2, beta=1.0),
        Rule(global_share=0.5),
        Rule(g=1.0, beta=0.3, global_share=0.1),
    ],
)
@pytest.mark.parametrize("units", [1, 2, 5])
def test_scores_of_captions_are_those_of_the_rule(rule: Rule, units: int) -> None:
    rng = np.random.default_rng(units)
    videos = [rng.normal(size=(frames, 16)).astype(np.float32) for frames in (1, 2, 5, 40, 7, 200)]
    texts = rng.normal(size=(units, 16)).astype(np.float32)
    expected = EvidenceRule(*rule).score([torch.from_numpy(video) for video in videos], [torch.from_numpy(texts)])
    np.testing.assert_allclose(caption_scores(videos, texts, rule), expected[:, 0].numpy(), atol=3e-6, rtol=1e-5)
