"""Scores against loops."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from mova.scoring import similarity
from mova.scoring.similarity import (
    cosine,
    irrelevance,
    late_interaction,
    order_score,
    relevance,
    relevance_pooled,
    soft_pool,
)


def loop_pool(scores: list[float], tau: float) -> float:
    weights = [math.exp(c / tau) for c in scores]
    return sum(w * c for w, c in zip(weights, scores, strict=True)) / sum(weights)


def test_cosine_equals_a_loop_and_is_float32() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(3, 5, dtype=torch.bfloat16), torch.randn(4, 5, dtype=torch.bfloat16)
    result = cosine(a, b)
    assert result.dtype == torch.float32
    for i in range(3):
        for j in range(4):
            u, v = a[i].double(), b[j].double()
            assert result[i, j].item() == pytest.approx((u @ v / (u.norm() * v.norm())).item(), abs=1e-6)
    assert torch.equal(relevance(a, b), result)
    assert cosine(torch.zeros(1, 5), b.float()).abs().max() == 0
    assert cosine(torch.randn(2, 3, 5), torch.randn(2, 4, 5)).shape == (2, 3, 4)


@pytest.mark.parametrize("tau", [0.05, 0.1, 1.0])
def test_soft_pool_equals_a_loop(tau: float) -> None:
    torch.manual_seed(1)
    scores = torch.rand(4, 7) * 2 - 1
    result = soft_pool(scores, tau)
    for row, value in zip(scores.tolist(), result.tolist(), strict=True):
        assert value == pytest.approx(loop_pool(row, tau), abs=1e-6)


def test_soft_pool_is_between_mean_and_maximum() -> None:
    scores = torch.tensor([0.1, 0.5, -0.9])
    assert soft_pool(scores, 1e-4).item() == pytest.approx(0.5)
    assert soft_pool(scores, 1e6).item() == pytest.approx(scores.mean().item(), abs=1e-5)


def test_padding_never_counts() -> None:
    scores = torch.tensor([[-0.5, -0.7, 0.9], [0.2, 0.4, 0.3]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    result = soft_pool(scores, 0.1, mask)
    assert result[0].item() == pytest.approx(loop_pool([-0.5, -0.7], 0.1), abs=1e-6)
    assert result[1].item() == pytest.approx(loop_pool([0.2, 0.4, 0.3], 0.1), abs=1e-6)
    scores[0, 2] = float("nan")
    assert torch.isfinite(soft_pool(scores, 0.1, mask)).all(), "regardless of the padding"


def test_late_interaction_equals_a_loop_with_masks() -> None:
    torch.manual_seed(2)
    scores = torch.rand(2, 3, 5) * 2 - 1
    sentences = torch.tensor([[True, True, False], [True, True, True]])
    frames = torch.tensor([[True, True, True, False, False], [True, True, True, True, True]])
    result = late_interaction(scores, 0.1, sentences, frames)
    for v in range(2):
        real = [
            loop_pool([scores[v, s, t].item() for t in range(5) if frames[v, t]], 0.1)
            for s in range(3)
            if sentences[v, s]
        ]
        assert result[v].item() == pytest.approx(sum(real) / len(real), abs=1e-6)
    plain = late_interaction(scores)
    assert plain.tolist() == pytest.approx([soft_pool(s).mean().item() for s in scores], abs=1e-6)


def test_rows_of_padding_alone_are_refused() -> None:
    scores = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="a row has only padding"):
        soft_pool(scores, 0.1, torch.tensor([[True, True, True], [False, False, False]]))
    with pytest.raises(ValueError, match="soft_pool: needs at least one frame"):
        soft_pool(torch.zeros(2, 0))
    with pytest.raises(ValueError, match="a row has only padding"):
        late_interaction(scores[None], sentence_mask=torch.zeros(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="tau"):
        soft_pool(scores, 0.0)


def test_gradients_flow_through_masks() -> None:
    scores = torch.randn(2, 3, 4, requires_grad=True)
    frames = torch.tensor([[True, True, True, False], [True] * 4])
    late_interaction(scores, frame_mask=frames).sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert (scores.grad[0, :, 3] == 0).all()


def all_paths(scores: Tensor, tau: float) -> Tensor:
    """The order score of (K, T) by listing every strictly increasing path; differentiable, in the input's type."""
    units, frames = scores.shape
    rows = torch.arange(units)
    energies = [(scores[rows, list(path)] / tau).sum() for path in combinations(range(frames), units)]
    return tau / units * torch.stack(energies).logsumexp(dim=0)


