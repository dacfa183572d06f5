"""Learned units: weights against a written-out loop, padding, gradients, both kinds of backbone, training, saving."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mova.data.batch import PairBatch
from mova.errors import UsageError
from mova.losses.contrastive import symmetric_nce
from mova.losses.global_contrast import unit_scores
from mova.models.families import input_adapter
from mova.models.mova.model import Mova
from mova.models.mova.segmenter import (
    GROUPED,
    LEAST,
    LONGEST,
    SHORTEST,
    UnitSegmenter,
    _read_grouped,
    encode_learned_units,
    learned_units,
    state_width,
)
from mova.models.registry import load
from mova.models.two_tower.model import TwoTower
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig, shipped_folder
from mova.train.grad_cache import cached_backward
from mova.train.objectives.base import ModelEncoder
from mova.train.objectives.mova import MovaObjective
from mova.train.recipe import Recipe
from mova.train.run import train
from mova.worlds.batches import vocabulary
from mova.worlds.galleries import hard_gallery, render_shorts
from mova.worlds.render import TRAIN_STYLES
from tests.support.small_recipes import TRAINING

WIDTH = 12
CAPTIONS = ["a red star rises at sea two squares are moving left in the forest", "a heart", "one large ring shrinks"]


def worlds() -> WorldsTiny:
    torch.manual_seed(0)
    sizes = {"image_size": 32, "stem": [8, 8], "hidden_size": 16, "heads": 2, "embedding_dim": WIDTH}
    return WorldsTiny(WorldsTinyConfig(vocabulary=vocabulary(), **sizes)).eval()


def segmenter(sharpness: float = 6.0, width: int = WIDTH) -> UnitSegmenter:
    """One that cuts often enough to be looked at before any training."""
    torch.manual_seed(2)
    made = UnitSegmenter(width)
    with torch.no_grad():
        made.boundary.weight.mul_(sharpness)
    return made


def batch(lengths: list[int], width: int | None = None) -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    states = torch.randn(len(lengths), max(lengths), WIDTH)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return states, mask


def written_out(model: UnitSegmenter, states: Tensor) -> Tensor:
    """(M, L) weights of one text without padding, token by token in float64."""
    model = model.double()
    hidden = [model.enter(model.norm(state)) for state in states.double()]
    signals = []
    for index in range(len(hidden)):
        near = [(k, index + k - 2) for k in range(5) if 0 <= index + k - 2 < len(hidden)]
        signals.append(sum(float(model.boundary.weight[0, :, k] @ hidden[at]) for k, at in near))
    number, rows = 0.0, []
    for index, signal in enumerate(signals):
        if index > 0:
            logit = torch.tensor(signal - sum(signals) / len(signals) - 1.8, dtype=torch.float64)
            number = min(number + float(torch.sigmoid(2 * logit)), float(len(hidden) // SHORTEST))
        rows.append([max(0.0, 1 - abs(number - m)) for m in range(len(hidden) // SHORTEST + 1)])
    weights = torch.tensor(rows, dtype=torch.float64).T
    for unit in weights:
        kept = sorted(range(len(unit)), key=lambda i: (-float(unit[i]), i))[:LONGEST]
        unit[[i for i in range(len(unit)) if i not in kept]] = 0.0
    model.float()
    return weights


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 6.0, 60.0])
@torch.no_grad()
def test_the_weights_are_those_of_the_loop(sharpness: float) -> None:
    model = segmenter(sharpness)
    states, mask = batch([30, 9, 4, 1])
    output = model(states, mask)
    for text, real, weights, units in zip(states, mask, output.weights, output.mask, strict=True):
        expected = written_out(model, text[real])
        torch.testing.assert_close(weights[: len(expected), : int(real.sum())].double(), expected, atol=1e-5, rtol=0)
        assert not weights[len(expected) :].any()
        assert not weights[:, ~real].any()
        assert units.tolist()[: len(expected)] == (expected.sum(dim=1) > LEAST).tolist()


def test_before_training_a_boundary_is_rare() -> None:
    torch.manual_seed(0)
    model = UnitSegmenter(WIDTH)
    torch.nn.init.zeros_(model.boundary.weight)
    b = model.boundaries(*batch([10]))[0]
    assert b[0] == 0
    torch.testing.assert_close(b[1:], torch.full((9,), 0.0266), atol=1e-4, rtol=0)


@pytest.mark.parametrize("sharpness", [0.0, 6.0, 60.0])
@torch.no_grad()
def test_every_token_counts_once_and_every_text_has_a_unit(sharpness: float) -> None:
    states, mask = batch([20, 11, 7, 5, 4, 3, 2, 1])
    units = segmenter(sharpness)(states, mask)
    torch.testing.assert_close(units.weights.sum(dim=1), mask.float())
    assert (units.weights >= 0).all()
    assert units.mask.any(dim=1).all()
    assert units.mask[-1].tolist() == [True] + [False] * 5
    assert (units.mask.sum(dim=1) <= mask.sum(dim=1) // SHORTEST + 1).all()


@torch.no_grad()
def test_a_unit_has_at_most_twenty_tokens() -> None:
    states, mask = batch([70, 21])

    class NoBoundaries(UnitSegmenter):
        def boundaries(self, states: Tensor, mask: Tensor) -> Tensor:
            return torch.zeros(mask.shape)

    units = NoBoundaries(WIDTH)(states, mask)
    assert units.mask.sum(dim=1).tolist() == [1, 1]
    assert units.weights[:, 0].sum(dim=1).tolist() == [LONGEST, LONGEST]
    assert units.weights[0, 0, :LONGEST].all()


@pytest.mark.parametrize("kind", ["worlds", "pooled"])
@torch.no_grad()
def test_padding_and_neighbours_change_nothing(kind: str) -> None:
    backbone = worlds() if kind == "worlds" else torch.nn.Identity()
    model = segmenter(width=16 if kind == "worlds" else WIDTH)
    states, mask = batch([26, 13, 1])
    ids = torch.randint(2, 40, mask.shape)
    units, real = learned_units(backbone, model, ids, mask, states.masked_fill(~mask.unsqueeze(-1), float("nan")))
    assert units.isfinite().all()
    assert not units[~real].any()
    for i, row in enumerate(mask):
        alone, alone_mask = learned_units(
            backbone, model, ids[i : i + 1, row], mask[i : i + 1, row], states[i : i + 1, row]
        )
        torch.testing.assert_close(units[i][real[i]], alone[alone_mask], atol=1e-5, rtol=0)


@torch.no_grad()
def test_left_padding_is_padding_too() -> None:
    model = segmenter()
    states, mask = batch([14])
    right = model(torch.nn.functional.pad(states, (0, 0, 0, 3)), torch.nn.functional.pad(mask, (0, 3)))
    padded = model(torch.nn.functional.pad(states, (0, 0, 3, 0)), torch.nn.functional.pad(mask, (3, 0)))
    torch.testing.assert_close(padded.weights[..., 3:], right.weights[..., :-3])


def test_a_text_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="only padding tokens"):
        segmenter()(torch.zeros(1, 3, WIDTH), torch.zeros(1, 3, dtype=torch.bool))


@torch.no_grad()
def test_hard_boundaries_give_units_as_encoded_alone() -> None:
    """Where every boundary is 0 or 1 a soft reader gives the vectors of the pieces as texts of their own."""
    backbone = worlds()

    class FixedBoundaries(UnitSegmenter):
        def boundaries(self, states: Tensor, mask: Tensor) -> Tensor:
            cuts = torch.zeros(mask.shape)
            cuts[0, 5] = 1
            return cuts

    units = encode_learned_units(backbone, FixedBoundaries(16), CAPTIONS)
    words = CAPTIONS[0].split()
    pieces = [" ".join(words[:5]), " ".join(words[5:])]
    torch.testing.assert_close(units[0], backbone.encode_text(pieces).pooled, atol=1e-5, rtol=0)
    torch.testing.assert_close(units[1], backbone.encode_text(CAPTIONS[1]).pooled, atol=1e-5, rtol=0)


@torch.no_grad()
def test_other_backbones_have_their_states_pooled(tiny_clip: Path) -> None:
    backbone = TwoTower.from_checkpoint(tiny_clip, precision="fp32")
    model = UnitSegmenter(backbone.embedding_dim)
    torch.nn.init.normal_(model.boundary.weight)
    text = backbone.encode_text(CAPTIONS)
    output = model(text.tokens, text.mask)
    for i, units in enumerate(encode_learned_units(backbone, model, CAPTIONS)):
        weights = output.weights[i][output.mask[i]]
        expected = [sum(w * s for w, s in zip(row, text.tokens[i], strict=True)) / row.sum() for row in weights]
        torch.testing.assert_close(units, torch.stack(expected), atol=1e-5, rtol=1e-5)
    assert len(units) >= 1


@pytest.mark.parametrize("kind", ["worlds", "pooled"])
def test_gradients_reach_every_weight_and_are_right(kind: str) -> None:
    backbone = worlds().double() if kind == "worlds" else torch.nn.Identity()
    model = segmenter(width=16 if kind == "worlds" else WIDTH).double()
    states, mask = batch([14, 6])
    ids, towards = torch.randint(2, 40, mask.shape), torch.randn(WIDTH, dtype=torch.float64)

    def loss() -> Tensor:
        units, real = learned_units(backbone, model, ids, mask, states.double())
        return (torch.nn.functional.normalize(units[real], dim=-1) @ towards).square().sum()

    loss().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []
    weight = model.boundary.weight
    assert weight.grad is not None
    with torch.no_grad():
        weight[0, 3, 2] += 1e-6
        above = loss()
        weight[0, 3, 2] -= 2e-6
        below = loss()
    torch.testing.assert_close(weight.grad[0, 3, 2], (above - below) / 2e-6, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("preset", ["control", "subsets", "repaired"])
def test_a_model_keeps_what_it_learned(preset: str, tmp_path: Path) -> None:
    made = Mova.from_backbone(worlds(), preset, units="learned", heads=2)
    with torch.no_grad():
        for weight in made.segmenter.parameters():
            weight += 0.5 * torch.randn_like(weight)
    made.save_pretrained(tmp_path / "mine")
    again = load(tmp_path / "mine", precision="fp32")
    assert again.config.units == "learned"
    for reloaded, original in zip(again.encode_units(CAPTIONS), made.encode_units(CAPTIONS), strict=True):
        assert torch.equal(reloaded, original)
    assert "| units | learned |" in (tmp_path / "mine" / "README.md").read_text()
    assert again.added_parameters().parameters == made.added_parameters().parameters
    plain = Mova.from_backbone(worlds(), preset, heads=2)
    assert plain.segmenter is None
    parameters = sum(weight.numel() for weight in made.segmenter.parameters())
    assert made.added_parameters().parameters - plain.added_parameters().parameters == parameters


def test_invalid_settings_and_texts_raise() -> None:
    with pytest.raises(UsageError, match="'guessed'"):
        Mova.from_backbone(worlds(), "control", units="guessed")
    model = Mova.from_backbone(worlds(), "control", units="learned")
    assert model.encode_units([]) == []
    with pytest.raises(UsageError):
        model.encode_units(["a ring", "..."])


def test_many_texts_are_encoded_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Mova.from_backbone(worlds(), "control", units="learned")
    expected = model.encode_units(CAPTIONS)
    monkeypatch.setattr("mova.models.mova.segmenter.TEXTS", 2)
    for actual, unit in itertools.zip_longest(model.encode_units(CAPTIONS), expected):
        torch.testing.assert_close(actual, unit, atol=1e-6, rtol=0)


@pytest.mark.parametrize("objective", [{"kind": "mova", "preset": "subsets"}, {"kind": "late_interaction"}])
@pytest.mark.parametrize("chunk", [0, 1])
def test_a_recipe_trains_boundaries(
    objective: dict[str, Any], chunk: int, tiny_clip: Path, worlds_manifest: Path, tmp_path: Path
) -> None:
    recipe = Recipe(
        "small",
        seed=3,
        model={"kind": "mova", "preset": "subsets", "units": "learned", "source": str(tiny_clip)},
        data={"kind": "manifest", "manifest": str(worlds_manifest), "fps": 1.0, "frames": 3, "validation": "val"},
        objective=objective,
        training={**TRAINING, "cache_chunk": chunk},
    )
    model = train(recipe, tmp_path / "run")
    assert isinstance(model, Mova)
    start = UnitSegmenter(model.embedding_dim).norm.weight
    assert not torch.equal(model.segmenter.norm.weight, start)
    again = load(tmp_path / "run", precision="fp32", device="cpu")
    assert again.config.units == "learned"
    for weight, expected in zip(model.segmenter.parameters(), again.segmenter.parameters(), strict=True):
        assert torch.equal(weight, expected)


def test_chunks_have_the_gradient_of_the_full_batch() -> None:
    model = Mova.from_backbone(worlds(), "control", units="learned").double()
    adapter = input_adapter(model)
    ids, mask, dropped = adapter.tokenize(CAPTIONS)
    inputs = PairBatch(
        frames=torch.randint(0, 256, (3, 2, 32, 32, 3), dtype=torch.uint8),
        frame_mask=torch.tensor([[True, True], [True, False], [True, True]]),
        input_ids=ids,
        token_mask=mask,
        group=torch.arange(3),
        dropped=dropped,
    )
    towers = ModelEncoder(model, model, adapter.encode)
    gradients = {}
    for chunk in (3, 2, 1):
        model.zero_grad()
        cached_backward(MovaObjective("control"), inputs, towers, chunk)
        gradients[chunk] = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    assert gradients[3]["segmenter.boundary.weight"].any()
    for chunk in (2, 1):
        for name, gradient in gradients[3].items():
            torch.testing.assert_close(gradients[chunk][name], gradient, atol=1e-6, rtol=1e-4, msg=f"{name} at {chunk}")


@torch.no_grad()
def test_training_and_inference_split_alike() -> None:
    model = Mova.from_backbone(worlds(), "control", units="learned")
    with torch.no_grad():
        model.segmenter.boundary.weight.normal_()
    ids, mask, _ = input_adapter(model).tokenize(CAPTIONS)
    stacks = torch.zeros(1, 9, 32, 32, dtype=torch.uint8)
    rule = {"unit_ids": ids[:1], "unit_mask": mask[:1]}
    outputs = model(stacks=stacks, input_ids=ids, attention_mask=mask, **rule)
    for vectors, real, units in zip(outputs["units"], outputs["unit_mask"], model.encode_units(CAPTIONS), strict=True):
        torch.testing.assert_close(vectors[real], units, atol=1e-6, rtol=0)


@torch.no_grad()
def test_units_that_are_read_in_groups_of_similar_length_are_those_read_alone() -> None:
    backbone, rng = worlds(), torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 13, (2 * GROUPED + 5, 1), generator=rng)
    weights = torch.rand(len(lengths), 12, generator=rng).clamp_min(0.05) * (torch.arange(12) < lengths)
    ids = torch.randint(2, 40, weights.shape, generator=rng)
    alone = [backbone.read_softly(ids[[k], :n], weights[[k], :n]) for k, n in enumerate(lengths.flatten().tolist())]
    torch.testing.assert_close(_read_grouped(backbone, ids, weights), torch.cat(alone), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_learned_boundaries_lean_to_sentence_boundaries() -> None:
    """Near duplicates, marks stripped, the towers frozen, no label but which caption belongs to which video.

    The first word of a sentence ranks above the other words of its caption: the mean of three seeds, since single ones
    differ much.
    """
    backbone = WorldsTiny.from_pretrained(shipped_folder()).float().eval().requires_grad_(False)
    rng = np.random.default_rng(1)
    shorts = [short for short in hard_gallery(rng, 40) if len(short.lines) == 2]
    pixels = render_shorts(shorts, rng, TRAIN_STYLES, backbone.config.image_size)
    frames = torch.stack([backbone.frame_tower(backbone._normalize(torch.from_numpy(video))) for video in pixels])
    sentences = [[re.sub("[^a-z ]", "", line.lower()) for line in short.sentences] for short in shorts]
    ids, mask, _ = backbone.token_ids([" ".join(words) for words in sentences])
    meets = torch.zeros(mask.shape, dtype=torch.bool)
    for row, words in zip(meets, sentences, strict=True):
        row[len(words[0].split())] = True
    within = mask & ~meets
    within[:, 0] = False
    frame_mask, positive = torch.ones(frames.shape[:2], dtype=torch.bool), torch.eye(len(ids), dtype=torch.bool)
    states, vectors = backbone.text_tower(ids, mask), backbone.word_vectors(ids)
    areas = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = UnitSegmenter(state_width(backbone))
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for _ in range(40):
            units, real = learned_units(backbone, model, ids, mask, states)
            loss = symmetric_nce(30 * unit_scores(frames, frame_mask, units, real), positive)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        boundaries = model.boundaries(vectors, mask).detach()
        if seed == 0:
            assert boundaries[meets].mean() > 1.5 * boundaries[within].mean()
        below = (boundaries < boundaries[meets][:, None]) & within
        areas.append((below.sum(dim=1) / within.sum(dim=1)).mean().item())
    assert np.mean(areas) > 0.54, areas
