"""Exported image towers: their vectors, and when they are used."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mova.cli.main import app
from mova.errors import ModelError, UsageError
from mova.models.registry import load
from mova.models.two_tower.image_export import check_images, export_images, random_pictures
from mova.models.two_tower.image_tower import DOCUMENT_NAME, MODEL_NAME, processor
from mova.models.two_tower.model import TwoTower
from mova.types import Frames

PICTURES = np.stack(random_pictures()[:3])
FRAMES = Frames(PICTURES, np.arange(3.0))


@pytest.fixture(scope="module")
def model(tiny_clip: Path) -> TwoTower:
    return TwoTower.from_checkpoint(tiny_clip, precision="fp32", device="cpu")


@pytest.fixture
def folder(model: TwoTower, tmp_path: Path) -> Path:
    export_images(model, tmp_path / "exported")
    return tmp_path / "exported"


def allow(folder: Path, used: bool = True, name: str | None = None) -> None:
    """Write the document as if this had been measured."""
    document = json.loads((folder / DOCUMENT_NAME).read_text())
    document["checks"] = {name or processor(): {"used": used}}
    (folder / DOCUMENT_NAME).write_text(json.dumps(document))


def loaded(folder: Path) -> TwoTower:
    model = load(folder, device="cpu")
    assert isinstance(model, TwoTower)
    return model


def test_vectors_are_those_of_the_model_for_any_number_of_frames(model: TwoTower, folder: Path) -> None:
    allow(folder)
    exported = loaded(folder)
    assert exported.image_tower is not None
    exported.image_features = None  # type: ignore[assignment, method-assign]  # PyTorch's tower is not run
    torch.testing.assert_close(exported.encode_frames(FRAMES), model.encode_frames(FRAMES), atol=1e-4, rtol=1e-4)
    one = Frames(PICTURES[:1], np.zeros(1))
    torch.testing.assert_close(exported.encode_frames(one), model.encode_frames(one), atol=1e-4, rtol=1e-4)
    assert exported.fingerprint() == model.fingerprint()


def test_int8_is_close_and_told(model: TwoTower, tmp_path: Path) -> None:
    export_images(model, tmp_path / "int8", int8=True, least_cosine=0.9)
    check = check_images(tmp_path / "int8")
    assert 0.9 < check.lowest <= check.mean < 1
    assert check.torch_rate > 0 < check.onnx_rate
    document = json.loads((tmp_path / "int8" / DOCUMENT_NAME).read_text())
    assert document["checks"][processor()] == check.to_dict()
    assert document["int8"] is True


def test_a_check_decides_by_speed_and_cosine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"now": [10.0, 20.0]}
    monkeypatch.setattr("mova.models.two_tower.image_export._rates", lambda *_: rates["now"])
    assert check_images(folder, [*PICTURES]).used
    rates["now"] = [20.0, 20.0]
    assert not check_images(folder, [*PICTURES]).used
    assert loaded(folder).image_tower is None
    rates["now"] = [10.0, 20.0]
    document = json.loads((folder / DOCUMENT_NAME).read_text())
    (folder / DOCUMENT_NAME).write_text(json.dumps({**document, "least_cosine": 1.1}))
    assert not check_images(folder, [*PICTURES]).used


def test_it_is_used_only_where_it_was_measured_and_with_automatic_precision(folder: Path) -> None:
    assert loaded(folder).image_tower is None
    allow(folder, used=False)
    assert loaded(folder).image_tower is None
    allow(folder, name="another processor")
    assert loaded(folder).image_tower is None
    allow(folder)
    assert load(folder, precision="fp32", device="cpu").image_tower is None  # type: ignore[attr-defined]


def test_a_changed_weight_ends_its_use(folder: Path) -> None:
    allow(folder)
    model = loaded(folder)
    before = model.encode_frames(FRAMES)
    with torch.no_grad():
        model.backbone.visual_projection.weight.mul_(2)
    changed = model.encode_frames(FRAMES)
    torch.testing.assert_close(changed, 2 * before, atol=0.02, rtol=0.02)  # bf16 on some processors


@pytest.mark.parametrize("damage", ["file", "fingerprint", "document", "checks", "missing"])
def test_damage_is_reported_and_pytorch_used(folder: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    allow(folder)
    document = json.loads((folder / DOCUMENT_NAME).read_text())
    if damage == "file":
        (folder / MODEL_NAME).write_bytes(b"x")
    elif damage == "missing":
        (folder / MODEL_NAME).unlink()
    elif damage == "fingerprint":
        (folder / DOCUMENT_NAME).write_text(json.dumps({**document, "fingerprint": "0"}))
    elif damage == "checks":
        (folder / DOCUMENT_NAME).write_text(json.dumps({**document, "checks": [1]}))
    else:
        (folder / DOCUMENT_NAME).write_text("{")
    with caplog.at_level(logging.INFO, "mova"):
        assert loaded(folder).image_tower is None
    assert len(caplog.records) == 1
    assert str(folder) in caplog.text


def test_what_cannot_be_exported_is_refused(model: TwoTower, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not an empty folder"):
        export_images(model, folder)
    with pytest.raises(UsageError, match="lowest cosine"):
        export_images(model, tmp_path / "new", least_cosine=1.5)
    with pytest.raises(ModelError, match="mova models export"):
        check_images(tmp_path)
    assert not (tmp_path / "new").exists()


def test_the_commands(tiny_clip: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    result = run(app, ["models", "export", str(tiny_clip), str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["lowest"] > 0.99
    result = run(app, ["models", "check", str(tmp_path / "out")])
    assert "frames per second, ONNX Runtime" in result.output
    assert "cosine of their vectors: lowest" in result.output
    for words in (["check", str(tmp_path)], ["export", "mova-worlds-tiny", str(tmp_path / "n")], ["check"]):
        result = run(app, ["models", *words])
        assert result.exit_code == 1 or result.exit_code == 2
        assert "Traceback" not in result.output
