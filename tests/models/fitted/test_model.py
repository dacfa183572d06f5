"""A fitted map around an encoder: vectors, fingerprints, saving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mova.errors import UsageError
from mova.models.fitted.model import Fitted
from mova.models.registry import load
from mova.models.tower_access import open_tower
from mova.types import Frames
from tests.support.fakes import ColourEncoder


def frames(count: int = 3) -> Frames:
    pixels = np.random.default_rng(0).integers(0, 255, (count, 48, 64, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(count) / 2)


@pytest.fixture(params=["mova-worlds-tiny", "clip"])
def fitted(request: pytest.FixtureRequest, tiny_clip: Path) -> Fitted:
    source = tiny_clip if request.param == "clip" else request.param
    model = Fitted.around(load(source, precision="fp32", device="cpu"))
    torch.manual_seed(0)
    width = model.embedding_dim
    return model.set_map(torch.randn(width, width), torch.randn(width))


def test_frames_are_mapped_and_texts_are_not(fitted: Fitted) -> None:
    inner = F.normalize(fitted.backbone.encode_frames(frames()), dim=-1)
    expected = inner @ fitted.map.weight.T + fitted.map.bias
    assert torch.allclose(fitted.encode_frames(frames()), expected, atol=1e-4)
    assert torch.equal(fitted.encode_text("a red star").pooled, fitted.backbone.encode_text("a red star").pooled)
    assert fitted.background
    assert fitted.relevance_threshold is None


def test_the_identity_keeps_all_directions(fitted: Fitted) -> None:
    width = fitted.embedding_dim
    fitted.set_map(torch.eye(width), torch.zeros(width))
    cosines = F.cosine_similarity(fitted.encode_frames(frames()), fitted.backbone.encode_frames(frames()))
    assert torch.allclose(cosines, torch.ones(3), atol=1e-5)


def test_a_saved_model_is_the_same(fitted: Fitted, tmp_path: Path) -> None:
    fitted.config.report = {"rows": 100, "recall_after": 12.5}
    fitted.save_pretrained(tmp_path / "mine")
    again = load(tmp_path / "mine", precision="fp32", device="cpu")
    assert isinstance(again, Fitted)
    assert again.fingerprint() == fitted.fingerprint()
    assert again.video_fingerprint() == fitted.video_fingerprint()
    assert torch.equal(again.encode_frames(frames()), fitted.encode_frames(frames()))
    assert torch.equal(again.encode_text("a red star").pooled, fitted.encode_text("a red star").pooled)
    assert again.config.report == fitted.config.report
    assert "| recall after | 12.5 |" in (tmp_path / "mine" / "README.md").read_text()


def test_fingerprints_differ_from_the_backbone_and_follow_the_map(fitted: Fitted) -> None:
    before = fitted.fingerprint(), fitted.video_fingerprint()
    assert before[0] != fitted.backbone.fingerprint()
    assert before[1].weights != fitted.backbone.video_fingerprint().weights
    with torch.no_grad():
        fitted.map.bias[0] += 1
    assert (fitted.fingerprint() == before[0], fitted.video_fingerprint() == before[1]) == (False, False)
    with pytest.raises(UsageError, match="only be trained on pixels"):
        fitted.video_parameters()


def test_saliency_sees_the_map(fitted: Fitted) -> None:
    tower = open_tower(fitted)
    with torch.no_grad():
        vectors = tower.encode(tower.prepare(frames()))
    assert torch.allclose(vectors, fitted.encode_frames(frames()), atol=1e-4)


def test_other_encoders_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be fitted around"):
        Fitted.around(ColourEncoder())
