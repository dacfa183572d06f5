"""What training feeds a model gives the vectors that inference gives, and batches lose nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mova.data.batch import Collator
from mova.data.dataset import Pair, PairDataset, collate
from mova.errors import UsageError
from mova.models.encoder import DualEncoder
from mova.models.families import input_adapter
from mova.models.two_tower.inputs import TwoTowerInputs
from mova.models.two_tower.model import TwoTower
from mova.models.worlds_tiny.inputs import WorldsTinyInputs
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.video.reader import FrameRule
from mova.worlds.batches import vocabulary


def model_of(kind: str, request: pytest.FixtureRequest) -> DualEncoder:
    if kind == "worlds":
        torch.manual_seed(0)
        sizes = {"image_size": 32, "stem": [8, 8], "hidden_size": 16, "heads": 2}
        return WorldsTiny(WorldsTinyConfig(vocabulary=vocabulary(), **sizes)).eval()
    return TwoTower.from_checkpoint(request.getfixturevalue(f"tiny_{kind}"), precision="fp32", device="cpu")


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2", "worlds"])
@torch.no_grad()
def test_a_batch_has_the_vectors_of_inference(kind: str, request: pytest.FixtureRequest, worlds_manifest: Path) -> None:
    model = model_of(kind, request)
    adapter = input_adapter(model)
    rule = FrameRule(frames=30, fps=2.0 if kind == "worlds" else 1.0)
    pairs = [PairDataset(worlds_manifest, split="train", sampling=rule)[i] for i in range(3)]
    untrimmed = [Pair(p.id, p.group, p.frames[: 20 - 3 * i], p.text, p.units) for i, p in enumerate(pairs)]
    small = [
        Pair(p.id, p.group, type(p.frames)(adapter.resize(p.frames.pixels), p.frames.pts), p.text, p.units)
        for p in untrimmed
    ]
    batch = Collator(adapter, units=True)(small)
    vectors = adapter.encode(model, batch)
    for i, pair in enumerate(untrimmed):
        count = len(pair.frames)
        assert torch.allclose(vectors.frames[i, :count], model.encode_frames(pair.frames), atol=1e-5)
        assert not vectors.frames[i, count:].any()
        for key, texts, mask in (("texts", [pair.text], None), ("units", pair.units, batch.unit_mask[i])):
            embedding = model.encode_text(list(texts))
            expected = embedding.pooled
            assert mask is not None or batch.dropped[i] == embedding.dropped[0]
            actual = getattr(vectors, key)[i : i + 1] if mask is None else getattr(vectors, key)[i][mask]
            assert torch.allclose(actual, expected, atol=1e-5), key
    assert vectors.tokens.shape[:2] == batch.input_ids.shape
    assert vectors.scale.ndim == 0


def test_a_batch_without_units_has_no_unit_tensors(tiny_clip: Path, worlds_manifest: Path) -> None:
    adapter = input_adapter(TwoTower.from_checkpoint(tiny_clip, precision="fp32", device="cpu"))
    data = PairDataset(worlds_manifest, split="train", sampling=FrameRule(2, rule="head"), prepare=adapter.resize)
    batch = Collator(adapter, units=False)([data[0], data[1]])
    assert sorted(batch.tensors()) == ["dropped", "frame_mask", "frames", "group", "input_ids", "token_mask"]
    assert batch.broken == ()
    assert batch.frames.shape == (2, 2, 32, 32, 3)
    assert np.array_equal(batch.group, collate([data[0], data[1]]).groups)


def test_the_adapter_of_a_backbone_serves_its_wrapper(tiny_clip: Path, tiny_naflex: Path) -> None:
    holder = torch.nn.Module()
    holder.backbone = TwoTower.from_checkpoint(tiny_clip, precision="fp32", device="cpu")
    assert isinstance(input_adapter(holder), TwoTowerInputs)
    assert isinstance(input_adapter(WorldsTiny(WorldsTinyConfig(vocabulary=vocabulary()))), WorldsTinyInputs)
    with pytest.raises(UsageError, match="Linear cannot be trained"):
        input_adapter(torch.nn.Linear(1, 1))
    with pytest.raises(UsageError, match="aspect ratio"):
        input_adapter(TwoTower.from_checkpoint(tiny_naflex, precision="fp32", device="cpu"))
