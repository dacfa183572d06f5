"""Baseline heads against loops over single pairs, without padding, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mova.baselines import base
from mova.baselines.base import Baseline
from mova.baselines.one_way_mask import OneWayMask
from mova.baselines.registry import BASELINES
from mova.baselines.temporal_transformer import TemporalTransformer
from mova.baselines.token_wise import TokenWise
from mova.baselines.x_pool import XPool
from mova.errors import UsageError
from mova.scoring.similarity import cosine, masked_cosine, relevance_pooled, squared_length

WIDTH = 16
Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
NAMES = pytest.mark.parametrize("name", BASELINES)


def batch(videos: int = 3, frames: int = 5, texts: int = 4, tokens: int = 6, width: int = WIDTH) -> Inputs:
    """Lengths from 1 to all; one text has a hole in its mask."""
    torch.manual_seed(3)
    frame_mask = torch.arange(frames) < torch.linspace(1, frames, videos).round()[:, None]
    token_mask = torch.arange(tokens) < torch.linspace(1, tokens, texts).round()[:, None]
    if tokens > 2:
        token_mask[-1, 1] = False
    draw = [torch.randn(*size, width, dtype=torch.float64) for size in ((videos, frames), (texts,), (texts, tokens))]
    return draw[0], frame_mask, draw[1], draw[2], token_mask


def head(name: str, width: int = WIDTH) -> Baseline:
    """A head far from its start: every parameter moved."""
    torch.manual_seed(4)
    made = BASELINES[name](width).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        if isinstance(made, OneWayMask):
            made.network.head.logits.bias.zero_()  # masks start mostly on; here about half is off
    return made


def cos(a: Tensor, b: Tensor) -> Tensor:
    return a @ b / (a.norm() * b.norm())


def normed(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def mean_pool(made: Baseline, z: Tensor, u: Tensor, h: Tensor) -> Tensor:
    return cos(normed(z).mean(0), u)


def temporal_transformer(made: Baseline, z: Tensor, u: Tensor, h: Tensor) -> Tensor:
    assert isinstance(made, TemporalTransformer)
    z = normed(z) * math.sqrt(WIDTH)
    x = (z + made.sequence.positions.weight[: len(z)])[None]
    for block in made.sequence.blocks:
        x = block(x)
    return mean_pool(made, z + x[0], u, h)


def one_way_mask(made: Baseline, z: Tensor, u: Tensor, h: Tensor) -> Tensor:
    assert isinstance(made, OneWayMask)
    every = torch.ones(1, len(h), dtype=torch.bool)
    p = made.network(normed(u)[None, None], made.network.read(normed(h)[None], every))[0, 0]
    assert 0 < int((p > 0.5).sum()) < WIDTH
    return cos(normed(z).mean(0) * ((p > 0.5) if made.hard else p), u)


def token_wise(made: Baseline, z: Tensor, u: Tensor, h: Tensor) -> Tensor:
    assert isinstance(made, TokenWise)
    b = made.frame_weight(normed(z) * math.sqrt(WIDTH)).flatten().softmax(0)
    a = made.token_weight(normed(h) * math.sqrt(WIDTH)).flatten().softmax(0)
    word_score = sum(a[i] * max(cos(frame, h[i]) for frame in z) for i in range(len(h)))
    frame_score = sum(b[t] * max(cos(z[t], token) for token in h) for t in range(len(z)))
    return (word_score + frame_score) / 2


def x_pool(made: Baseline, z: Tensor, u: Tensor, h: Tensor) -> Tensor:
    """As the paper writes it: the pooled vector, its layer norms, and the residual map on it."""
    assert isinstance(made, XPool)
    frames, query = made.norm1(normed(z) * math.sqrt(WIDTH)), made.norm1(normed(u) * math.sqrt(WIDTH))
    weights = (made.key(frames) @ made.query(query) / math.sqrt(WIDTH)).softmax(0)
    r = made.norm2(made.out(weights @ made.value(frames)))
    return cos(made.norm3(r + made.feed(r)), u)


def relevance_pool(made: Baseline, z: Tensor, u: Tensor, h: Tensor) -> Tensor:
    weights = torch.stack([cos(frame, u) for frame in z]).div(0.2).softmax(0)
    return cos(weights @ normed(z), u)


ORACLES = {
    oracle.__name__: oracle
    for oracle in (mean_pool, temporal_transformer, one_way_mask, token_wise, x_pool, relevance_pool)
}


@NAMES
@pytest.mark.parametrize(("frames", "tokens"), [(5, 6), (1, 6), (5, 1), (1, 1), (20, 3)])
def test_scores_and_gradients_equal_a_loop_over_pairs(name: str, frames: int, tokens: int) -> None:
    z, frame_mask, u, h, token_mask = inputs = batch(frames=frames, tokens=tokens)
    made = head(name)
    z.requires_grad_(), u.requires_grad_(), h.requires_grad_()
    scores = made(*inputs)
    pairs = [
        [ORACLES[name](made, z[v, frame_mask[v]], u[n], h[n, token_mask[n]]) for n in range(len(u))]
        for v in range(len(z))
    ]
    expected = torch.stack([torch.stack(row) for row in pairs])
    torch.testing.assert_close(scores, expected, atol=1e-10, rtol=0)
    assert scores.abs().amax() <= 1 + 1e-9
    weights = torch.randn_like(scores)
    leaves = [z, u, h, *made.parameters()]
    got = torch.autograd.grad((scores * weights).sum(), leaves, materialize_grads=True, allow_unused=True)
    want = torch.autograd.grad((expected * weights).sum(), leaves, materialize_grads=True, allow_unused=True)
    if name == "one_way_mask":  # the oracle's masks are constants: the straight-through gradient has its own test
        got, want = got[:1], want[:1]
    for gradient, expected_gradient in zip(got, want, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-9, rtol=1e-7)


@NAMES
def test_padding_changes_nothing(name: str) -> None:
    z, frame_mask, u, h, token_mask = batch()
    made = head(name)
    expected = made(z, frame_mask, u, h, token_mask)
    for rubbish in (1e4, float("nan"), float("inf")):
        dirty = torch.where(frame_mask[..., None], z, rubbish)
        words = torch.where(token_mask[..., None], h, rubbish)
        wide = torch.cat([dirty, torch.full_like(z[:, :3], rubbish)], 1), F.pad(frame_mask, (0, 3))
        long = torch.cat([torch.full_like(h[:, :2], rubbish), words], 1), F.pad(token_mask, (2, 0))
        torch.testing.assert_close(made(*wide, u, *long), expected)
        middle = torch.full_like(z[:, :1], rubbish)
        apart = (
            torch.cat([dirty[:, :1], middle, dirty[:, 1:]], 1),
            torch.cat([frame_mask[:, :1], ~frame_mask[:, :1], frame_mask[:, 1:]], 1),
        )
        torch.testing.assert_close(made(*apart, u, words, token_mask), expected)


@NAMES
def test_gradients_are_finite_and_reach_what_counts(name: str) -> None:
    z, frame_mask, u, h, token_mask = (x.float() if x.is_floating_point() else x for x in batch())
    z[0, 0], z[2, 1], h[1, 0] = 0.0, z[2, 0], h[1, 1]  # a frame of zeros; ties
    torch.manual_seed(0)
    made = BASELINES[name](WIDTH)
    leaves = [x.requires_grad_() for x in (z, u, h)]
    scores = made(z, frame_mask, u, h, token_mask)
    assert scores.dtype == torch.float32
    assert scores.shape == (3, 4)
    scores.square().sum().backward()
    for leaf in leaves:
        assert leaf.grad is None or torch.isfinite(leaf.grad).all()
    assert z.grad is not None
    assert z.grad[frame_mask].abs().sum() > 0
    assert z.grad[~frame_mask].abs().sum() == 0
    if h.grad is not None:
        assert h.grad[~token_mask].abs().sum() == 0
    for label, parameter in made.named_parameters():
        assert parameter.grad is not None, label
        assert torch.isfinite(parameter.grad).all(), label


@NAMES
def test_scores_do_not_depend_on_scale_or_on_the_batch(name: str) -> None:
    z, frame_mask, u, h, token_mask = batch()
    made = head(name)
    expected = made(z, frame_mask, u, h, token_mask)
    torch.testing.assert_close(made(40 * z, frame_mask, u / 30, 7 * h, token_mask), expected)
    torch.testing.assert_close(made(z[1:2], frame_mask[1:2], u[2:], h[2:], token_mask[2:]), expected[1:2, 2:])


@NAMES
@pytest.mark.parametrize("cells", [1, 7, 40])
def test_blocks_of_pairs_give_the_scores_of_one_block(name: str, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, made = batch(videos=5), head(name)
    expected = made(*inputs)
    inputs[0].requires_grad_()
    (gradient,) = torch.autograd.grad(made(*inputs).square().sum(), inputs[0])
    monkeypatch.setattr(base, "BLOCK_CELLS", cells)
    scores = made(*inputs)
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(torch.autograd.grad(scores.square().sum(), inputs[0])[0], gradient)


@NAMES
def test_full_precision_under_autocast_and_for_half_precision_inputs(name: str) -> None:
    z, frame_mask, u, h, token_mask = (x.bfloat16() if x.is_floating_point() else x for x in batch())
    made = BASELINES[name](WIDTH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = made(z, frame_mask, u, h, token_mask)
    torch.testing.assert_close(scores, made(z.float(), frame_mask, u.float(), h.float(), token_mask), atol=0, rtol=0)


@NAMES
def test_invalid_inputs_raise(name: str) -> None:
    z, frame_mask, u, h, token_mask = batch()
    made = head(name)
    for wrong, words in (
        ((z, frame_mask, u[:2], h, token_mask), "text"),
        ((z, frame_mask[:, :2], u, h, token_mask), "frame_mask"),
        ((z[..., :8], frame_mask, u, h, token_mask), "16"),
        ((z, frame_mask, u, h, token_mask[:2]), "token_mask"),
        ((z, frame_mask.double(), u, h, token_mask), "bool"),
        ((z, frame_mask & False, u, h, token_mask), "only padding frames"),
        ((z, frame_mask, u, h, token_mask & False), "only padding tokens"),
        ((z[:0], frame_mask[:0], u, h, token_mask), "at least one video and one text"),
        ((z, frame_mask, u[:0], h[:0], token_mask[:0]), "at least one video and one text"),
    ):
        with pytest.raises(ValueError, match=words):
            made(*wrong)


def test_x_pool_starts_as_attention_by_cosine() -> None:
    """On centred texts: relevance pooling of centred frames, of temperature 1 / sqrt(d)."""
    z, frame_mask, u, h, token_mask = batch()
    u = u - u.mean(-1, keepdim=True)
    centred = z - z.mean(-1, keepdim=True)
    made = XPool(WIDTH).double()
    for norm in (made.norm1, made.norm2, made.norm3):
        norm.eps = 1e-14
    scores = torch.einsum("nd,vtd->vnt", normed(u), normed(centred))
    expected = relevance_pooled(scores, centred, WIDTH**-0.5, frame_mask)
    torch.testing.assert_close(made(z, frame_mask, u, h, token_mask), expected)
    torch.testing.assert_close(XPool(WIDTH).double()(z, frame_mask, u, h, token_mask), expected, atol=1e-4, rtol=0)


def test_the_temporal_transformer_starts_as_mean_pooling() -> None:
    inputs = batch()
    made = TemporalTransformer(WIDTH).double()
    torch.testing.assert_close(made(*inputs), head("mean_pool")(*inputs))
    moved = head("temporal_transformer")
    flipped = (inputs[0][-1:].flip(1), inputs[1][-1:], *inputs[2:])
    assert (moved(*flipped) - moved(*inputs)[-1:]).abs().amax() > 1e-3, "it knows the order of frames"
    with pytest.raises(UsageError, match=r"5 frames.*4 positions"):
        TemporalTransformer(WIDTH, positions=4).double()(*inputs)


def test_token_wise_starts_as_an_average_of_best_cosines() -> None:
    z, frame_mask, u, h, token_mask = batch()
    scores = TokenWise(WIDTH).double()(z, frame_mask, u, h, token_mask)
    best = cosine(z[1, frame_mask[1]], h[2, token_mask[2]]).double()
    assert scores[1, 2].item() == pytest.approx((best.amax(0).mean() + best.amax(1).mean()).item() / 2, abs=1e-6)


def test_soft_one_way_masks_and_the_straight_through_gradient() -> None:
    z, frame_mask, u, h, token_mask = inputs = batch()
    torch.manual_seed(5)
    made = OneWayMask(WIDTH, hard=False).double()
    p = made.probabilities(u, h, token_mask)
    v = normed(torch.stack([normed(z[i, frame_mask[i]]).mean(0) for i in range(3)]))
    expected = [[cos(v[i] * p[n], u[n]) for n in range(4)] for i in range(3)]
    torch.testing.assert_close(made(*inputs), torch.stack([torch.stack(row) for row in expected]))
    made.hard = True
    m = (p > 0.5).double().detach().requires_grad_()
    weights = torch.randn(3, 4, dtype=torch.float64)
    straight = torch.autograd.grad((masked_cosine(v, m, u) * weights).sum(), m)[0]
    bias = made.network.head.logits.bias
    got = torch.autograd.grad((made(*inputs) * weights).sum(), bias)[0]
    torch.testing.assert_close(got, (straight * p * (1 - p)).sum(0).detach())


def test_masked_cosine_equals_a_loop_and_fades_without_a_mask() -> None:
    torch.manual_seed(6)
    a, m, s = normed(torch.randn(4, 8)).double(), torch.rand(3, 8).double(), torch.randn(3, 8).double()
    m[2] = 0.0
    scores = masked_cosine(a, m.requires_grad_(), s)
    for i in range(4):
        for j in range(2):
            torch.testing.assert_close(scores[i, j], cos(a[i] * m[j], s[j]), rtol=0, atol=1e-12)
    assert scores[:, 2].abs().amax() == 0
    assert torch.isfinite(torch.autograd.grad(scores.sum(), m)[0]).all()


@pytest.mark.parametrize("vectors", [3, 11])
def test_squared_length_equals_the_length_of_the_sums(vectors: int) -> None:
    weights, x = torch.rand(2, 4, vectors).double(), torch.randn(2, vectors, 5).double()
    torch.testing.assert_close(squared_length(weights, x), (weights @ x).norm(dim=-1).square())


@NAMES
def test_heads_refuse_attention_heads_that_do_not_fit(name: str) -> None:
    made = BASELINES[name]
    if made in (TemporalTransformer, OneWayMask):
        with pytest.raises(UsageError, match="heads"):
            made(10)
    else:
        assert made(10).width == 10


@NAMES
def test_no_parameter_is_stuck_at_its_start(name: str) -> None:
    z, frame_mask, u, h, token_mask = (x.float() if x.is_floating_point() else x for x in batch(videos=4))
    torch.manual_seed(1)
    made = BASELINES[name](WIDTH)
    if not list(made.parameters()):
        return
    start = {label: parameter.clone() for label, parameter in made.named_parameters()}
    optimiser, losses = torch.optim.AdamW(made.parameters(), lr=3e-3, weight_decay=0.0), []
    for _ in range(20):
        loss = F.cross_entropy(10 * made(z, frame_mask, u, h, token_mask), torch.arange(4))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for label, parameter in made.named_parameters():
        assert not torch.equal(parameter[:8], start[label][:8]), label
