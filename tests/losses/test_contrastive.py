"""Contrastive losses against cross-entropy and the written-out form."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from mova.losses.contrastive import multi_positive_nce, symmetric_nce


def test_one_positive_is_cross_entropy_with_equal_gradient() -> None:
    logits = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 3, 6, 2, 2])
    positive = F.one_hot(target, 7).bool()
    (gradient,) = torch.autograd.grad(multi_positive_nce(logits, positive), logits)
    (expected,) = torch.autograd.grad(F.cross_entropy(logits, target), logits)
    torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=0)


def test_several_positives_and_invalid_candidates_equal_explicit_arithmetic() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 8, dtype=torch.float64)
    positive = torch.rand(6, 8) < 0.3
    positive[2] = False
    valid = torch.rand(6, 8) < 0.7
    rows = []
    for i in range(6):
        if not positive[i].any():
            continue
        top = sum(logits[i, j].exp() for j in range(8) if positive[i, j])
        bottom = sum(logits[i, j].exp() for j in range(8) if positive[i, j] or valid[i, j])
        rows.append(-(top / bottom).log())
    expected = torch.stack(rows).mean()
    torch.testing.assert_close(multi_positive_nce(logits, positive, valid), expected, atol=1e-12, rtol=0)


def test_no_positive_at_all_gives_zero_with_a_gradient() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    loss = multi_positive_nce(logits, torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(2, 3))


def test_symmetric_form_equals_clip_on_a_square_matrix() -> None:
    logits = torch.randn(4, 4, dtype=torch.float64)
    target = torch.arange(4)
    clip = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
    torch.testing.assert_close(symmetric_nce(logits), clip)
    torch.testing.assert_close(symmetric_nce(logits), symmetric_nce(logits.T))
