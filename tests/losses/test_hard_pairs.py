"""Drawing hard pairs, and their loss against cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from mova.losses.hard_pairs import pair_nce, sample_hard_pairs


def test_pairs_are_distinct_mismatches_and_follow_the_seed() -> None:
    scores = torch.rand(9, 9, generator=torch.Generator().manual_seed(0))
    texts, videos = sample_hard_pairs(scores, 4, torch.Generator().manual_seed(1))
    again = sample_hard_pairs(scores, 4, torch.Generator().manual_seed(1))
    assert torch.equal(texts, again[0])
    assert torch.equal(videos, again[1])
    for drawn in (texts, videos):
        assert drawn.shape == (9, 4)
        for i, row in enumerate(drawn.tolist()):
            assert i not in row
            assert len(set(row)) == 4


def test_first_draws_have_the_softmax_frequencies() -> None:
    scores = torch.tensor([[1.0, 0.1, 0.2], [0.0, 1.0, 0.05], [0.1, 0.0, 1.0]])
    generator = torch.Generator().manual_seed(0)
    rounds = 4000
    texts = torch.cat([sample_hard_pairs(scores, 1, generator)[0] for _ in range(rounds)], dim=1)
    share = (texts[0] == 2).double().mean()
    assert abs(share - 1 / (1 + math.exp(20 * -0.1))) < 0.03
    videos = torch.cat([sample_hard_pairs(scores, 1, generator)[1] for _ in range(rounds)], dim=1)
    share = (videos[1] == 0).double().mean()  # text 1 with video 0 (0.1) or video 2 (0.0)
    assert abs(share - 1 / (1 + math.exp(20 * -0.1))) < 0.03


def test_accidental_positives_are_never_drawn_and_far_candidates_can_be() -> None:
    scores = torch.tensor([[1.0, 0.9, -1.0, -1.0], [0.9, 1.0, 0, 0], [-1.0, 0, 1.0, 0], [-1.0, 0, 0, 1.0]])
    valid = torch.ones(4, 4, dtype=torch.bool)
    valid[0, 1] = valid[1, 0] = False
    texts, videos = sample_hard_pairs(1000 * scores, 2, torch.Generator().manual_seed(0), valid=valid)
    assert sorted(texts[0].tolist()) == [2, 3]
    assert sorted(videos[1].tolist()) == [2, 3]


@pytest.mark.parametrize(
    ("scores", "count"),
    [(torch.zeros(3, 4), 1), (torch.zeros(3, 3), 3), (torch.zeros(3, 3), 0), (torch.full((3, 3), float("nan")), 1)],
)
def test_invalid_requests_raise(scores: torch.Tensor, count: int) -> None:
    with pytest.raises(ValueError, match="hard pairs"):
        sample_hard_pairs(scores, count, torch.Generator())


def test_loss_is_cross_entropy_on_the_matched_column() -> None:
    generator = torch.Generator().manual_seed(0)
    matched = torch.randn(5, dtype=torch.float64, generator=generator).requires_grad_()
    mismatched = torch.randn(5, 3, dtype=torch.float64, generator=generator).requires_grad_()
    logits = 30 * torch.cat([matched[:, None], mismatched], dim=1)
    expected = F.cross_entropy(logits, torch.zeros(5, dtype=torch.int64))
    loss_value = pair_nce(matched, mismatched, 30.0)
    torch.testing.assert_close(loss_value, expected, atol=1e-10, rtol=0)
    gradients = (torch.autograd.grad(loss, (matched, mismatched)) for loss in (loss_value, expected))
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=0)
    chance = pair_nce(torch.zeros(5), torch.zeros(5, 3), 30.0, normalize=True)
    torch.testing.assert_close(chance, torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"\(R,\), \(R, K\)"):
        pair_nce(matched, mismatched[:4], 1.0)
