"""Padding and pooling, and vectors that may be zero."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mova.scoring.pooling import masked_mean, pad_rows
from mova.scoring.similarity import late_interaction, paired_cosine, soft_pool, unit


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_rows_are_padded_with_zeros() -> None:
    rows = [torch.randn(n, 4) for n in (2, 3, 1)]
    padded, mask = pad_rows(rows)
    assert mask.sum(dim=1).tolist() == [2, 3, 1]
    assert torch.equal(padded[mask], torch.cat(rows))
    assert not padded[~mask].any()
    torch.testing.assert_close(masked_mean(padded, mask), torch.stack([row.mean(dim=0) for row in rows]))


def test_a_prior_counts_frames_more_often() -> None:
    """A frame with prior log 3 weighs as if it were there three times, one with prior -inf not at all."""
    scores = torch.rand(2, 3, dtype=torch.float64)
    prior = torch.tensor([3.0, 1.0, 0.0], dtype=torch.float64).log().expand(2, 3)
    expected = soft_pool(scores[:, [0, 0, 0, 1]])
    torch.testing.assert_close(soft_pool(scores, log_prior=prior), expected, atol=1e-12, rtol=0)
    assert expected.dtype == torch.float64
    mask = torch.tensor([True, True, False])
    torch.testing.assert_close(soft_pool(scores, mask=mask, log_prior=prior), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(late_interaction(scores, log_prior=prior), expected.mean(), atol=1e-12, rtol=0)


def test_cosine_of_pairs() -> None:
    a, b = torch.randn(5, 8, dtype=torch.float64), torch.randn(5, 8, dtype=torch.float64)
    torch.testing.assert_close(paired_cosine(a, b), F.cosine_similarity(a, b), atol=1e-12, rtol=0)
    assert unit(a.half()).dtype == torch.float32


def test_a_zero_vector_has_cosine_zero_and_a_finite_gradient() -> None:
    a = torch.zeros(2, 8, requires_grad=True)
    value = paired_cosine(a, torch.randn(2, 8))
    assert value.tolist() == [0, 0]
    value.sum().backward()
    assert torch.isfinite(a.grad).all()
