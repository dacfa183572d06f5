"""Objectives on pairs against the written-out form in float64, and what must not change them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mova.data.batch import PairVectors
from mova.errors import UsageError
from mova.losses.ordered_alignment import ordered_alignment_loss
from mova.train.objectives.base import CachedEncoder, PairObjective
from mova.train.objectives.pairs import Clip4Clip, LateInteraction
from mova.train.recipe import find_objective
from tests.support.pair_batches import unread_batch

FRAMES, UNITS = (4, 1, 3), (2, 3, 1)


def pairs(groups: Sequence[int] = (4, 5, 6)) -> PairVectors:
    torch.manual_seed(2)
    return PairVectors(
        frames=torch.randn(3, 4, 6),
        texts=torch.randn(3, 6),
        units=torch.randn(3, 3, 6),
        scale=torch.tensor(5.0),
        frame_mask=torch.tensor([[t < count for t in range(4)] for count in FRAMES]),
        unit_mask=torch.tensor([[k < count for k in range(3)] for count in UNITS]),
        group=torch.tensor(groups),
    )


def cos(a: Tensor, b: Tensor) -> float:
    return float(a.double() @ b.double() / (a.double().norm() * b.double().norm()))


def written_out_global(vectors: PairVectors, v: int, n: int) -> float:
    rows = [frame.double() / frame.double().norm() for frame in vectors.frames[v, : FRAMES[v]]]
    return cos(sum(rows) / len(rows), vectors.texts[n])


def written_out_late(vectors: PairVectors, v: int, n: int) -> float:
    total = 0.0
    for unit in vectors.units[n, : UNITS[n]]:
        c = [cos(frame, unit) for frame in vectors.frames[v, : FRAMES[v]]]
        w = [math.exp(value / 0.1) for value in c]
        total += sum(a * b for a, b in zip(w, c, strict=True)) / sum(w)
    return total / UNITS[n]


def written_out_nce(scores: list[list[float]], positive: list[list[bool]], scale: float) -> float:
    def one_way(rows: list[list[float]], right: list[list[bool]]) -> float:
        losses = []
        for row, hits in zip(rows, right, strict=True):
            weights = [math.exp(scale * value) for value in row]
            losses.append(-math.log(sum(w for w, hit in zip(weights, hits, strict=True) if hit) / sum(weights)))
        return sum(losses) / len(losses)

    turned = [list(column) for column in zip(*scores, strict=True)]
    return 0.5 * (one_way(scores, positive) + one_way(turned, [list(column) for column in zip(*positive, strict=True)]))


def run(objective: PairObjective, vectors: PairVectors) -> tuple[float, dict[str, float]]:
    batch = unread_batch(len(vectors), dropped=[0, 3, 0][: len(vectors)])
    loss, parts = objective.forward(batch, CachedEncoder(nn.Identity(), vectors))
    return float(loss), {key: float(value) for key, value in parts.items()}


@pytest.mark.parametrize("groups", [[4, 5, 6], [4, 5, 4]])
def test_losses_equal_explicit_arithmetic(groups: list[int]) -> None:
    vectors = pairs(groups)
    positive = [[a == b for b in groups] for a in groups]
    pooled = [[written_out_global(vectors, v, n) for n in range(3)] for v in range(3)]
    late = [[written_out_late(vectors, v, n) for n in range(3)] for v in range(3)]
    loss, parts = run(Clip4Clip(), vectors)
    assert loss == pytest.approx(written_out_nce(pooled, positive, 5.0), abs=1e-5)
    assert parts["global"] == loss
    assert parts["dropped_tokens"] == 1.0
    expected = written_out_nce(late, positive, 5.0)
    loss, parts = run(LateInteraction(global_weight=0.25), vectors)
    assert parts["late"] == pytest.approx(expected, abs=1e-5)
    assert loss == pytest.approx(expected + 0.25 * parts["global"], abs=1e-5)
    hits = [positive[max(range(3), key=lambda v: late[v][n])][n] for n in range(3)]
    assert parts["hits"] == pytest.approx(sum(hits) / 3)


def test_the_loss_over_ordered_alignments_is_added_on_request() -> None:
    vectors = pairs()
    units, unit_mask = vectors.with_units()
    cosines = torch.tensor(
        [[[[cos(frame, unit) for unit in text] for text in units] for frame in video] for video in vectors.frames]
    )
    masks = (vectors.frame_mask, unit_mask, torch.eye(3, dtype=torch.bool))
    expected = float(ordered_alignment_loss(cosines, 5.0, *masks, blank=0.2))
    plain, _ = run(LateInteraction(), vectors)
    loss, parts = run(LateInteraction(order_weight=0.5, blank=0.2), vectors)
    assert parts["order"] == pytest.approx(expected, abs=1e-5)
    assert loss == pytest.approx(plain + 0.5 * expected, abs=1e-5)


@pytest.mark.parametrize("objective", [Clip4Clip(), LateInteraction(), LateInteraction(order_weight=1.0)])
def test_padding_changes_nothing(objective: PairObjective) -> None:
    vectors = pairs()
    loss, _ = run(objective, vectors)
    rest, unreal = torch.full((3, 2, 6), 7.0), torch.zeros(3, 2, dtype=torch.bool)
    frames, frame_mask = torch.cat([vectors.frames, rest], dim=1), torch.cat([vectors.frame_mask, unreal], dim=1)
    units, unit_mask = vectors.with_units()
    units, unit_mask = torch.cat([units, rest], dim=1), torch.cat([unit_mask, unreal], dim=1)
    vectors = replace(vectors, frames=frames, frame_mask=frame_mask, units=units, unit_mask=unit_mask)
    assert run(objective, vectors)[0] == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize("objective", [Clip4Clip(), LateInteraction()])
def test_the_temperature_is_bounded_and_a_single_pair_is_finite(objective: PairObjective) -> None:
    vectors = pairs()
    vectors = replace(vectors, scale=torch.tensor(1e6))
    assert run(objective, vectors)[1]["scale"] == 100.0
    assert run(objective, vectors.slice(0, 1))[0] == 0.0


def test_videos_can_be_scored_apart_from_texts() -> None:
    vectors = pairs()
    for objective in (Clip4Clip(), LateInteraction()):
        expected = objective.scores(vectors, torch.nn.Identity())
        single = replace(vectors, frames=vectors.frames[1:2], frame_mask=vectors.frame_mask[1:2])
        row = objective.scores(single, torch.nn.Identity())
        assert torch.allclose(row, expected[1:2], atol=1e-6)


def test_invalid_settings_are_named() -> None:
    with pytest.raises(UsageError, match=r"objective\.kind 'wish' is unknown"):
        find_objective("wish")
    with pytest.raises(UsageError, match="tau must be above 0"):
        LateInteraction(tau=0.0)
    with pytest.raises(UsageError, match="order_weight must be 0 or more"):
        LateInteraction(order_weight=-1.0)
