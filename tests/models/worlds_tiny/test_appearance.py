"""The stages that see the middle frame alone: what they read, and how a trained tower is given them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from mova.errors import UsageError
from mova.models.registry import load
from mova.models.worlds_tiny.build import WorldsTinyBuild
from mova.models.worlds_tiny.model import WorldsTiny
from mova.models.worlds_tiny.towers import Appearance
from mova.scoring.emissions import AlignmentWeights

SMALL = WorldsTinyBuild(image_size=32, stem=(8, 16), hidden_size=16, heads=2, embedding_dim=12)
BESIDE = replace(SMALL, appearance=(8, 16))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("start")
    SMALL.build().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def stacks() -> torch.Tensor:
    return torch.randint(0, 256, (3, 9, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def woken(model: WorldsTiny) -> Appearance:
    """Give the appearance other weights than zero."""
    appearance = cast(Appearance, model.frame_tower.appearance)
    for layer in (appearance.enter, appearance.project):
        torch.nn.init.normal_(layer.weight)
    return appearance


def test_a_model_that_starts_from_another_gives_its_vectors_before_training(folder: Path, stacks: torch.Tensor) -> None:
    start, model = load(folder), replace(BESIDE, start=str(folder)).build().eval()
    assert isinstance(start, WorldsTiny)
    assert torch.equal(model.image_features(stacks), start.image_features(stacks))
    texts = ["a red star", "two blue discs fall"]
    assert torch.equal(model.encode_text(texts).pooled, start.encode_text(texts).pooled)


def test_without_a_start_weights_are_drawn_by_the_seed(folder: Path, stacks: torch.Tensor) -> None:
    torch.manual_seed(1)
    model = BESIDE.build().eval()
    torch.manual_seed(1)
    assert torch.equal(model.image_features(stacks), BESIDE.build().eval().image_features(stacks))
    assert not torch.equal(model.image_features(stacks), load(folder).image_features(stacks))  # type: ignore[attr-defined]


def test_the_appearance_reads_the_middle_frame_and_no_other(stacks: torch.Tensor) -> None:
    model = BESIDE.build().eval()
    appearance, seen = woken(model), []
    appearance.register_forward_hook(lambda module, arguments, result: seen.append(result))
    others = stacks.clone()
    others[:, :3], others[:, 6:] = 0, 255
    middle = stacks.clone()
    middle[:, 3:6] = 0
    for batch in (stacks, others, middle):
        model.image_features(batch)
    assert all(torch.equal(a, b) for a, b in zip(seen[0], seen[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(seen[0], seen[2], strict=True))


def test_every_new_weight_gets_a_gradient_after_the_first_step(stacks: torch.Tensor) -> None:
    model = BESIDE.build().train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model.image_features(stacks).square().sum().backward()
        optimizer.step()
    appearance = cast(Appearance, model.frame_tower.appearance)
    still = [n for n, p in appearance.named_parameters() if p.grad is None or not p.grad.any()]
    # The inner convolutions of a residual layer wait for its scale, which is zero at first.
    assert not [name for name in still if "inner" not in name]


def test_a_saved_model_keeps_its_stages_and_its_weights_of_alignment(tmp_path: Path, stacks: torch.Tensor) -> None:
    model = BESIDE.build().eval()
    woken(model)
    weights = AlignmentWeights(level=2.0, slope=0.5, intercept=0.1)
    model.config.alignment = weights.to_dict()
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, WorldsTiny)
    assert again.alignment == weights
    assert torch.equal(again.image_features(stacks), model.image_features(stacks))
    assert again.fingerprint() == model.fingerprint()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"hidden_size": 32}, "has other sizes"), ({"stem": (8, 8, 16)}, "has other sizes")],
)
def test_a_start_of_other_sizes_is_refused(folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(BESIDE, start=str(folder), **settings).build()


def test_a_start_of_another_family_is_refused(tiny_clip: Path) -> None:
    with pytest.raises(UsageError, match="starts from its own kind only"):
        replace(BESIDE, start=str(tiny_clip)).build()
