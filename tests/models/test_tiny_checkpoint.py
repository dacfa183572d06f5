"""The tiny checkpoint loads as any other, sees what it is given, and depends on its seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mova.models.registry import load
from mova.models.tiny_checkpoint import POSITIONS, WIDTH, write_tiny_clip

CORPUS = ["A red star crosses a blue ring.", "Then it stops."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("tiny"), CORPUS)


def test_it_is_a_checkpoint_like_any_other(folder: Path) -> None:
    model = load(folder, precision="fp32", device="cpu")
    found = model.encode_text([*CORPUS, "word " * 200])
    assert found.pooled.shape == (3, WIDTH)
    assert found.dropped[0] == 0
    assert found.dropped[2] > 0
    assert found.tokens.shape[1] <= POSITIONS
    assert not torch.allclose(found.pooled[0], found.pooled[1])
    assert sum(weight.numel() for weight in model.parameters()) < 100_000


def test_equal_seeds_give_equal_weights_and_leave_the_generator_alone(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    same, other = write_tiny_clip(tmp_path / "same", CORPUS), write_tiny_clip(tmp_path / "other", CORPUS, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    weights = [load(path, precision="fp32", device="cpu").state_dict() for path in (folder, same, other)]
    shared = [key for key in weights[0] if weights[0][key].ndim > 1 and "token_embedding" not in key]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in shared)
    assert not all(torch.equal(weights[0][key], weights[2][key]) for key in shared)
