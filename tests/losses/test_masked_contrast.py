"""MoVA's losses against loops in float64; padding, single frames, closed masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mova.losses.global_contrast import (
    mean_pooled_scores,
    relevance_pooled_scores,
    score_nce,
    unit_scores,
)
from mova.losses.masked_contrast import (
    concept_nce,
    expected_l0,
    frame_weights,
    temporal_hinge,
    temporal_nce,
)
from mova.losses.matching_contrast import matching_nce
from mova.losses.pairwise import SQUARED_FLOOR

COUNTS = [3, 1, 4, 2]
WIDTH = 8
SCALE = 1 / 0.07


def global_nce(frames: Tensor, frame_mask: Tensor, text: Tensor, scale: float, normalize: bool = False) -> Tensor:
    return score_nce(mean_pooled_scores(frames, frame_mask, text), scale, normalize=normalize)


class Batch:
    """Four videos of 3, 1, 4 and 2 frames, their texts, masks and units, in float64."""

    def __init__(self, counts: list[int] = COUNTS, kind: str = "soft", padding: int = 0) -> None:
        generator = torch.Generator().manual_seed(0)
        longest = max(COUNTS)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, dtype=torch.float64, generator=generator)

        count = len(counts)
        self.frames, self.text = 3 * draw(len(COUNTS), longest, WIDTH)[:count], draw(len(COUNTS), WIDTH)[:count]
        self.m_t, self.m_v = (draw(len(COUNTS), longest, WIDTH)[:count] for _ in range(2))
        shape = (lambda x: x.sigmoid()) if kind == "soft" else (lambda x: (x > 0).double())
        self.m_t, self.m_v = shape(self.m_t), shape(self.m_v)
        if kind == "closed":
            self.m_t[0, 1] = self.m_v[0, 0] = 0
            self.m_t[count - 1] = self.m_v[count - 1] = 0
        self.frame_mask = torch.arange(longest) < torch.tensor(counts)[:, None]
        for name in ("frames", "m_t", "m_v"):
            filled = torch.where(self.frame_mask[:, :, None], getattr(self, name), 77.0)
            setattr(self, name, F.pad(filled, (0, 0, 0, padding), value=-5.0))
        self.frame_mask = F.pad(self.frame_mask, (0, padding))
        for tensor in self.inputs():
            tensor.requires_grad_()

    def inputs(self) -> tuple[Tensor, ...]:
        return self.frames, self.text, self.m_t, self.m_v

    def positions(self) -> list[tuple[int, int]]:
        return [tuple(position) for position in self.frame_mask.nonzero().tolist()]


def floored(squared: Tensor) -> Tensor:
    return squared.clamp_min(SQUARED_FLOOR).sqrt()


def temporal_matrix(b: Batch) -> Tensor:
    rows = []
    for i, t in b.positions():
        frame = b.frames[i, t] / b.frames[i, t].norm()
        row = []
        for j, u in b.positions():
            s = b.text[j] / b.text[j].norm() * b.m_t[j, u]
            row.append(frame @ s / floored(s @ s))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def concept_matrix(b: Batch) -> Tensor:
    rows = []
    for i, t in b.positions():
        frame = b.frames[i, t] / b.frames[i, t].norm()
        row = []
        for j, u in b.positions():
            s = b.text[j] / b.text[j].norm() * b.m_t[j, u]
            masked_frame = frame * b.m_v[j, u]
            row.append(masked_frame @ s / floored(masked_frame @ masked_frame) / floored(s @ s))
        rows.append(torch.stack(row))
    return torch.stack(rows)


TWINS = [7, 2, 7, 5]
"""Videos that the rows of a batch show: rows 0 and 2 are two captions of one."""


def is_negative(i: int, j: int, same_video: bool, groups: list[int] | None) -> bool:
    if i == j:
        return same_video
    return groups is None or groups[i] != groups[j]


def rows_nce(
    logits: Tensor,
    b: Batch,
    weights: Tensor | None,
    same_video: bool,
    normalize: bool,
    groups: list[int] | None = None,
) -> Tensor:
    positions, values, kept = b.positions(), [], []
    for a, (i, t) in enumerate(positions):
        others = [c for c, (j, _) in enumerate(positions) if c != a and is_negative(i, j, same_video, groups)]
        row = [logits[a, a]] + [logits[a, c] for c in others]
        value = F.cross_entropy(torch.stack(row)[None], torch.tensor([0]))
        values.append(value / math.log(max(2, len(row))) if normalize else value)
        kept.append(torch.ones(()).double() if weights is None else weights[i, t])
    values, kept = torch.stack(values), torch.stack(kept)
    return (values * kept).sum() / kept.sum()


def expected_temporal(b: Batch, weights: Tensor | None, same_video: bool, normalize: bool) -> Tensor:
    cosines = temporal_matrix(b)
    return rows_nce(
        SCALE * (cosines - 0.2 * torch.eye(len(cosines), dtype=cosines.dtype)), b, weights, same_video, normalize
    )


def expected_concept(b: Batch, weights: Tensor | None, normalize: bool) -> tuple[Tensor, Tensor]:
    logits = SCALE * concept_matrix(b)
    return rows_nce(logits, b, weights, False, normalize), rows_nce(logits.T, b, weights, False, normalize)


def same(actual: object, expected: object, atol: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def gradients(loss: Tensor, b: Batch) -> list[Tensor]:
    values = torch.autograd.grad(loss, b.inputs(), allow_unused=True, retain_graph=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(values, b.inputs(), strict=True)]


@pytest.fixture(params=["soft", "hard", "closed"])
def batch(request: pytest.FixtureRequest) -> Batch:
    return Batch(kind=request.param)


@pytest.fixture(params=[False, True], ids=["equal frame weights", "frame weights"])
def weights(request: pytest.FixtureRequest, batch: Batch) -> Tensor | None:
    return frame_weights(batch.frames, batch.frame_mask, batch.text) if request.param else None


@pytest.mark.parametrize("same_video", [True, False])
@pytest.mark.parametrize("normalize", [False, True])
def test_temporal_nce_equals_loops(batch: Batch, weights: Tensor | None, same_video: bool, normalize: bool) -> None:
    actual = temporal_nce(
        batch.frames,
        batch.frame_mask,
        batch.text,
        batch.m_t,
        SCALE,
        same_video=same_video,
        weights=weights,
        normalize=normalize,
    )
    expected = expected_temporal(batch, weights, same_video, normalize)
    same(actual, expected)
    same(gradients(actual, batch), gradients(expected, batch))


@pytest.mark.parametrize("same_video", [True, False])
@pytest.mark.parametrize("normalize", [False, True])
def test_captions_of_one_video_are_not_negatives(batch: Batch, same_video: bool, normalize: bool) -> None:
    inputs, groups = (batch.frames, batch.frame_mask, batch.text, batch.m_t), torch.tensor(TWINS)
    settings = {"same_video": same_video, "normalize": normalize, "groups": groups}
    cosines = temporal_matrix(batch)
    shifted = SCALE * (cosines - 0.2 * torch.eye(len(cosines), dtype=cosines.dtype))
    temporal = temporal_nce(*inputs, SCALE, **settings)
    expected = rows_nce(shifted, batch, None, same_video, normalize, TWINS)
    same(temporal, expected)
    same(gradients(temporal, batch), gradients(expected, batch))
    logits = SCALE * concept_matrix(batch)
    expected_pair = (
        rows_nce(logits, batch, None, False, normalize, TWINS),
        rows_nce(logits.T, batch, None, same_video, normalize, TWINS),
    )
    pair = concept_nce(*inputs, batch.m_v, SCALE, **settings)
    same(pair, expected_pair)
    same(gradients(sum(pair), batch), gradients(sum(expected_pair), batch))


def test_groups_of_one_row_change_nothing(batch: Batch) -> None:
    inputs, groups = (batch.frames, batch.frame_mask, batch.text, batch.m_t), torch.tensor([4, 0, 9, 2])
    for same_video in (True, False):
        same(
            temporal_nce(*inputs, SCALE, same_video=same_video, normalize=True, groups=groups),
            temporal_nce(*inputs, SCALE, same_video=same_video, normalize=True),
        )
    same(concept_nce(*inputs, batch.m_v, SCALE, groups=groups), concept_nce(*inputs, batch.m_v, SCALE))
    same(temporal_hinge(*inputs, groups=groups), temporal_hinge(*inputs))


@pytest.mark.parametrize("normalize", [False, True])
def test_frames_of_one_video_can_be_negatives_of_dfsm(batch: Batch, weights: Tensor | None, normalize: bool) -> None:
    inputs = (batch.frames, batch.frame_mask, batch.text, batch.m_t, batch.m_v)
    actual = concept_nce(*inputs, SCALE, same_video=True, weights=weights, normalize=normalize)
    logits = SCALE * concept_matrix(batch)
    expected = (
        rows_nce(logits, batch, weights, False, normalize),
        rows_nce(logits.T, batch, weights, True, normalize),
    )
    same(actual, expected)
    same(gradients(sum(actual), batch), gradients(sum(expected), batch))


@pytest.mark.parametrize("normalize", [False, True])
def test_concept_nce_equals_loops(batch: Batch, weights: Tensor | None, normalize: bool) -> None:
    actual = concept_nce(
        batch.frames,
        batch.frame_mask,
        batch.text,
        batch.m_t,
        batch.m_v,
        SCALE,
        weights=weights,
        normalize=normalize,
    )
    expected = expected_concept(batch, weights, normalize)
    same(actual, expected)
    for value, plain in zip(actual, expected, strict=True):
        same(gradients(value, batch), gradients(plain, batch))
    same(gradients(sum(actual), batch), gradients(sum(expected), batch))
    assert all(g.isfinite().all() for g in gradients(sum(actual), batch))


@pytest.mark.parametrize("energy", ["cosine", "distance"])
@pytest.mark.parametrize("groups", [None, TWINS])
def test_matching_nce_equals_loops(batch: Batch, weights: Tensor | None, groups: list[int] | None, energy: Any) -> None:
    values, kept, shares = [], [], []
    for i, t in batch.positions():
        z, m = batch.frames[i, t], batch.m_v[i, t]
        row = []
        for n in range(len(COUNTS)):
            if n != i and groups is not None and groups[n] == groups[i]:
                continue
            text = batch.text[n]
            if energy == "distance":
                row.append(-(m * (z - text) ** 2).sum())
            else:
                a, b = z / z.norm() * m, text / text.norm() * m
                row.append((a @ b) / floored(a @ a) / floored(b @ b))
            if n == i:
                own = len(row) - 1
        values.append(F.cross_entropy(2.0 * torch.stack(row)[None], torch.tensor([own])))
        shares.append(math.log(len(row)))
        kept.append(torch.ones(()).double() if weights is None else weights[i, t])
    losses, kept = torch.stack(values), torch.stack(kept)
    inputs = (batch.frames, batch.frame_mask, batch.text, batch.m_v, 2.0)
    twins = None if groups is None else torch.tensor(groups)
    actual = matching_nce(*inputs, weights=weights, groups=twins, energy=energy)
    expected = (losses * kept).sum() / kept.sum()
    same(actual, expected)
    same(gradients(actual, batch), gradients(expected, batch))
    normalized = matching_nce(*inputs, weights=weights, groups=twins, energy=energy, normalize=True)
    same(normalized, (losses / torch.tensor(shares) * kept).sum() / kept.sum(), atol=1e-6)


@pytest.mark.parametrize("same_video", [True, False])
def test_distances_take_the_place_of_cosines(batch: Batch, same_video: bool) -> None:
    groups = torch.tensor(TWINS)
    positions = batch.positions()
    s = {(j, u): batch.text[j] * batch.m_t[j, u] for j, u in positions}
    temporal = torch.stack(
        [torch.stack([-((batch.frames[a] - s[b]) ** 2).sum() for b in positions]) for a in positions]
    )
    concept = torch.stack(
        [torch.stack([-(batch.m_v[b] * (batch.frames[a] - s[b]) ** 2).sum() for b in positions]) for a in positions]
    )
    inputs: Any = (batch.frames, batch.frame_mask, batch.text, batch.m_t)
    settings: Any = {"same_video": same_video, "groups": groups, "energy": "distance"}
    actual = (temporal_nce(*inputs, 0.5, margin=0.2, **settings), *concept_nce(*inputs, batch.m_v, 0.5, **settings))
    shifted = temporal - 0.2 * torch.eye(len(temporal), dtype=temporal.dtype)
    expected = (
        rows_nce(0.5 * shifted, batch, None, same_video, False, TWINS),
        rows_nce(0.5 * concept, batch, None, False, False, TWINS),
        rows_nce(0.5 * concept.T, batch, None, same_video, False, TWINS),
    )
    same(actual, expected, atol=1e-9)
    same(gradients(sum(actual), batch), gradients(sum(expected), batch), atol=1e-9)


@pytest.mark.parametrize("same_video", [True, False])
@pytest.mark.parametrize("groups", [None, TWINS])
def test_temporal_hinge_equals_loops(
    batch: Batch, weights: Tensor | None, groups: list[int] | None, same_video: bool
) -> None:
    twins = None if groups is None else torch.tensor(groups)
    inputs = (batch.frames, batch.frame_mask, batch.text, batch.m_t)
    actual = temporal_hinge(*inputs, same_video=same_video, weights=weights, groups=twins)
    cosines, positions, values, kept = temporal_matrix(batch), batch.positions(), [], []
    for a, (i, t) in enumerate(positions):
        value = 1 - cosines[a, a]
        for inside in (True, False) if same_video else (False,):
            excess = [
                cosines[a, c] - cosines[a, a] + 0.2
                for c, (j, _) in enumerate(positions)
                if c != a and (j == i) == inside and is_negative(i, j, True, groups)
            ]
            violating = [x for x in excess if x > 0]
            value = value + (torch.stack(violating).mean() if violating else 0.0)
        values.append(value)
        kept.append(torch.ones(()).double() if weights is None else weights[i, t])
    expected = (torch.stack(values) * torch.stack(kept)).sum() / torch.stack(kept).sum()
    same(actual, expected)
    same(gradients(actual, batch), gradients(expected, batch))


def test_the_scale_can_be_learned(batch: Batch) -> None:
    scale = torch.tensor(SCALE, dtype=torch.float64, requires_grad=True)
    f, mask, t, m_t, m_v = batch.frames, batch.frame_mask, batch.text, batch.m_t, batch.m_v
    loss = temporal_nce(f, mask, t, m_t, scale) + sum(concept_nce(f, mask, t, m_t, m_v, scale))
    (gradient,) = torch.autograd.grad(loss, scale)
    step = 1e-5

    def at(value: float) -> Tensor:
        return temporal_nce(f, mask, t, m_t, value) + sum(concept_nce(f, mask, t, m_t, m_v, value))

    same(gradient, (at(SCALE + step) - at(SCALE - step)) / (2 * step), atol=1e-7)


def every_loss(b: Batch) -> dict[str, Tensor]:
    f, mask, t, m_t, m_v = b.frames, b.frame_mask, b.text, b.m_t, b.m_v
    weights = frame_weights(f, mask, t)
    units, unit_mask = t[:, None].expand(-1, 2, -1) * torch.tensor([[1.0], [2.0]]), torch.ones(len(t), 2).bool()
    sfdm, dfsm = concept_nce(f, mask, t, m_t, m_v, SCALE, weights=weights)
    return {
        "global": global_nce(f, mask, t, SCALE),
        "relevance": score_nce(relevance_pooled_scores(f, mask, t), SCALE),
        "unit": score_nce(unit_scores(f, mask, units, unit_mask), SCALE),
        "temporal": temporal_nce(f, mask, t, m_t, SCALE, weights=weights),
        "hinge": temporal_hinge(f, mask, t, m_t, weights=weights),
        "sfdm": sfdm,
        "dfsm": dfsm,
        "sparsity": expected_l0(m_t, mask, weights=weights),
    }


@pytest.mark.parametrize("name", list(every_loss(Batch())))
def test_padding_changes_no_value_and_gets_no_gradient(name: str) -> None:
    short, long = Batch(), Batch(padding=3)
    value, padded = every_loss(short)[name], every_loss(long)[name]
    same(value, padded, atol=1e-6)
    longest = max(COUNTS)
    for plain, wide in zip(gradients(value, short), gradients(padded, long), strict=True):
        if plain.ndim == 3:
            same(plain, wide[:, :longest], atol=1e-6)
            assert (wide[~long.frame_mask] == 0).all()
        else:
            same(plain, wide, atol=1e-6)


@pytest.mark.parametrize("counts", [[1], [1, 1], [4]])
def test_one_frame_or_one_video_is_finite(counts: list[int]) -> None:
    b = Batch(counts)
    for name, loss in every_loss(b).items():
        assert loss.isfinite(), name
        assert all(g.isfinite().all() for g in gradients(loss, b)), name
    if len(counts) == 1:  # nothing to be confused with
        sfdm, dfsm = concept_nce(b.frames, b.frame_mask, b.text, b.m_t, b.m_v, SCALE, normalize=True)
        assert sfdm == dfsm == 0
        assert global_nce(b.frames, b.frame_mask, b.text, SCALE) == 0


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    b = Batch()
    unblocked = every_loss(b)
    monkeypatch.setattr("mova.losses.pairwise.BLOCK_ELEMENTS", 30)  # three rows of ten at a time
    for name, loss in every_loss(b).items():
        same(loss, unblocked[name])
        same(gradients(loss, b), gradients(unblocked[name], b))


def test_mean_pooled_scores_equal_clip4clip() -> None:
    b = Batch()
    scores = mean_pooled_scores(b.frames, b.frame_mask, b.text)
    for i, count in enumerate(COUNTS):
        pooled = F.normalize(b.frames[i, :count], dim=-1).mean(dim=0)
        for j in range(len(COUNTS)):
            same(scores[i, j].double(), F.cosine_similarity(pooled, b.text[j], dim=0), atol=1e-6)
    target = torch.arange(len(COUNTS))
    clip = 0.5 * (F.cross_entropy(SCALE * scores, target) + F.cross_entropy(SCALE * scores.T, target))
    same(global_nce(b.frames, b.frame_mask, b.text, SCALE), clip, atol=1e-6)


@pytest.mark.parametrize("tau", [0.2, 0.05, 1e6])
def test_relevance_pooled_scores_equal_pooling_every_pair(tau: float) -> None:
    b = Batch()
    scores = relevance_pooled_scores(b.frames, b.frame_mask, b.text, tau)
    expected = torch.zeros_like(scores)
    for i, count in enumerate(COUNTS):
        unit = F.normalize(b.frames[i, :count], dim=-1)
        for j in range(len(COUNTS)):
            share = (F.cosine_similarity(unit, b.text[j], dim=-1) / tau).softmax(0)
            expected[i, j] = F.cosine_similarity((share[:, None] * unit).sum(0), b.text[j], dim=0)
    same(scores, expected)
    same(gradients(scores.square().sum(), b), gradients(expected.square().sum(), b))
    if tau == 1e6:
        same(scores, mean_pooled_scores(b.frames, b.frame_mask, b.text).double(), atol=1e-5)
    with pytest.raises(ValueError, match="tau"):
        relevance_pooled_scores(b.frames, b.frame_mask, b.text, 0.0)


def test_unit_scores_equal_loops_over_texts_of_unequal_length() -> None:
    b = Batch()
    units = torch.randn(4, 3, WIDTH, generator=torch.Generator().manual_seed(5))
    unit_mask = torch.tensor([[1, 1, 0], [1, 0, 1], [0, 1, 0], [1, 1, 1]]).bool()
    scores = unit_scores(b.frames, b.frame_mask, units, unit_mask)
    for i, count in enumerate(COUNTS):
        for j in range(4):
            pooled = []
            for k in unit_mask[j].nonzero()[:, 0].tolist():
                c = F.cosine_similarity(b.frames[i, :count], units[j, k].double(), dim=-1)
                pooled.append(((c / 0.1).softmax(0) * c).sum())
            same(scores[i, j].double(), torch.stack(pooled).mean(), atol=1e-6)
    with pytest.raises(ValueError, match="real unit"):
        unit_scores(b.frames, b.frame_mask, units, unit_mask & torch.tensor([True, False, False]))


def test_texts_that_are_true_of_other_videos_are_excluded() -> None:
    scores = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(4, 4, dtype=torch.bool)
    valid[0, 2] = False
    raised = scores.clone()
    raised[0, 2] = 50.0
    same(score_nce(scores, 2.0, valid=valid), score_nce(raised, 2.0, valid=valid), atol=0)
    assert score_nce(raised, 2.0) > score_nce(scores, 2.0)


def test_chance_is_one_when_normalized() -> None:
    b = Batch(counts=[2, 2, 2, 2])
    alike, opened = torch.ones_like(b.frames), torch.ones_like(b.m_t)
    text = torch.ones_like(b.text)
    one = torch.ones((), dtype=torch.float64)
    inputs: tuple[Any, ...] = (alike, b.frame_mask, text)
    same(global_nce(*inputs, SCALE, normalize=True).double(), one, atol=1e-6)
    same(temporal_nce(*inputs, opened, SCALE, margin=0.0, normalize=True), one)
    for loss in concept_nce(*inputs, opened, opened, SCALE, normalize=True):
        same(loss, one)


def test_frame_weights_are_a_softmax_without_gradient() -> None:
    b = Batch()
    weights = frame_weights(b.frames, b.frame_mask, b.text)
    assert not weights.requires_grad
    for i, count in enumerate(COUNTS):
        c = F.cosine_similarity(b.frames[i, :count], b.text[i][None], dim=-1).detach()
        same(weights[i, :count], (c / 0.2).softmax(0))
        assert (weights[i, count:] == 0).all()


def test_expected_l0_is_the_mean_probability_of_real_frames() -> None:
    b = Batch()
    real = torch.stack([b.m_t[i, t] for i, t in b.positions()])
    same(expected_l0(b.m_t, b.frame_mask), real.mean())


@pytest.mark.parametrize(
    "call",
    [
        lambda b: global_nce(b.frames, b.frame_mask[:, :2], b.text, SCALE),
        lambda b: global_nce(b.frames, b.frame_mask.double(), b.text, SCALE),
        lambda b: global_nce(b.frames, b.frame_mask & False, b.text, SCALE),
        lambda b: temporal_nce(b.frames, b.frame_mask, b.text[:3], b.m_t, SCALE),
        lambda b: temporal_nce(b.frames, b.frame_mask, b.text, b.m_t[:, :1], SCALE),
        lambda b: concept_nce(b.frames, b.frame_mask, b.text, b.m_t, b.m_v[:1], SCALE),
        lambda b: expected_l0(b.m_t, b.frame_mask, weights=torch.ones(2, 2)),
    ],
)
def test_mismatched_shapes_raise(call: Callable[[Batch], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"shape|needed|only padding frames|one vector"):
        call(Batch())
