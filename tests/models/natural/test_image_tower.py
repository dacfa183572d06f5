"""The exported network: its vectors for frames of any size, and int8."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mova.models.natural.image_export import export_images
from mova.models.natural.model import Natural
from mova.models.registry import load
from mova.models.two_tower.image_export import check_images, random_pictures
from mova.models.two_tower.image_tower import DOCUMENT_NAME, processor
from mova.types import Frames


@pytest.fixture
def model(model: Natural) -> Natural:
    """With weights that keep the variance of values, so that frames have different vectors."""
    torch.manual_seed(1)
    for part in model.network.modules():
        if isinstance(part, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(part.weight)
    return model


def frames(height: int, width: int, seed: int = 0) -> Frames:
    pixels = np.random.default_rng(seed).integers(0, 255, (3, height, width, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(3.0))


def exported(model: Natural, folder: Path, *, used: bool = True, **options: bool) -> Natural:
    """Export a model, and load it as if its export had been measured."""
    export_images(model, folder, **options)
    document = json.loads((folder / DOCUMENT_NAME).read_text())
    (folder / DOCUMENT_NAME).write_text(json.dumps(document | {"checks": {processor(): {"used": used}}}))
    loaded = load(folder, device="cpu")
    assert isinstance(loaded, Natural)
    return loaded


def test_frames_of_any_size_have_the_vectors_of_pytorch(model: Natural, tmp_path: Path) -> None:
    loaded = exported(model, tmp_path / "exported")
    assert loaded.image_tower is not None
    expected = [model.encode_frames(frames(*size)) for size in ((90, 160), (70, 64), (97, 131))]
    assert all((rows[0] - rows[1]).abs().max() > 0.01 for rows in expected), "frames differ"
    loaded.network.forward = None  # type: ignore[assignment, method-assign]  # PyTorch's network is not run
    for size, vectors in zip(((90, 160), (70, 64), (97, 131)), expected, strict=True):
        torch.testing.assert_close(loaded.encode_frames(frames(*size)), vectors, atol=1e-5, rtol=1e-4)
    assert loaded.fingerprint() == model.fingerprint()


def test_it_is_used_only_if_its_check_allows_it_and_no_weight_changes(model: Natural, tmp_path: Path) -> None:
    assert exported(model, tmp_path / "slow", used=False).image_tower is None
    loaded = exported(model, tmp_path / "fast")
    with torch.no_grad():
        loaded.network.head.weight.mul_(2)
        model.network.head.weight.mul_(2)
    torch.testing.assert_close(loaded.encode_frames(frames(64, 64)), model.encode_frames(frames(64, 64)))


def test_the_loss_of_int8_is_measured_and_ends_its_use(
    model: Natural, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mova.models.natural.image_export.random_pictures", lambda seed: random_pictures(seed)[:3])
    export_images(model, tmp_path / "int8", int8=True)
    check = check_images(tmp_path / "int8", random_pictures()[:3])
    assert 0.3 < check.lowest < check.mean < 0.999, "random weights are not robust against rounding"
    assert not check.used
    assert json.loads((tmp_path / "int8" / DOCUMENT_NAME).read_text())["int8"] is True


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_that_is_asked_for_is_pytorchs(model: Natural, tmp_path: Path, precision: str) -> None:
    exported(model, tmp_path / "exported")
    assert load(tmp_path / "exported", precision=precision, device="cpu").image_tower is None  # type: ignore[attr-defined]
