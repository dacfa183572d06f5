"""The simulated objective against its written-out form, and a small fit that identifies."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from benchmarks.studies.identify.fit import (
    Encoders,
    FitConfig,
    chance,
    contrast_loss,
    fit,
    matching_loss,
    published_loss,
)
from benchmarks.studies.identify.study import CONDITIONS, configure, identify, rolled_contrast
from benchmarks.studies.identify.world import World, WorldConfig
from mova.data.batch import PairVectors
from mova.errors import UsageError
from mova.losses.pairwise import distance_factors
from mova.models.mova.masks import straight_through
from mova.models.mova.model import Mova
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.train.objectives.mova import MovaObjective

B, T, D = 5, 3, 7


def codes(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    text, frames = torch.randn(B, D).double(), torch.randn(B, T, D).double()
    return text, frames, (torch.rand(B, T, D) > 0.5).double()


def distance(mask: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return -(mask * (a - b) ** 2).sum()


def test_energy_equals_the_explicit_distance_and_its_gradient() -> None:
    torch.manual_seed(0)
    rows, columns, mask = (torch.rand(n, D).double().requires_grad_() for n in (6, 4, 6))
    texts, masked = distance_factors(columns, mask, rows)
    fast = masked @ texts.T
    slow = torch.stack([torch.stack([distance(m, r, c) for c in columns]) for r, m in zip(rows, mask, strict=True)])
    torch.testing.assert_close(fast, slow, atol=1e-10, rtol=0)
    weight = torch.randn_like(fast)
    for a, b in zip(
        torch.autograd.grad((fast * weight).sum(), (rows, columns, mask)),
        torch.autograd.grad((slow * weight).sum(), (rows, columns, mask)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


def test_matching_contrast_compares_every_text_under_the_frames_own_mask() -> None:
    text, frames, mask = codes()
    terms = []
    for i in range(B):
        for t in range(T):
            logits = torch.stack([distance(mask[i, t], frames[i, t], text[q]) for q in range(B)])
            terms.append(logits.logsumexp(0) - logits[i])
    torch.testing.assert_close(matching_loss(text, frames, mask), torch.stack(terms).mean())


def test_published_contrast_equals_loops() -> None:
    text, frames, mask = codes()
    index = [(i, t) for i in range(B) for t in range(T)]
    temporal, same_frame, other_frame = [], [], []
    for a in index:
        everyone = torch.stack([distance(torch.ones(D), frames[a], mask[b] * text[b[0]]) for b in index])
        temporal.append(everyone.logsumexp(0) - everyone[index.index(a)])
        foreign = [b for b in index if b == a or b[0] != a[0]]
        frame_distances = torch.stack([distance(mask[b], frames[a], text[b[0]]) for b in foreign])
        same_frame.append(frame_distances.logsumexp(0) - frame_distances[foreign.index(a)])
        mask_distances = torch.stack([distance(mask[a], frames[b], text[a[0]]) for b in foreign])
        other_frame.append(mask_distances.logsumexp(0) - mask_distances[foreign.index(a)])
    written_out = torch.stack([torch.stack(part).mean() for part in (temporal, same_frame, other_frame)]).mean()
    torch.testing.assert_close(published_loss(text, frames, mask), written_out)


def test_the_objective_of_a_recipe_is_the_simulated_loss() -> None:
    """A mask of frames alone, as the simulated gate; of the published form the same terms, for its two masks."""
    torch.manual_seed(0)
    config = WorldsTinyConfig(
        vocabulary=["<pad>", "<unk>"], image_size=32, stem=[8], hidden_size=8, heads=2, embedding_dim=8
    )
    text, frames = torch.randn(B, 8), torch.randn(B, T, 8)
    real = torch.ones(B, T, dtype=torch.bool)
    tokens = {"tokens": torch.randn(B, 2, 8), "token_mask": torch.ones(B, 2, dtype=torch.bool)}
    vectors = PairVectors(frames, real, text, torch.arange(B), torch.tensor(1.0), **tokens)
    settings: dict[str, Any] = {"pooled": 0.0, "sparsity": 0.0, "energy": "distance", "tau": 1.0, "diagnose_every": 0}
    gate = Mova.from_backbone(WorldsTiny(config), "paper", masks="concept", concept_inputs="frame", heads=2)
    terms = {"temporal": 0.0, "same_frame": 0.0, "different_frame": 0.0, "matching": 1.0}
    objective = MovaObjective("paper", **terms, **settings)
    assert objective.scoring_form is None
    loss, _ = objective.losses(vectors, torch.eye(B, dtype=torch.bool), gate)
    mask = gate.masks(frames, real, **tokens, text=text).m_v
    assert 0 < float(mask.detach().mean()) < 1
    torch.testing.assert_close(loss, matching_loss(text, frames, mask))
    assert torch.equal(mask, gate.masks(frames, real, **tokens, text=text.flip(0)).m_v), "it reads the frame alone"

    model = Mova.from_backbone(WorldsTiny(config), "paper", heads=2)
    _, parts = MovaObjective("paper", margin=0.0, **settings).losses(vectors, torch.eye(B, dtype=torch.bool), model)
    masks = model.masks(frames, real, **tokens, text=text)
    index = [(i, t) for i in range(B) for t in range(T)]
    temporal, same_frame, other_frame = [], [], []
    for k, (i, t) in enumerate(index):
        s = {b: text[b[0]] * masks.m_t[b] for b in index}
        row = torch.stack([distance(torch.ones(8), frames[i, t], s[b]) for b in index])
        temporal.append(row.logsumexp(0) - row[k])
        foreign = [b for b in index if b[0] != i or b == (i, t)]
        own = foreign.index((i, t))
        row = torch.stack([distance(masks.m_v[b], frames[i, t], s[b]) for b in foreign])
        same_frame.append(row.logsumexp(0) - row[own])
        row = torch.stack([distance(masks.m_v[i, t], frames[b], s[i, t]) for b in foreign])
        other_frame.append(row.logsumexp(0) - row[own])
    for name, values in (("temporal", temporal), ("same_frame", same_frame), ("different_frame", other_frame)):
        torch.testing.assert_close(parts[name], torch.stack(values).mean(), atol=1e-4, rtol=1e-4)


def test_masks_that_encode_their_frame_minimize_the_published_contrast_without_the_text() -> None:
    """Build the identity shortcut by hand: constant texts, and a binary code of every frame in its mask."""
    torch.manual_seed(0)
    names = torch.stack([torch.randperm(16) < 8 for _ in range(B * T)]).double().view(B, T, 16)
    text = torch.full((B, 16), 5.0).double()
    frames = 5.0 * names
    assert float(published_loss(text, frames, names)) < 1e-3
    assert float(matching_loss(text, frames, names)) == pytest.approx(math.log(B))


@pytest.mark.parametrize("contrast", ["matching", "published"])
def test_uninformative_codes_are_at_chance_and_empty_masks_are_finite(contrast: str) -> None:
    config = FitConfig(batch=B, contrast=contrast)  # type: ignore[arg-type]
    world = World(WorldConfig(frames=T), 0)
    loss = matching_loss if contrast == "matching" else published_loss
    silent = torch.zeros(B, T, D, requires_grad=True)
    value = loss(torch.zeros(B, D), silent, torch.zeros(B, T, D))
    assert value.item() == pytest.approx(chance(world, config))
    value.backward()
    assert bool(torch.isfinite(silent.grad).all())  # type: ignore[arg-type]


def test_straight_through_is_binary_forward_and_the_identity_backward() -> None:
    probability = torch.tensor([0.2, 0.5, 0.7], requires_grad=True)
    mask = straight_through(probability)
    assert mask.tolist() == pytest.approx([0, 0, 1])
    mask.sum().backward()
    assert probability.grad is not None
    assert probability.grad.tolist() == [1, 1, 1]


def test_rolling_pairs_every_video_with_a_wrong_text() -> None:
    world = World(WorldConfig(), 0)
    draw = world.draw(B, torch.Generator().manual_seed(0))
    model = Encoders(world, FitConfig())
    rolled, opened = contrast_loss(model, draw, FitConfig(batch=B, rolled=True))
    text = model.text(draw.text)[torch.tensor([4, 0, 1, 2, 3])]
    mask = straight_through(model.open_probability(draw.frames))
    torch.testing.assert_close(rolled, matching_loss(text, model.frame(draw.frames), mask))
    torch.testing.assert_close(opened, model.open_probability(draw.frames).sum(-1).mean())


def test_without_masks_everything_is_open() -> None:
    world = World(WorldConfig(), 0)
    model = Encoders(world, FitConfig(masks=False))
    draw = world.draw(B, torch.Generator().manual_seed(0))
    assert bool((model.open_probability(draw.frames) == 1).all())
    frames = model.frame(draw.frames).flatten(0, 1)
    logits = -(torch.cdist(frames, model.text(draw.text)) ** 2)
    value, opened = contrast_loss(model, draw, FitConfig(masks=False))
    video_index = torch.arange(B).repeat_interleave(world.config.frames)
    torch.testing.assert_close(value, F.cross_entropy(logits, video_index), atol=1e-4, rtol=1e-4)
    assert float(opened) == FitConfig().code


def test_every_parameter_is_trained_and_a_seed_is_reproducible() -> None:
    world = World(WorldConfig(), 0)
    config = FitConfig(steps=3, batch=16)
    first, again = fit(world, config, 0), fit(world, config, 0)
    torch.manual_seed(0)
    start = Encoders(world, config)
    for weight, again_weight, before in zip(first.parameters(), again.parameters(), start.parameters(), strict=True):
        assert torch.equal(weight, again_weight)
        assert not torch.equal(weight, before)


def test_conditions_differ_from_the_full_one_in_one_thing() -> None:
    world, config = configure("full", steps=7)
    assert config.steps == 7
    for name, condition in CONDITIONS.items():
        assert len(condition.world) + len(condition.fit) == (name != "full")
        assert (configure(name, steps=7) == (world, config)) == (name == "full")
    with pytest.raises(UsageError, match="no view diversity"):
        configure("no such thing")


@pytest.mark.slow
def test_a_small_fit_identifies_and_needs_the_match() -> None:
    outcome = identify("full", 5, steps=1200)
    measures = outcome.measures
    assert measures.to_truth > 0.85
    assert measures.from_truth > 0.7
    assert measures.precision > 0.6
    assert measures.recall > 0.7
    assert measures.atom_own > measures.atom_other + 0.4
    assert measures.text_nuisance < 0.05
    assert outcome.contrast < outcome.chance - 2
    assert outcome.opened.shape == (6, 16)
    assert rolled_contrast("full", 5, steps=60) > outcome.chance - 0.05
