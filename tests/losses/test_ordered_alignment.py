"""The loss over all ordered alignments, against their enumeration in float64."""

from __future__ import annotations

import math
from itertools import groupby, product

import pytest
import torch

from mova.losses.ordered_alignment import ordered_alignment_loss

Masks = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def drawn(frames: tuple[int, ...], units: tuple[int, ...], seed: int = 0) -> tuple[torch.Tensor, Masks]:
    generator = torch.Generator().manual_seed(seed)
    videos = len(frames)
    cosines = torch.rand(videos, max(frames), videos, max(units), generator=generator) * 2 - 1
    frame_mask = torch.tensor([[t < n for t in range(max(frames))] for n in frames])
    unit_mask = torch.tensor([[k < n for k in range(max(units))] for n in units])
    return cosines, (frame_mask, unit_mask, torch.eye(videos, dtype=torch.bool))


def enumerated(cosines: torch.Tensor, scale: float, masks: Masks, blank: float) -> float:
    """Sum over every labelling of the frames by a unit of the video's own text or nothing."""
    frame_mask, unit_mask, positive = masks
    total = 0.0
    for v in range(len(cosines)):
        frames, own = int(frame_mask[v].sum()), int(unit_mask[v].sum())
        rows = []
        for t in range(frames):
            logits = {None: scale * blank}
            for n in range(len(cosines)):
                if n == v or not positive[v, n]:
                    logits |= {(n, k): scale * float(cosines[v, t, n, k]) for k in range(int(unit_mask[n].sum()))}
            norm = math.log(sum(math.exp(value) for value in logits.values()))
            rows.append({label: value - norm for label, value in logits.items()})
        probability = 0.0
        for path in product([None, *range(own)], repeat=frames):
            if [label for label, _ in groupby(path) if label is not None] == list(range(own)):
                labels = [None if label is None else (v, label) for label in path]
                probability += math.exp(sum(row[label] for row, label in zip(rows, labels, strict=True)))
        total += 0.0 if probability == 0 else -math.log(probability) / frames
    return total / len(cosines)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("frames", "units"), [((4, 3), (2, 1)), ((5,), (3,)), ((1, 4, 2), (1, 2, 2)), ((2, 4), (3, 2))]
)
def test_the_loss_sums_over_all_ordered_alignments(frames: tuple[int, ...], units: tuple[int, ...], seed: int) -> None:
    cosines, masks = drawn(frames, units, seed)
    loss = ordered_alignment_loss(cosines, 3.0, *masks, blank=0.1)
    assert float(loss) == pytest.approx(enumerated(cosines, 3.0, masks, 0.1), abs=1e-5)


def test_other_texts_of_the_same_video_are_no_alternatives() -> None:
    cosines, (frame_mask, unit_mask, positive) = drawn((4, 4, 4), (2, 2, 1), 7)
    positive[0, 2] = positive[2, 0] = True
    masks = (frame_mask, unit_mask, positive)
    loss = ordered_alignment_loss(cosines, 3.0, *masks)
    assert float(loss) == pytest.approx(enumerated(cosines, 3.0, masks, 0.3), abs=1e-5)


def test_gradients_are_those_of_finite_differences_and_padding_has_none() -> None:
    cosines, masks = drawn((4, 3), (2, 1), 3)
    values = cosines.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ordered_alignment_loss(x, 3.0, *masks), (values,), atol=1e-6)
    ordered_alignment_loss(values, 3.0, *masks).backward()
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()
    assert not values.grad[1, 3].any()
    assert not values.grad[:, :, 1, 1].any()


def test_shapes_must_agree() -> None:
    cosines, (frame_mask, unit_mask, positive) = drawn((2,), (1,))
    with pytest.raises(ValueError, match="do not fit masks"):
        ordered_alignment_loss(cosines, 1.0, frame_mask[:, :1], unit_mask, positive)
