"""Train a basis and the two numbers of its concept masks on pairs of frames that share a value, or do not.

The towers are frozen: only stored frame vectors and value vectors are read.

Shape legend: N frames, B frames of a batch, C concepts, K values of a concept, d width of the shared space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mova.scoring.respects import axis_energy, concept_mask, rotation

OTHER_RATE = 10
"""Learning rate of scalars and of free masks, as a multiple of that of the basis."""
Masks = Literal["words", "free", "one"]
"""How masks are made: of a concept's words; one free vector per concept; one free vector for all concepts."""


@dataclass(frozen=True)
class FitSettings:
    """Settings of the training.

    Attributes:
        steps: of the optimizer. More fit the named values better and others worse.
        batch, rate: frames per step, learning rate of the basis.
        seed: of all draws.
        masks: see `Masks`.
        rotate: whether the basis is trained; otherwise the axes stay as they are.
        apart: weight of a term that needs no pairs: the mean cosine between the word energies of different concepts, so
            that no two share axes.
    """

    steps: int = 100
    batch: int = 192
    rate: float = 3e-3
    seed: int = 0
    masks: Masks = "words"
    rotate: bool = True
    apart: float = 0.0


@dataclass(frozen=True, eq=False)
class Fitted:
    """Result of a training: generator (d, d), numbers of the masks, and free masks (C, d) if any, as logits."""

    generator: Tensor
    sharpness: float
    offset: float
    free: Tensor | None

    def masks(self, values: Sequence[Tensor]) -> Tensor:
        """Return the masks (C, d) of concepts, from the value vectors of each, (K, d)."""
        if self.free is not None:
            return torch.sigmoid(self.free).expand(len(values), -1)
        basis = rotation(self.generator)
        energy = torch.stack([axis_energy(rows, basis) for rows in values])
        return concept_mask(energy, self.sharpness, self.offset)


def fit(
    frames: Tensor, labels: Mapping[str, Tensor], values: Mapping[str, Tensor], settings: FitSettings | None = None
) -> Fitted:
    """Train on all pairs inside random batches, for every concept; same and different values have equal weight.

    Args:
        frames: (N, d), unit vectors minus their center.
        labels: for each concept, int64 (N,), the value of each frame; frames with -1 are in no pair.
        values: for each concept, the vectors (K, d) of its named values. Those without labels only count for `apart`.
        settings: default: those of the class.
    """
    settings = settings or FitSettings()
    draws = torch.Generator().manual_seed(settings.seed)
    names, width = list(labels), frames.shape[1]
    generator = torch.zeros(width, width, requires_grad=settings.rotate)
    numbers = torch.tensor([1.0, 0.0, 5.0, -2.0], requires_grad=True)  # sharpness, offset, scale and offset of scores
    rows = {"words": 0, "free": len(names), "one": 1}[settings.masks]
    free = torch.ones(rows, width, requires_grad=bool(rows))
    weights = [weight for weight in (generator, numbers, free) if weight.requires_grad]
    groups = [
        {"params": [weight], "lr": settings.rate * (1 if weight is generator else OTHER_RATE)} for weight in weights
    ]
    optimizer = torch.optim.Adam(groups)
    for _ in range(settings.steps):
        index = torch.randint(len(frames), (settings.batch,), generator=draws)
        basis = rotation(generator) if settings.rotate else torch.eye(width)
        if rows:
            masks = torch.sigmoid(free).expand(len(names), -1)
        else:
            energy = torch.stack([axis_energy(values[name], basis) for name in names])
            masks = concept_mask(energy, numbers[0], numbers[1])
        seen = F.normalize((frames[index] @ basis) * masks.unsqueeze(1), dim=-1)  # (C, B, d)
        logits = numbers[2] * (seen @ seen.transpose(1, 2)) + numbers[3]
        parts = [pair_loss(logits[c], labels[name][index]) for c, name in enumerate(names)]
        loss = torch.stack(parts).mean()
        if settings.apart:
            loss = loss + settings.apart * overlap(torch.stack([axis_energy(rows, basis) for rows in values.values()]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    done = numbers.detach().tolist()
    return Fitted(generator.detach(), done[0], done[1], free.detach() if rows else None)


def overlap(energy: Tensor) -> Tensor:
    """Return the mean cosine between the energies (C, d) of different concepts; 0 if no two share an axis.

    Example:
        >>> overlap(torch.tensor([[2.0, 0.0], [0.0, 1.0]])), overlap(torch.ones(3, 2))
        (tensor(0.), tensor(1.0000))
    """
    unit = F.normalize(energy, dim=-1)
    cosines = unit @ unit.T
    first, second = torch.triu_indices(len(cosines), len(cosines), 1)
    return cosines[first, second].mean()


def pair_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the balanced cross-entropy of pairs (B, B) by the values (B,) of their frames; -1 is in no pair.

    Example:
        >>> pair_loss(torch.zeros(3, 3), torch.tensor([0, 0, 1]))
        tensor(0.6931)
    """
    real = labels >= 0
    pairs = torch.triu(real[:, None] & real[None], diagonal=1)
    same = labels[:, None] == labels[None]
    sides = [F.softplus(-logits[pairs & same]), F.softplus(logits[pairs & ~same])]
    means = [side.mean() for side in sides if len(side)]
    return torch.stack(means).mean() if means else logits.sum() * 0
