"""Matrix products and blocks against the written-out broadcast in float64: values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mova.losses.pairwise import (
    SQUARED_FLOOR,
    aligned_cosine,
    masked_cosine,
    mean_violation,
    negative_logsumexp,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def hard(*shape: int, seed: int = 0) -> Tensor:
    return (draw(*shape, seed=seed) > 0).double()


def written_out(a: Tensor, m: Tensor, s: Tensor) -> Tensor:
    masked = a[:, None] * m[None]
    lengths = (
        masked.square().sum(-1).clamp_min(SQUARED_FLOOR).sqrt() * s.square().sum(-1).clamp_min(SQUARED_FLOOR).sqrt()
    )
    return (masked * s[None]).sum(-1) / lengths


def gradients(value: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    weights = draw(*value.shape, seed=9)
    return torch.autograd.grad((value * weights).sum(), inputs, allow_unused=True, retain_graph=True)


def same(actual: object, expected: object) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", ["soft", "hard", "with all-zero masks"])
def test_masked_cosine_equals_the_broadcast_in_value_and_gradient(kind: str) -> None:
    a, s = F.normalize(draw(7, 12), dim=-1), F.normalize(draw(5, 12, seed=1), dim=-1)
    m = draw(5, 12, seed=2).sigmoid() if kind == "soft" else hard(5, 12, seed=2)
    if kind == "with all-zero masks":
        m[[0, 3]] = 0
        s = s * m
    inputs = tuple(t.requires_grad_() for t in (a.clone(), m.clone(), s.clone()))
    actual, expected = masked_cosine(*inputs), written_out(*inputs)
    same(actual, expected)
    same(gradients(actual, inputs), gradients(expected, inputs))
    if kind == "with all-zero masks":
        assert (actual[:, [0, 3]] == 0).all()
        assert all(g.isfinite().all() for g in gradients(masked_cosine(*inputs), inputs))


def test_masked_cosine_is_the_ordinary_cosine_of_masked_vectors() -> None:
    a, m, s = draw(4, 9), hard(4, 9, seed=1), draw(4, 9, seed=2)
    for i in range(4):
        for j in range(4):
            same(masked_cosine(a, m, s)[i, j], F.cosine_similarity(a[i] * m[j], s[j], dim=0))
    same(aligned_cosine(a, m, s), masked_cosine(a, m, s).diagonal())


def test_masked_cosine_takes_batch_dimensions() -> None:
    a, m, s = draw(3, 4, 6), hard(3, 5, 6, seed=1), draw(3, 5, 6, seed=2)
    for i in range(3):
        same(masked_cosine(a, m, s)[i], written_out(a[i], m[i], s[i]))


def matrix(x: Tensor, y: Tensor, norms: tuple[Tensor, Tensor] | None, group: Tensor | None) -> Tensor:
    logits = x @ y.T
    if norms is not None:
        logits = logits / (norms[0][:, None] * norms[1][None]).sum(-1).clamp_min(SQUARED_FLOOR).sqrt()
    group = torch.arange(len(x)) if group is None else group
    return logits.masked_fill(group[:, None] == group[None], float("-inf"))


@pytest.mark.parametrize("rows", [1, 3, 11, 50, None])
@pytest.mark.parametrize("with_norms", [True, False])
@pytest.mark.parametrize("grouped", [True, False])
def test_blockwise_sums_equal_the_whole_matrix(rows: int | None, with_norms: bool, grouped: bool) -> None:
    count, width = 11, 6
    x, y = (7 * draw(count, width)).requires_grad_(), draw(count, width, seed=1).requires_grad_()
    p, q = draw(count, width, seed=2).square(), hard(count, width, seed=3)
    q[4] = 0  # a closed mask
    p, q = p.requires_grad_(), q.requires_grad_()
    norms = (p, q) if with_norms else None
    group = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 4]) if grouped else None
    inputs = (x, y, p, q) if with_norms else (x, y)
    actual = negative_logsumexp(x, y, norms, group, rows)
    cosines = matrix(x, y, norms, group)
    expected = (cosines.logsumexp(1), cosines.logsumexp(0))
    same(actual, expected)
    for which in (0, 1):  # each direction alone, then both together
        same(gradients(actual[which], inputs), gradients(expected[which], inputs))
    same(gradients(torch.stack(actual), inputs), gradients(torch.stack(expected), inputs))


def test_gradcheck_by_finite_differences() -> None:
    x, y = draw(5, 3).requires_grad_(), draw(5, 3, seed=1).requires_grad_()
    p, q = (draw(5, 3, seed=2).square() + 0.1).requires_grad_(), draw(5, 3, seed=3).sigmoid().requires_grad_()
    group = torch.tensor([0, 0, 1, 2, 2])
    assert torch.autograd.gradcheck(lambda *t: negative_logsumexp(t[0], t[1], (t[2], t[3]), group, 2), (x, y, p, q))


def test_rows_without_a_negative_are_minus_infinity_with_a_zero_gradient() -> None:
    x, y = draw(3, 4).requires_grad_(), draw(3, 4, seed=1).requires_grad_()
    rows, columns = negative_logsumexp(x, y, group=torch.zeros(3, dtype=torch.int64))
    assert rows.isneginf().all()
    assert columns.isneginf().all()
    for gradient in torch.autograd.grad((rows.exp() + columns.exp()).sum(), (x, y)):
        assert torch.equal(gradient, torch.zeros(3, 4, dtype=torch.float64))


def test_large_logits_neither_overflow_nor_vanish() -> None:
    x = 100 * F.normalize(draw(6, 4).float(), dim=-1)
    y = F.normalize(draw(6, 4, seed=1).float(), dim=-1)
    y[2] = -y[2]
    rows, columns = negative_logsumexp(x, y, rows=2)
    cosines = matrix(x.double(), y.double(), None, None)
    torch.testing.assert_close(rows.double(), cosines.logsumexp(1), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(columns.double(), cosines.logsumexp(0), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 4, None])
def test_hinge_equals_loops(rows: int | None) -> None:
    group = torch.tensor([0, 0, 0, 1, 2, 2, 3])
    x = F.normalize(draw(7, 5), dim=-1).requires_grad_()
    y = F.normalize(draw(7, 5, seed=1), dim=-1).requires_grad_()
    violations = []
    for i in range(7):
        parts = {True: [], False: []}
        for j in range(7):
            excess = x[i] @ y[j] - x[i] @ y[i] + 0.2
            if j != i and excess > 0:
                parts[bool(group[i] == group[j])].append(excess)
        violations.append(sum(torch.stack(part).mean() for part in parts.values() if part) + 0 * x.sum())
    actual, expected = mean_violation(x, y, 0.2, group, rows), torch.stack(violations)
    same(actual, expected)
    same(gradients(actual, (x, y)), gradients(expected, (x, y)))


def test_autocast_and_half_precision_do_not_round_logits() -> None:
    a, m, s = draw(6, 32).float(), hard(6, 32, seed=1).float(), draw(6, 32, seed=2).float()
    exact = masked_cosine(a, m, s)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(masked_cosine(a, m, s), exact)
        rows, _ = negative_logsumexp(20 * a, s, (a.square(), m))
    assert torch.equal(rows, negative_logsumexp(20 * a, s, (a.square(), m))[0])
    assert masked_cosine(a.bfloat16(), m.bfloat16(), s.bfloat16()).dtype == torch.float32


def test_a_backward_pass_inside_autocast_is_exact_too() -> None:
    a, m, s = (draw(6, 32, seed=seed).float().requires_grad_() for seed in range(3))
    values = []
    for inside in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=inside):
            loss = sum(part.sum() for part in negative_logsumexp(a, s, (a.square(), m.square())))
            values.append(torch.autograd.grad(loss, (a, m, s)))
    torch.testing.assert_close(*values, atol=0, rtol=0)


@pytest.mark.parametrize("what", ["sums", "hinge"])
def test_nothing_of_the_size_of_the_matrix_is_kept_for_the_backward_pass(what: str) -> None:
    count, width = 64, 4
    x, y = draw(count, width).requires_grad_(), draw(count, width, seed=1).requires_grad_()
    group, kept = torch.arange(count) // 4, []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        if what == "sums":
            negative_logsumexp(x, y, (x.square(), y.square()), group, 8)
        else:
            mean_violation(x, y, 0.2, group, 8)
    assert max(kept) <= count * width
