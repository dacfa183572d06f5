"""Concepts by name, the trained basis and its file, and the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mova.errors import ModelError, UsageError
from mova.models.registry import load
from mova.models.relations.basis import FILE, Relations, respect_of
from mova.models.relations.concepts import values_of
from mova.models.relations.fit import FitSettings, fit, pair_loss
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig, shipped_folder
from mova.scoring.respects import axis_energy, concept_mask, rotation, word_subspace
from mova.worlds.factors import Event
from mova.worlds.nuisance import sample_nuisance
from mova.worlds.render import render_event
from tests.support.fakes import ColourEncoder

FINGERPRINT = "bf55d124e7fc47a20a8277296262fae13ab4dbd89d482827f7765cb3643f87a3"
WORDS = {"up": [1.0, 0.0, 0.2], "down": [-1.0, 0.0, 0.2], "wet": [0.0, 1.0, 0.2], "dry": [0.0, -1.0, 0.2]}


def encode(texts: object) -> torch.Tensor:
    return torch.tensor([WORDS[text] for text in texts])  # type: ignore[attr-defined]


def relations(**changes: object) -> Relations:
    fields = {
        "generator": torch.tensor([[0.0, 0.5, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
        "sharpness": 2.0,
        "offset": 0.5,
        "center": torch.tensor([0.0, 0.0, 0.1]),
        "concepts": {"height": [["up"], ["down"]], "moisture": [["wet"], ["dry"]]},
        "trained": ("height",),
        "fingerprint": "f",
    }
    return Relations(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("by", ["color", "the color", "the same colour", "its Colours"])
def test_concepts_have_several_names(by: str) -> None:
    name, values = values_of(by)
    assert name == "color"
    assert "a photo of red things" in values[0]


def test_a_list_of_values_is_a_concept_and_a_models_concepts_come_first() -> None:
    assert values_of("cat,  dog ,cat") == (None, [("cat",), ("dog",)])
    assert values_of(["A cat sleeps, then eats.", "A dog."])[1][0] == ("A cat sleeps, then eats.",)
    assert values_of("the place", {"place": [["here"], ["there"]]}) == ("place", [["here"], ["there"]])


@pytest.mark.parametrize(
    ("by", "message"), [("hat", "not a known concept"), ("a,", "two"), (["a"], "two"), ([], "two")]
)
def test_wrong_concepts_are_one_message(by: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        values_of(by)  # type: ignore[arg-type]


def test_a_model_with_concepts_of_its_own_refuses_others() -> None:
    """Its words do not cover the general concepts, and their subspace would be rounding errors."""
    model = load("mova-worlds-tiny")
    for by in ("the animal", "weather", "a dog, a cat"):
        with pytest.raises(UsageError, match=f"by '{by}'"):
            model.respect(by)
    with pytest.raises(UsageError, match=r"not a known concept \(color, count, motion, place"):
        model.respect("the animal")


def test_a_trained_concept_has_its_mask_in_the_basis_and_others_their_subspace() -> None:
    trained = relations()
    basis = rotation(trained.generator)
    words = F.normalize(torch.tensor([WORDS["up"], WORDS["down"]]), dim=-1)
    mask = concept_mask(axis_energy(words, basis), 2.0, 0.5)
    x, y = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5, -1.0, 2.0]])
    rows = [(F.normalize(v, dim=-1) - trained.center) @ basis * mask for v in (x, y)]
    respect = respect_of("height", encode, trained)
    assert respect.similarity(x, y).item() == pytest.approx(F.cosine_similarity(*rows).item(), abs=1e-6)
    wet = respect_of("moisture", encode, trained)
    torch.testing.assert_close(wet.projection.abs(), torch.tensor([[0.0], [1.0], [0.0]]))
    assert torch.equal(wet.center, trained.center)
    listed = respect_of("up, down", encode, None, torch.ones(3))
    torch.testing.assert_close(listed.projection, word_subspace(words))
    assert torch.equal(listed.center, torch.ones(3))


def test_a_model_that_cannot_tell_the_values_apart_says_so() -> None:
    with pytest.raises(UsageError, match="equal vectors"):
        respect_of("a unicorn, a dragon", lambda texts: torch.ones(len(texts), 3))


def test_the_file_keeps_everything(tmp_path: Path) -> None:
    written = relations()
    written.save(tmp_path)
    read = Relations.read(tmp_path)
    assert read is not None
    assert torch.equal(read.generator, written.generator)
    assert torch.equal(read.center, written.center)
    for name in ("sharpness", "offset", "concepts", "trained", "fingerprint"):
        assert getattr(read, name) == getattr(written, name)
    assert Relations.read(tmp_path / "elsewhere") is None
    (tmp_path / FILE).write_bytes(b"no tensors")
    with pytest.raises(ModelError, match=FILE):
        Relations.read(tmp_path)


def test_the_basis_is_beside_the_weights_and_is_not_used_with_others(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = WorldsTinyConfig(
        vocabulary=["<pad>", "<unk>", *WORDS], image_size=32, stem=[8, 16], hidden_size=16, heads=2, embedding_dim=12
    )
    model = WorldsTiny(config).eval()
    before = model.fingerprint()
    model.relations = relations(generator=torch.ones(12, 12).triu(), center=torch.zeros(12), fingerprint=before)
    assert model.fingerprint() == before
    assert model.respect("height").projection.shape == (12, 12)
    model.save_pretrained(tmp_path)
    again = WorldsTiny.from_pretrained(tmp_path)
    assert again.fingerprint() == before
    assert torch.equal(again.respect("height").projection, model.respect("height").projection)
    with torch.no_grad():
        again.frame_tower.cls += 1
    assert again.respect("height").projection.shape == (12, 1)  # the words' subspace


def test_training_finds_axes_that_are_not_the_models() -> None:
    """Two properties lie on the diagonals of a plane; the masks of the axes as they are cannot separate them."""
    rng = np.random.default_rng(0)
    up, wet = rng.choice([-1, 1], (2, 400))
    diagonal = rotation(torch.tensor([[0.0, np.pi / 4], [0.0, 0.0]], dtype=torch.float32))
    frames = torch.from_numpy(np.stack([up, wet], axis=1).astype(np.float32)) @ diagonal
    frames = frames + 0.1 * torch.from_numpy(rng.normal(size=frames.shape).astype(np.float32))
    values = {
        "up": torch.tensor([[1.0, 0.0], [-1.0, 0.0]]) @ diagonal,
        "wet": torch.tensor([[0.0, 1], [0, -1]]) @ diagonal,
    }
    labels = {"up": torch.from_numpy(up.clip(0)), "wet": torch.from_numpy(wet.clip(0))}
    settings = FitSettings(steps=150, batch=64, rate=1e-2)
    fitted = fit(frames + 1e-3, labels, {n: v + 0.01 * torch.eye(2) for n, v in values.items()}, settings)

    def separation(masks: torch.Tensor, basis: torch.Tensor) -> float:
        seen = F.normalize(frames @ basis * masks[0], dim=-1)
        same = labels["up"][:, None] == labels["up"][None]
        return float((seen @ seen.T)[same].mean() - (seen @ seen.T)[~same].mean())

    still = fit(frames, labels, values, FitSettings(steps=150, batch=64, rotate=False))
    rows = list(values.values())
    assert torch.equal(still.generator, torch.zeros(2, 2))
    assert separation(still.masks(rows), torch.eye(2)) < 1.2
    assert separation(fitted.masks(rows), rotation(fitted.generator)) > 1.6


def test_pairs_of_the_loss_are_those_with_values_and_both_kinds_weigh_the_same() -> None:
    logits = torch.tensor([[9.0, 2.0, -1.0, 5.0], [0, 9, 3, 5], [0, 0, 9, 5], [0, 0, 0, 9]])
    labels = torch.tensor([0, 0, 1, -1])
    same, other = np.log1p(np.exp(-2.0)), np.log1p(np.exp([-1.0, 3.0])).mean()
    assert pair_loss(logits, labels).item() == pytest.approx((same + other) / 2)
    assert pair_loss(logits, torch.full((4,), -1)).item() == 0


def test_the_shipped_basis_leaves_the_model_as_it_was_and_tells_respects_apart() -> None:
    model = load("mova-worlds-tiny", device="cpu")
    assert isinstance(model, WorldsTiny)
    assert model.fingerprint() == FINGERPRINT
    assert (shipped_folder() / FILE).is_file()
    base = Event("star", "red", "large", "growing", "beach")
    color = Event("square", "red", "small", "blinking", "room")
    place = Event("square", "blue", "small", "blinking", "beach")
    rng = np.random.default_rng(5)
    rows = []
    for event in (base, color, place):
        pictures = render_event(event, sample_nuisance(rng), "flat", [1.0, 1.5, 2.0], 3.0, 64)
        stack = torch.from_numpy(pictures.transpose(0, 3, 1, 2).reshape(1, 9, 64, 64).copy())
        with torch.no_grad():
            rows.append(model.image_features(stack))
    example, others = rows[0], torch.cat(rows[1:])
    by_color = model.respect("the color").similarity(example, others)[0]
    by_place = model.respect("the place").similarity(example, others)[0]
    assert by_color[0] > by_color[1] + 0.5
    assert by_place[1] > by_place[0] + 0.5


def test_a_model_without_a_basis_compares_by_its_words() -> None:
    respect = ColourEncoder().respect(["red", "green"])
    red, green, blue = torch.eye(8)[:3]
    assert respect.similarity(red[None], torch.stack([red, green])).tolist() == [[1.0, -1.0]]
    assert abs(respect.project(blue[None])).max() < 1e-6
