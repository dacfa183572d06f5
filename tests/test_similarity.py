"""Scores against loops."""

from __future__ import annotations

import math

import pytest
import torch

from mova.models.similarity import cosine, late_interaction, relevance, soft_pool


def loop_pool(scores: list[float], tau: float) -> float:
    weights = [math.exp(c / tau) for c in scores]
    return sum(w * c for w, c in zip(weights, scores, strict=True)) / sum(weights)


def test_cosine_equals_a_loop_and_is_float32() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(3, 5, dtype=torch.bfloat16), torch.randn(4, 5, dtype=torch.bfloat16)
    found = cosine(a, b)
    assert found.dtype == torch.float32
    for i in range(3):
        for j in range(4):
            u, v = a[i].double(), b[j].double()
            assert found[i, j].item() == pytest.approx((u @ v / (u.norm() * v.norm())).item(), abs=1e-6)
    assert torch.equal(relevance(a, b), found)
    assert cosine(torch.zeros(1, 5), b.float()).abs().max() == 0
    assert cosine(torch.randn(2, 3, 5), torch.randn(2, 4, 5)).shape == (2, 3, 4)


@pytest.mark.parametrize("tau", [0.05, 0.1, 1.0])
def test_soft_pool_equals_a_loop(tau: float) -> None:
    torch.manual_seed(1)
    scores = torch.rand(4, 7) * 2 - 1
    found = soft_pool(scores, tau)
    for row, value in zip(scores.tolist(), found.tolist(), strict=True):
        assert value == pytest.approx(loop_pool(row, tau), abs=1e-6)


def test_soft_pool_lies_between_mean_and_maximum() -> None:
    scores = torch.tensor([0.1, 0.5, -0.9])
    assert soft_pool(scores, 1e-4).item() == pytest.approx(0.5)
    assert soft_pool(scores, 1e6).item() == pytest.approx(scores.mean().item(), abs=1e-5)


def test_padding_never_counts() -> None:
    scores = torch.tensor([[-0.5, -0.7, 0.9], [0.2, 0.4, 0.3]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    found = soft_pool(scores, 0.1, mask)
    assert found[0].item() == pytest.approx(loop_pool([-0.5, -0.7], 0.1), abs=1e-6)
    assert found[1].item() == pytest.approx(loop_pool([0.2, 0.4, 0.3], 0.1), abs=1e-6)
    scores[0, 2] = float("nan")
    assert torch.isfinite(soft_pool(scores, 0.1, mask)).all(), "whatever stands in the padding"


def test_late_interaction_equals_a_loop_with_masks() -> None:
    torch.manual_seed(2)
    scores = torch.rand(2, 3, 5) * 2 - 1
    sentences = torch.tensor([[True, True, False], [True, True, True]])
    frames = torch.tensor([[True, True, True, False, False], [True, True, True, True, True]])
    found = late_interaction(scores, 0.1, sentences, frames)
    for v in range(2):
        real = [
            loop_pool([scores[v, s, t].item() for t in range(5) if frames[v, t]], 0.1)
            for s in range(3)
            if sentences[v, s]
        ]
        assert found[v].item() == pytest.approx(sum(real) / len(real), abs=1e-6)
    plain = late_interaction(scores)
    assert plain.tolist() == pytest.approx([soft_pool(s).mean().item() for s in scores], abs=1e-6)


def test_rows_without_anything_real_are_refused() -> None:
    scores = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="no real item"):
        soft_pool(scores, 0.1, torch.tensor([[True, True, True], [False, False, False]]))
    with pytest.raises(ValueError, match="no frame"):
        soft_pool(torch.zeros(2, 0))
    with pytest.raises(ValueError, match="no real item"):
        late_interaction(scores[None], sentence_mask=torch.zeros(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="tau"):
        soft_pool(scores, 0.0)


def test_gradients_flow_through_masks() -> None:
    scores = torch.randn(2, 3, 4, requires_grad=True)
    frames = torch.tensor([[True, True, True, False], [True] * 4])
    late_interaction(scores, frame_mask=frames).sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert (scores.grad[0, :, 3] == 0).all()
