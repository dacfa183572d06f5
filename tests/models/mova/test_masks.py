"""Temporal and concept masks: what they see, what they do not, and what they cost."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mova.errors import UsageError
from mova.models.layers.attention import Block
from mova.models.mova.masks import ConceptMaskNetwork, TemporalMaskNetwork, straight_through
from mova.scoring.masked import ModularScore, frame_relevance_weights, modular_score

WIDTH = 24
FORMS = ["cross", "joint"]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def texts(count: int = 3, length: int = 7) -> tuple[Tensor, Tensor]:
    mask = torch.arange(length) < torch.tensor([length, 3, 1])[:count, None]
    return torch.randn(count, length, WIDTH), mask


def probabilities(network: TemporalMaskNetwork, frames: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    return network(frames, network.read(tokens, mask))


def test_straight_through_is_hard_forward_and_soft_backward() -> None:
    soft = torch.tensor([0.0, 0.1, 0.5, 0.500001, 0.9, 1.0, 1 / 3], requires_grad=True)
    hard = straight_through(soft)
    assert hard.tolist() == [0, 0, 0, 1, 1, 1, 0]
    weights = torch.arange(7.0)
    (hard * weights).sum().backward()
    assert torch.equal(soft.grad, weights)
    assert straight_through(torch.tensor([float("nan")])).isnan().all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("last_residual", [True, False])
def test_a_mask_changes_with_its_own_frame_and_text_only(form: str, depth: int, last_residual: bool) -> None:
    network = TemporalMaskNetwork(WIDTH, depth, 4, form, last_residual)
    frames, (tokens, mask) = torch.randn(3, 5, WIDTH), texts()
    before = probabilities(network, frames, tokens, mask)
    assert before.shape == frames.shape
    assert ((before > 0) & (before < 1)).all()

    other_frame = frames.clone()
    other_frame[0, 2] = torch.randn(WIDTH)
    changed = (probabilities(network, other_frame, tokens, mask) - before).abs().amax(dim=-1)
    assert changed[0, 2] > 1e-5
    changed[0, 2] = 0
    assert changed.max() < 1e-6

    other_text = tokens.clone()
    other_text[1, 2] = torch.randn(WIDTH)
    changed = (probabilities(network, frames, other_text, mask) - before).abs().amax(dim=-1)
    assert (changed[1] > 1e-5).all()
    assert changed[[0, 2]].max() < 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_padding_tokens_and_more_frames_change_nothing(form: str) -> None:
    network = TemporalMaskNetwork(WIDTH, 2, 4, form)
    frames, (tokens, mask) = torch.randn(3, 5, WIDTH), texts()
    before = probabilities(network, frames, tokens, mask)
    garbage = torch.full((3, 4, WIDTH), float("nan"))
    longer, longer_mask = torch.cat([tokens, garbage], 1), torch.cat([mask, torch.zeros(3, 4, dtype=torch.bool)], 1)
    torch.testing.assert_close(probabilities(network, frames, longer, longer_mask), before, atol=1e-6, rtol=0)
    alone = probabilities(network, frames[1:2, 3:4], tokens[1:2, :3], mask[1:2, :3])
    torch.testing.assert_close(alone, before[1:2, 3:4], atol=1e-6, rtol=0)
    more = probabilities(network, torch.cat([frames, torch.randn(3, 2, WIDTH)], 1), tokens, mask)
    torch.testing.assert_close(more[:, :5], before, atol=1e-6, rtol=0)


def test_the_joint_form_is_a_transformer_over_frame_and_tokens() -> None:
    network = TemporalMaskNetwork(WIDTH, 3, 4, "joint").double()
    frames, (tokens, mask) = torch.randn(3, 2, WIDTH).double(), texts()
    actual = probabilities(network, frames, tokens.double(), mask)
    keep = torch.cat([torch.ones(3, 1, dtype=torch.bool), mask], dim=1)
    for i in range(2):
        x = torch.cat([network.enter_frame(frames[:, i : i + 1]), network.enter_token(tokens.double())], dim=1)
        for block in network.blocks:
            x = block(x, keep)
        torch.testing.assert_close(actual[:, i], network.head(x[:, 0]))


def test_the_cross_form_reads_a_text_that_attended_once() -> None:
    network = TemporalMaskNetwork(WIDTH, 2, 4, "cross")
    frames, (tokens, mask) = torch.randn(3, 2, WIDTH), texts()
    assert isinstance(network.reader, Block)
    states = network.reader(network.enter_token(tokens), mask)
    x = network.enter_frame(frames)
    for block in network.blocks:
        q, k, v = (
            F.linear(block.norm1(y), w, b).unflatten(-1, (4, -1)).transpose(1, 2)
            for y, w, b in zip((x, states, states), block.qkv.weight.chunk(3), block.qkv.bias.chunk(3), strict=True)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = x + block.out(mixed.transpose(1, 2).flatten(2))
        x = x + block.down(F.relu(block.up(block.norm2(x))))
    torch.testing.assert_close(probabilities(network, frames, tokens, mask), network.head(x))


@pytest.mark.parametrize("form", FORMS)
def test_without_the_last_residual_a_one_word_text_gives_every_frame_the_same_mask(form: str) -> None:
    """The frame can only weight words; of one word there is nothing to weight."""
    frames, (tokens, mask) = torch.randn(3, 5, WIDTH), texts()
    for depth, last_residual in ((1, False), (1, True)):
        network = TemporalMaskNetwork(WIDTH, depth, 4, form, last_residual)
        of_one_word = probabilities(network, frames, tokens, mask)[2]
        assert ((of_one_word - of_one_word[0]).abs().max() < 1e-6) == (not last_residual)


def test_the_concept_mask_sees_the_frame_only_where_it_should() -> None:
    text, frames = torch.randn(2, 3, WIDTH), torch.randn(2, 3, WIDTH)
    for inputs, sees in (("text_and_frame", True), ("text", False), ("frame", True)):
        network = ConceptMaskNetwork(WIDTH, 4, inputs)
        before = network(text, frames)
        assert before.shape == frames.shape
        changed = (network(text, frames + 1.0 * torch.randn_like(frames)) - before).abs().amax(dim=-1)
        assert (changed > 1e-6).all() == sees
        other_text = text.clone()
        other_text[1, 2] = 0.0
        changed = (network(other_text, frames) - before).abs().amax(dim=-1)
        assert (changed[1, 2] > 1e-5) == (inputs != "frame")
        changed[1, 2] = 0
        assert changed.max() < 1e-6


def test_checkpointing_changes_no_gradient() -> None:
    network, frames, (tokens, mask) = TemporalMaskNetwork(WIDTH, 3, 4, "joint"), torch.randn(3, 2, WIDTH), texts()
    gradients = []
    for chosen in (False, True):
        network.gradient_checkpointing = chosen
        loss = probabilities(network, frames, tokens, mask).square().sum()
        gradients.append(torch.autograd.grad(loss, list(network.parameters())))
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("last_residual", [True, False])
def test_half_precision_autocast_is_close(form: str, last_residual: bool) -> None:
    network, concept = TemporalMaskNetwork(WIDTH, 2, 4, form, last_residual), ConceptMaskNetwork(WIDTH, 4)
    frames, (tokens, mask) = torch.randn(3, 5, WIDTH), texts()
    exact = probabilities(network, frames, tokens, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = probabilities(network, frames, tokens, mask)
        concepts = concept(actual * frames, frames)
    assert actual.dtype == concepts.dtype == torch.float32
    torch.testing.assert_close(actual, exact, atol=0.03, rtol=0)
    (actual.sum() + concepts.sum()).backward()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters() if weight.grad is not None)


@pytest.mark.parametrize("form", FORMS)
def test_masks_start_mostly_on(form: str) -> None:
    frames, (tokens, mask) = torch.randn(3, 50, 64), texts()
    tokens = torch.randn(3, 7, 64)
    temporal, concept = TemporalMaskNetwork(64, 2, 8, form), ConceptMaskNetwork(64)
    p = probabilities(temporal, frames, tokens, mask)
    assert 0.9 < straight_through(p).mean() < 1.0
    assert 0.9 < straight_through(concept(p * frames, frames)).mean() < 1.0


@pytest.mark.parametrize("bad", [{"depth": 0}, {"depth": 9}, {"heads": 5}, {"heads": 0}, {"form": "both"}])
def test_invalid_settings_are_rejected(bad: dict) -> None:
    with pytest.raises(UsageError):
        TemporalMaskNetwork(WIDTH, **({"heads": 4} | bad))
    TemporalMaskNetwork(WIDTH, depth=8, heads=4)
    with pytest.raises(UsageError):
        ConceptMaskNetwork(WIDTH, 4, "frames")


def test_a_text_without_tokens_is_refused() -> None:
    network = TemporalMaskNetwork(WIDTH, heads=4)
    with pytest.raises(ValueError, match="only padding tokens"):
        network.read(torch.randn(2, 3, WIDTH), torch.tensor([[True] * 3, [False] * 3]))


@pytest.mark.parametrize("score", get_args(ModularScore))
def test_modular_scores_equal_explicit_arithmetic(score: str) -> None:
    frames, text = torch.randn(3, 5, WIDTH).double(), torch.randn(3, WIDTH).double()
    m_t, m_v = (torch.rand(2, 3, 5, WIDTH) > 0.3).double()
    mask = torch.arange(5) < torch.tensor([[5], [2], [1]])
    scores = modular_score(frames, text, m_t, m_v, mask, score)
    for p, length in enumerate((5, 2, 1)):
        z, s = frames[p, :length], text[p]
        weights = (F.cosine_similarity(z, s[None], dim=1) / 0.2).softmax(0)
        if score != "agg":
            seen = z * m_v[p, :length] if score.startswith("mod") else z
            cosines = torch.stack([F.cosine_similarity(seen[t], s * m_t[p, t], dim=0) for t in range(length)])
            if score.endswith("top"):
                expected = cosines.sort(descending=True).values[:3].mean()
            else:
                expected = (cosines * weights).sum() if score.endswith("relevance") else cosines.mean()
        else:
            pooled = sum(w * F.normalize(v, dim=0) * m for w, v, m in zip(weights, z, m_v[p, :length], strict=True))
            expected = F.cosine_similarity(pooled, s, dim=0)
        torch.testing.assert_close(scores[p], expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("score", ["mod", "mod-top", "tv-relevance", "agg"])
@pytest.mark.parametrize("hard", [True, False])
def test_all_zero_masks_score_zero_with_finite_gradients(score: str, hard: bool) -> None:
    frames, (tokens, mask), text = torch.randn(2, 3, WIDTH), texts(2), torch.randn(2, WIDTH)
    temporal, concept = TemporalMaskNetwork(WIDTH, heads=4), ConceptMaskNetwork(WIDTH, 4)
    for head in (temporal.head, concept.head):
        torch.nn.init.zeros_(head.logits.weight)
        torch.nn.init.constant_(head.logits.bias, -200.0)
    p_t = probabilities(temporal, frames, tokens, mask)
    m_t = straight_through(p_t) if hard else p_t
    p_v = concept(text.unsqueeze(1) * m_t, frames)
    m_v = straight_through(p_v) if hard else p_v
    assert m_t.max() == m_v.max() == 0
    value = modular_score(frames, text, m_t, m_v, torch.ones(2, 3, dtype=torch.bool), score)
    assert value.tolist() == [0, 0]
    value.sum().backward()
    for network in (temporal, concept):
        for weight in network.parameters():
            assert weight.grad is None or torch.isfinite(weight.grad).all()


def test_scores_without_frames_or_with_unknown_names_are_refused() -> None:
    ones = torch.ones(1, 2, WIDTH)
    with pytest.raises(ValueError, match="only padding frames"):
        modular_score(ones, ones[:, 0], ones, ones, torch.zeros(1, 2, dtype=torch.bool))
    with pytest.raises(UsageError, match="best"):
        modular_score(ones, ones[:, 0], ones, ones, torch.ones(1, 2, dtype=torch.bool), "best")


def test_frames_are_weighted_by_relevance_and_padding_is_excluded() -> None:
    frames, text = torch.randn(1, 3, WIDTH), torch.randn(1, WIDTH)
    frames[0, 1] = text[0]
    weights = frame_relevance_weights(frames, text, torch.tensor([[True, True, False]]))
    assert weights[0, 1] > 0.9
    assert weights[0, 2] == 0
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
