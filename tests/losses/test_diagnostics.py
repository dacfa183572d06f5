"""Diagnostics on hand-made numbers; the shortcut of the published loss, next to a loss that depends on the match."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from mova.losses.diagnostics import auc, mask_use, matching, prefixed, rolled_caption_gap
from mova.losses.global_contrast import score_nce
from mova.losses.masked_contrast import temporal_nce
from mova.scoring.similarity import cosine, soft_pool

VIDEOS, FRAMES, WIDTH, CONCEPTS = 8, 12, 64, 40
REAL = torch.ones(VIDEOS, FRAMES, dtype=torch.bool)
SCALE = 10.0
Loss = Callable[["FreeMask", Tensor, Tensor], Tensor]


def test_auc_is_scikit_learns_with_ties_at_half() -> None:
    generator = torch.Generator().manual_seed(0)
    matched = torch.randint(0, 6, (40,), generator=generator).float()
    mismatched = torch.randint(-2, 4, (9, 7), generator=generator).float()
    labels = [1] * 40 + [0] * 63
    expected = roc_auc_score(labels, torch.cat([matched, mismatched.flatten()]).numpy())
    assert auc(matched, mismatched) == pytest.approx(expected, abs=1e-12)
    assert auc(torch.zeros(3), torch.zeros(5)) == 0.5
    assert math.isnan(auc(torch.tensor([1.0, float("nan")]), torch.zeros(2)))
    assert math.isnan(auc(torch.zeros(0), torch.zeros(2)))


def test_matching_compares_with_the_global_score() -> None:
    values = matching(torch.tensor([0.5, 0.7]), torch.tensor([[0.6], [0.2]]), torch.tensor([1.0, 0.9]), torch.zeros(2))
    assert values == pytest.approx(
        {"matched": 0.6, "mismatched": 0.4, "gap": 0.2, "auc": 0.75, "global_auc": 1.0, "auc_gain": -0.25}
    )
    with pytest.raises(ValueError, match="both"):
        matching(torch.zeros(2), torch.zeros(2), torch.zeros(2))


def test_mask_use_counts_real_frames_only() -> None:
    mask = torch.tensor([[[1.0, 0.0, 1.0, 0.6], [1.0, 0.0, 0.0, 0.2]], [[1.0, 0.4, 1.0, 0.0], [9.0, 9.0, 9.0, 9.0]]])
    frame_mask = torch.tensor([[True, True], [True, False]])
    values = prefixed("m_t", mask_use(mask, frame_mask))
    assert values == pytest.approx({"m_t/density": 6.2 / 12, "m_t/dead": 0.25, "m_t/always_on": 0.25})
    with pytest.raises(ValueError, match="padding"):
        mask_use(mask, torch.zeros(2, 2, dtype=torch.bool))


def test_rolled_captions_are_the_next_ones() -> None:
    captions = []

    def loss(order: Tensor) -> Tensor:
        captions.append(order.tolist())
        return order[0].double() * 3

    assert rolled_caption_gap(loss, 4) == {"true": 0.0, "rolled": 3.0, "gap": 3.0}
    assert captions == [[0, 1, 2, 3], [1, 2, 3, 0]]
    with pytest.raises(ValueError, match="two videos"):
        rolled_caption_gap(loss, 1)


class FreeMask(nn.Module):
    """A mask network that sees frame and text and may encode the frame: (..., d) and (..., d) -> (..., d)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3 * WIDTH, 128), nn.ReLU(), nn.Linear(128, WIDTH))
        self.agreement = nn.Parameter(torch.ones(()))

    def forward(self, frames: Tensor, text: Tensor) -> Tensor:
        text = text.expand_as(frames)
        agreement = WIDTH * frames * text
        seen = torch.cat([WIDTH**0.5 * frames, WIDTH**0.5 * text, agreement], dim=-1)
        return (self.layers(seen) + self.agreement * agreement).sigmoid()


def draw_batch(vectors: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw frames with two concepts each, and texts that describe only the first frame of their video."""
    drawn = torch.randint(0, CONCEPTS, (VIDEOS, FRAMES, 2), generator=generator)
    noise = 0.15 * torch.randn(VIDEOS, FRAMES, WIDTH, generator=generator)
    return F.normalize(vectors[drawn].sum(dim=2) + noise, dim=-1), F.normalize(vectors[drawn[:, 0]].sum(dim=1), dim=-1)


def published(network: FreeMask, frames: Tensor, text: Tensor) -> Tensor:
    return temporal_nce(frames, REAL, text, network(frames, text[:, None]), SCALE)


def pair_scores(network: FreeMask, frames: Tensor, text: Tensor) -> Tensor:
    """Score every video with every text, under masks computed for that pair, (V, N)."""
    pairs = frames[:, None].expand(-1, len(text), -1, -1)
    masked = text[None, :, None] * network(pairs, text[None, :, None])
    return soft_pool(F.cosine_similarity(pairs, masked, dim=-1))


def matching_aware(network: FreeMask, frames: Tensor, text: Tensor) -> Tensor:
    return score_nce(pair_scores(network, frames, text), SCALE)


def trained(loss: Loss, steps: int, wrong: bool, seed: int) -> dict[str, float]:
    """Train a mask network on true or wrong captions and return its diagnostics on fresh batches."""
    generator = torch.Generator().manual_seed(seed)
    vectors = F.normalize(torch.randn(CONCEPTS, WIDTH, generator=generator), dim=-1)
    torch.manual_seed(seed)
    network = FreeMask()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    start = float(loss(network, *draw_batch(vectors, generator)).detach())
    for _ in range(steps):
        frames, text = draw_batch(vectors, generator)
        optimizer.zero_grad()
        loss(network, frames, text.roll(1, dims=0) if wrong else text).backward()
        optimizer.step()
        schedule.step()
    held_out = [draw_batch(vectors, generator) for _ in range(10)]
    gaps = [rolled_caption_gap(lambda order, f=f, t=t: loss(network, f, t[order]), VIDEOS) for f, t in held_out]
    figures = {name: sum(gap[name] for gap in gaps) / len(gaps) for name in gaps[0]}
    same = torch.eye(VIDEOS, dtype=torch.bool).expand(len(held_out), -1, -1)
    with torch.no_grad():
        scores = torch.stack([pair_scores(network, f, t) for f, t in held_out])
        plain = torch.stack([soft_pool(cosine(t, f)).T for f, t in held_out])
    return (
        figures | {"start": start} | prefixed("pairs", matching(scores[same], scores[~same], plain[same], plain[~same]))
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_the_published_loss_is_solved_without_matching_and_a_matching_loss_is_not(seed: int) -> None:
    """See docs/reference/losses.md. Embeddings are fixed and match; only the mask network learns, on fresh batches."""
    true, wrong = (trained(published, 300, wrong, seed) for wrong in (False, True))
    fall = true["start"] - true["true"]
    assert fall > 1.5
    assert true["gap"] < 0.2 * fall, "wrong captions are nearly as good"
    assert abs(wrong["true"] - true["true"]) < 0.1, "true captions taught nothing that wrong ones do not"
    assert true["pairs/auc_gain"] < 0, "the masks separate pairs worse than the plain cosine"
    true, wrong = (trained(matching_aware, 100, wrong, seed) for wrong in (False, True))
    chance = math.log(VIDEOS)
    assert true["true"] < 0.3 * chance
    assert true["gap"] > chance
    assert wrong["rolled"] > 0.9 * chance, "wrong captions teach nothing"
    assert true["pairs/auc"] > 0.95
