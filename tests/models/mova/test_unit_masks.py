"""The subset form: one product for all pairs, against a loop over every pair, frame and unit in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mova.errors import UsageError
from mova.models.mova.unit_masks import UnitMaskNetwork, sinusoids, unit_score
from mova.scoring.similarity import cosine, late_interaction

WIDTH = 24


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def shaken(concepts: str = "none") -> UnitMaskNetwork:
    """A network away from its start, so that every path carries something."""
    network = UnitMaskNetwork(WIDTH, 4, concepts).double()
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return network


def data(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    frames, units = torch.randn(3, 6, WIDTH, dtype=dtype), torch.randn(4, 5, WIDTH, dtype=dtype)
    units[1, 0] = frames[2, 1]
    return (
        frames,
        torch.arange(6) < torch.tensor([[6], [4], [1]]),
        units,
        torch.arange(5) < torch.tensor([[5], [3], [2], [1]]),
    )


def all_scores(network: UnitMaskNetwork, inputs: tuple[Tensor, Tensor, Tensor, Tensor], score: str) -> Tensor:
    frames, frame_mask, units, unit_mask = inputs
    return unit_score(network(frames, frame_mask, network.read(units, unit_mask)), unit_mask, frame_mask, score)


def one_score(network: UnitMaskNetwork, frames: Tensor, units: Tensor, score: str) -> Tensor:
    """The formulas of the module written out for one video (T, d) and one text (K, d), without padding."""
    u = F.normalize(units, dim=1)
    block = network.context
    x = network.enter(u) + sinusoids(u[None])
    k = F.normalize(network.key(u + network.leave(block(x[None])[0])), dim=1)
    cosines, logs, agreement, unit_cosines = [], [], [], []
    for z in F.normalize(frames, dim=1):
        q = F.normalize(network.query(z), dim=0)
        logits = [network.log_sharpness.exp() * (q @ key) for key in k] + [network.none_bias + q @ network.none_key]
        w = torch.stack(logits).softmax(0)
        cosines.append(torch.stack([masked(network, z, v) for v in u]))
        logs.append(w[:-1].log())
        agreement.append(F.cosine_similarity(z, w[:-1] @ u, dim=0))
        unit_cosines.append(1 - w[-1])
    c, logw, a, r = torch.stack(cosines), torch.stack(logs), torch.stack(agreement), torch.stack(unit_cosines)
    pooled = [((c[:, i] / 0.1 + logw[:, i]).softmax(0) * c[:, i]).sum() for i in range(len(units))]
    covered = torch.stack(pooled).mean()
    return covered if score == "subc" else covered + 0.5 * (r * a).sum() / (r.sum() + 0.5)


def masked(network: UnitMaskNetwork, z: Tensor, u: Tensor) -> Tensor:
    if network.concept_head is None:
        return z @ u
    m = network.concept_head(u)
    if network.concepts == "hard":
        m = (m > 0.5).double()
    return F.cosine_similarity(z * m, u * m, dim=0)


@pytest.mark.parametrize("concepts", ["none", "soft", "hard"])
@pytest.mark.parametrize("score", ["sub", "subc"])
def test_one_product_equals_the_loop_over_pairs(concepts: str, score: str) -> None:
    network, inputs = shaken(concepts), data()
    frames, frame_mask, units, unit_mask = inputs
    scores = all_scores(network, inputs, score)
    for v in range(3):
        for n in range(4):
            expected = one_score(network, frames[v][frame_mask[v]], units[n][unit_mask[n]], score)
            torch.testing.assert_close(scores[v, n], expected, atol=1e-10, rtol=1e-10)


def test_gradients_equal_those_of_the_loop() -> None:
    network, inputs = shaken("soft"), data()
    frames, frame_mask, units, unit_mask = inputs
    weights = torch.randn(3, 4).double()
    of = [frames.requires_grad_(), units.requires_grad_(), *network.parameters()]
    gradients = torch.autograd.grad((all_scores(network, inputs, "sub") * weights).sum(), of)
    total = sum(
        weights[v, n] * one_score(network, frames[v][frame_mask[v]], units[n][unit_mask[n]], "sub")
        for v in range(3)
        for n in range(4)
    )
    for gradient, expected in zip(gradients, torch.autograd.grad(total, of), strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-10, rtol=1e-8)


def test_untrained_selection_equals_the_cosine() -> None:
    network = UnitMaskNetwork(WIDTH, 4)
    frames, _, units, _ = data(torch.float32)
    weights = network.weights(frames[0], units[0])
    logits = torch.cat([10 * cosine(frames[0], units[0]), torch.full((6, 1), 3.0)], dim=1)
    torch.testing.assert_close(weights, logits.softmax(dim=1), atol=1e-6, rtol=1e-5)


def test_with_flat_weights_the_covering_score_is_late_interaction() -> None:
    network, inputs = UnitMaskNetwork(WIDTH, 4), data(torch.float32)
    frames, frame_mask, units, unit_mask = inputs
    with torch.no_grad():
        network.log_sharpness.fill_(-math.inf)
    cosines = cosine(units[None], frames[:, None])
    expected = late_interaction(cosines, sentence_mask=unit_mask, frame_mask=frame_mask[:, None])
    torch.testing.assert_close(all_scores(network, inputs, "subc"), expected)


@pytest.mark.parametrize("concepts", ["none", "hard"])
def test_padding_changes_nothing(concepts: str) -> None:
    network, inputs = shaken(concepts).float(), data(torch.float32)
    frames, frame_mask, units, unit_mask = inputs
    before = all_scores(network, inputs, "sub")
    nothing = torch.full((4, 3, WIDTH), float("nan"))
    more_frames = torch.cat([frames.masked_fill(~frame_mask[..., None], float("nan")), nothing[:3]], dim=1)
    more_units = torch.cat([units.masked_fill(~unit_mask[..., None], float("nan")), nothing], dim=1)
    longer = (more_frames, F.pad(frame_mask, (0, 3)), more_units, F.pad(unit_mask, (0, 3)))
    torch.testing.assert_close(all_scores(network, longer, "sub"), before, atol=1e-6, rtol=0)
    all_scores(network, longer, "sub").sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters() if weight.grad is not None)


def test_a_frame_selects_the_unit_that_it_shows_or_none() -> None:
    network = UnitMaskNetwork(WIDTH, 4)
    frames = torch.eye(WIDTH)[:3]
    weights = network.weights(torch.cat([frames, torch.eye(WIDTH)[5:6]]), frames)
    assert weights.argmax(dim=1).tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4))


def test_matching_alone_teaches_selection() -> None:
    """No frame is ever labelled: frames show one of 30 things, or fillers that no unit tells."""
    concepts = F.normalize(torch.randn(50, WIDTH), dim=1)
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0]
    network, towers = UnitMaskNetwork(WIDTH, 4), torch.nn.ModuleList(torch.nn.Linear(WIDTH, WIDTH) for _ in range(2))
    optimiser = torch.optim.AdamW([*network.parameters(), *towers.parameters()], lr=5e-3)
    real_frames, real_units = torch.ones(24, 6, dtype=torch.bool), torch.ones(24, 2, dtype=torch.bool)

    def draw() -> tuple[Tensor, Tensor]:
        topics = torch.stack([torch.randperm(30)[:2] for _ in range(24)])
        frame_topics = torch.cat([topics[:, :1], topics, topics[:, 1:], torch.randint(30, 50, (24, 2))], dim=1)
        return concepts[frame_topics] + 0.05 * torch.randn(24, 6, WIDTH), concepts[topics] @ turn

    for _ in range(80):
        frames, units = draw()
        scores = unit_score(
            network(towers[0](frames), real_frames, network.read(towers[1](units), real_units)), real_units, real_frames
        )
        loss = F.cross_entropy(14 * scores, torch.arange(24)) + F.cross_entropy(14 * scores.T, torch.arange(24))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    frames, units = draw()
    with torch.no_grad():
        weights = torch.stack([network.weights(towers[0](f), towers[1](u)) for f, u in zip(frames, units, strict=True)])
    assert (weights[:, [0, 1]].argmax(dim=-1) == 0).float().mean() > 0.7
    assert (weights[:, [2, 3]].argmax(dim=-1) == 1).float().mean() > 0.7
    assert weights[:, 4:, 2].mean() > weights[:, :4, 2].mean() + 0.3


def test_units_see_their_order_once_trained() -> None:
    network = shaken()
    _, _, units, unit_mask = data()
    units[0, 1] = units[0, 0]
    keys = network.read(units, unit_mask).keys
    assert (keys[0, 0] - keys[0, 1]).abs().max() > 1e-6
    assert sinusoids(torch.zeros(1, 3, 5)).shape == (3, 5)


def test_zero_vectors_and_closed_concept_masks_are_finite() -> None:
    network = UnitMaskNetwork(WIDTH, 4, "hard")
    assert network.concept_head is not None
    torch.nn.init.constant_(network.concept_head.head.logits.bias, -200.0)
    frames, frame_mask, units, unit_mask = data(torch.float32)
    frames[0], units[0] = 0.0, 0.0
    scores = all_scores(network, (frames, frame_mask, units, unit_mask), "sub")
    scores.sum().backward()
    assert torch.isfinite(scores).all()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


def test_half_precision_autocast_keeps_the_products_exact() -> None:
    network, inputs = UnitMaskNetwork(WIDTH, 4), data(torch.float32)
    exact = all_scores(network, inputs, "sub")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = all_scores(network, inputs, "sub")
    torch.testing.assert_close(scores, exact, atol=1e-5, rtol=0)


def test_invalid_inputs_raise() -> None:
    network, (frames, frame_mask, units, unit_mask) = UnitMaskNetwork(WIDTH, 4), data(torch.float32)
    with pytest.raises(ValueError, match="only padding units"):
        network.read(units, unit_mask & False)
    with pytest.raises(ValueError, match="a row has only padding"):
        all_scores(network, (frames, frame_mask & False, units, unit_mask), "sub")
    with pytest.raises(UsageError, match="best"):
        all_scores(network, (frames, frame_mask, units, unit_mask), "best")
    with pytest.raises(UsageError, match="some"):
        UnitMaskNetwork(WIDTH, 4, "some")
    with pytest.raises(UsageError, match="divide"):
        UnitMaskNetwork(WIDTH, 7)
