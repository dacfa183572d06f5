"""The tiny checkpoint loads as any other, sees what it is given, and depends on its seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mova.models.registry import load
from mova.models.tiny_checkpoint import POSITIONS, WIDTH, byte_level_tokenizer, write_tiny_clip

CORPUS = ["A red star crosses a blue ring.", "Then it stops."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("tiny"), CORPUS)


def test_the_tiny_checkpoint_loads_like_any_other(folder: Path) -> None:
    model = load(folder, precision="fp32", device="cpu")
    text = model.encode_text([*CORPUS, "word " * 200])
    assert text.pooled.shape == (3, WIDTH)
    assert text.dropped[0] == 0
    assert text.dropped[2] > 0
    assert text.tokens.shape[1] <= POSITIONS
    assert not torch.allclose(text.pooled[0], text.pooled[1])
    assert sum(weight.numel() for weight in model.parameters()) < 100_000


def test_equal_seeds_give_equal_weights_and_leave_the_generator_alone(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    same, other = write_tiny_clip(tmp_path / "same", CORPUS), write_tiny_clip(tmp_path / "other", CORPUS, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    weights = [load(path, precision="fp32", device="cpu").state_dict() for path in (folder, same, other)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not all(torch.equal(weights[0][key], weights[2][key]) for key in weights[0])


def test_equally_frequent_pairs_are_merged_in_one_order() -> None:
    vocabularies = [byte_level_tokenizer(["ab ac ad ae af ag"]).get_vocab() for _ in range(3)]
    assert vocabularies[0] == vocabularies[1] == vocabularies[2]
    merged = sorted((piece for piece in vocabularies[0] if piece.startswith("a") and len(piece) == 6), key=str)
    assert merged == sorted(merged, key=vocabularies[0].__getitem__)
    assert len(merged) == 6