@pytest.fixture(params=["sums", "logarithms"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both arithmetic of the order score."""
    if request.param == "logarithms":
        monkeypatch.setattr(similarity, "DEEPEST", (-1.0, -1.0))


@pytest.mark.parametrize(("units", "frames"), [(1, 1), (1, 6), (2, 2), (3, 7), (5, 8)])
@pytest.mark.usefixtures("either_way")
def test_order_score_equals_a_list_of_all_paths_with_gradients(units: int, frames: int) -> None:
    torch.manual_seed(units)
    scores = (torch.rand(2, 3, units, frames) * 2 - 1).requires_grad_()
    exact = scores.detach().double().requires_grad_()
    result = order_score(scores)
    expected = torch.stack([torch.stack([all_paths(cosines, 0.1) for cosines in row]) for row in exact])
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), expected, atol=1e-6, rtol=1e-6)
    result.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(scores.grad.double(), exact.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("either_way")
def test_order_score_with_padding_anywhere_equals_the_score_without() -> None:
    torch.manual_seed(3)
    scores = torch.rand(2, 4, 6) * 2 - 1
    real_sentences = torch.tensor([[True, False, True, False], [False, True, True, True]])
    real_frames = torch.tensor([[True, True, False, True, True, False], [False, True, True, True, True, True]])
    hidden = scores.clone()
    hidden[~(real_sentences[:, :, None] & real_frames[:, None, :])] = float("nan")
    hidden.requires_grad_()
    result = order_score(hidden, 0.1, real_sentences, real_frames)
    for row in range(2):
        assert result[row].item() == pytest.approx(
            order_score(scores[row][real_sentences[row]][:, real_frames[row]]).item(), abs=1e-6
        )
    result.sum().backward()
    assert torch.isfinite(hidden.grad).all()
    assert (hidden.grad[0, 1] == 0).all()


@pytest.mark.usefixtures("either_way")
def test_more_sentences_than_frames_have_no_path_and_no_gradient() -> None:
    scores = torch.rand(2, 3, 4, requires_grad=True)
    real_frames = torch.tensor([[True, True, False, False], [True, True, True, False]])
    result = order_score(scores, 0.1, frame_mask=real_frames)
    assert result[0].item() == float("-inf")
    assert result[1].item() == pytest.approx(scores[1, :, :3].diag().mean().item(), abs=1e-6), "one path"
    result[1].backward(retain_graph=True)
    assert torch.isfinite(scores.grad).all()
    scores.grad = None
    torch.where(result.isinf(), 0.0, result).sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert (scores.grad[0] == 0).all()
    assert order_score(torch.rand(3, 2)).item() == float("-inf")


def test_order_score_is_stable_where_sums_of_weights_would_not_be() -> None:
    """Long captions, every sentence out of order, and a tiny tau: compared with logarithms in float64."""
    torch.manual_seed(4)
    for units, frames, tau in ((40, 200, 0.1), (12, 40, 1e-3), (60, 60, 0.1)):
        scores = torch.rand(units, frames) * 0.2 - 1
        scores[torch.arange(units), torch.arange(units).flip(0)] = 1.0
        expected = tau / units * similarity._monotone_paths_by_logs(scores.double() / tau, None)
        assert order_score(scores, tau).item() == pytest.approx(float(expected), abs=2e-6)
    assert math.isfinite(order_score(torch.ones(80, 2000)).item())


def test_order_score_prefers_the_order_of_the_caption() -> None:
    diagonal = torch.eye(4)
    assert order_score(diagonal).item() == pytest.approx(1.0, abs=1e-3)
    assert order_score(diagonal.flip(0)).item() < 0.5
    assert late_interaction(diagonal).item() == pytest.approx(late_interaction(diagonal.flip(0)).item())
    assert order_score(diagonal, 1e-4).item() == pytest.approx(1.0), "towards 0 the best path"


def test_order_score_refuses_empty_input() -> None:
    for scores, masks in (
        (torch.zeros(0, 3), {}),
        (torch.zeros(3, 0), {}),
        (torch.zeros(2, 3), {"tau": 0.0}),
        (torch.zeros(2, 3), {"frame_mask": torch.zeros(3, dtype=torch.bool)}),
        (torch.zeros(2, 3), {"sentence_mask": torch.zeros(2, dtype=torch.bool)}),
    ):
        with pytest.raises(ValueError, match=r"order_score|a row has only padding"):
            order_score(scores, **masks)


@pytest.mark.parametrize("frames", [3, 20])
def test_relevance_pooled_equals_pooling_and_then_a_cosine(frames: int) -> None:
    """Fewer and more frames than a vector has components: both ways to the pooled length."""
    torch.manual_seed(5)
    vectors, texts = torch.randn(2, frames, 8), torch.randn(4, 8)
    real_frames = torch.ones(2, frames, dtype=torch.bool)
    real_frames[0, -2:] = False
    vectors[0, -2:] = float("nan")
    cosines = cosine(texts, vectors)
    result = relevance_pooled(cosines, vectors, 0.2, real_frames)
    for v in range(2):
        z = torch.nn.functional.normalize(vectors[v][real_frames[v]].double(), dim=-1)
        for n in range(4):
            u = texts[n].double() / texts[n].double().norm()
            pooled = ((z @ u / 0.2).softmax(dim=0)[:, None] * z).sum(dim=0)
            assert result[v, n].item() == pytest.approx((pooled @ u / pooled.norm()).item(), abs=1e-6)
    plain = relevance_pooled(cosines[1], vectors[1])
    torch.testing.assert_close(plain, result[1])


def test_relevance_pooled_edges() -> None:
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert relevance_pooled(torch.zeros(1, 2), opposite).item() == 0.0, "frames that cancel out"
    alone = torch.randn(1, 5)
    texts = torch.randn(3, 5)
    torch.testing.assert_close(relevance_pooled(cosine(texts, alone), alone), cosine(texts, alone)[:, 0])
    for scores, frames, options in (
        (torch.zeros(1, 0), torch.zeros(0, 2), {}),
        (torch.zeros(1, 2), opposite, {"tau": 0.0}),
        (torch.zeros(1, 2), opposite, {"mask": torch.zeros(2, dtype=torch.bool)}),
    ):
        with pytest.raises(ValueError, match=r"relevance_pooled|a row has only padding"):
            relevance_pooled(scores, frames, **options)


def test_irrelevance_is_one_minus_the_best_cosine() -> None:
    scores = torch.tensor([[0.9, 0.1, -0.5], [0.2, 0.7, -0.8]])
    assert irrelevance(scores).tolist() == pytest.approx([0.1, 0.3, 1.5])
    assert irrelevance(scores, torch.tensor([True, False])).tolist() == pytest.approx([0.1, 0.9, 1.5])
    with pytest.raises(ValueError, match="irrelevance: needs at least one unit"):
        irrelevance(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="a row has only padding"):
        irrelevance(scores, torch.tensor([False, False]))
