"""Fit small encoders to a simulated world with MoVA's objective, in the form its theory uses.

Two encoders map texts and frames to codes. For each frame, a gate opens the coordinates on which text and frame are
compared. Alignment is a squared distance on the open coordinates; InfoNCE on it aligns pairs and spreads codes; the
expected number of open coordinates is penalized. In this world the masks of both sides have the same optimum (the
support of the frame), so a single gate is sufficient.

The contrasts are those that models are trained by (`mova.losses`, `objective.matching`), with squared
distances. The mask of the negatives decides whether the match matters:

- `matching`: a frame is compared with the texts of all videos under its own mask, which cannot distinguish them.
- `published`: each masked text uses the mask of its own frame, as in the paper's L_tv, L_sfdm and L_dfsm. A mask that
  encodes its frame minimizes this loss regardless of the text.

Shape legend: B videos, T frames, N = B T frames of a batch, d code coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from benchmarks.studies.identify.world import Draw, World
from mova.losses.masked_contrast import concept_nce, temporal_nce
from mova.losses.matching_contrast import matching_nce
from mova.models.mova.masks import straight_through

OPEN_AT_START = 1.0
"""Bias of the gate: masks start almost fully open."""

RAMP = (0.05, 0.35)
"""Shares of the steps at which the sparsity penalty starts, and reaches its full value. A gate that is penalized before
its coordinates carry information closes them permanently.
"""

Contrast = Literal["matching", "published"]


@dataclass(frozen=True)
class FitConfig:
    """Settings of a fit.

    Attributes:
        code: d, code coordinates; more than the world has, so that sparsity has a choice.
        hidden: width of the encoders.
        steps, batch: optimizer steps, and videos per step, all newly drawn.
        learning_rate: peak learning rate of Adam, with a cosine decay to zero.
        sparsity: penalty in nats per open coordinate of a frame, after the `RAMP`.
        masks: false fixes every mask at one (no temporal masks).
        contrast: mask of the negatives, see the module's description.
        rolled: pair every video with the text of another; an objective that still decreases does not need the match.
    """

    code: int = 16
    hidden: int = 128
    steps: int = 2500
    batch: int = 256
    learning_rate: float = 2e-3
    sparsity: float = 0.07
    masks: bool = True
    contrast: Contrast = "matching"
    rolled: bool = False


class Encoders(nn.Module):
    """Text encoder, frame encoder, and the gate that reads the frame."""

    def __init__(self, world: World, config: FitConfig) -> None:
        super().__init__()
        self.text = _mlp(world.text_size, config.hidden, config.code)
        self.frame = _mlp(world.frame_size, config.hidden, config.code)
        self.gate = _mlp(world.frame_size, config.hidden, config.code, OPEN_AT_START) if config.masks else None
        self.code = config.code

    def open_probability(self, frames: Tensor) -> Tensor:
        """Return the probability that each coordinate is open, (..., n) -> (..., d); ones without masks."""
        if self.gate is None:
            return frames.new_ones(*frames.shape[:-1], self.code)
        return torch.sigmoid(self.gate(frames))


def matching_loss(text: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
    """Compute InfoNCE from each frame, under its own mask, to the texts of all videos, by squared distances.

    Args:
        text: (B, d).
        frames: (B, T, d).
        mask: (B, T, d).
    """
    real = torch.ones(frames.shape[:2], dtype=torch.bool)
    return matching_nce(frames, real, text, mask, 1.0, energy="distance")


def published_loss(text: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
    """Average L_tv, L_sfdm and L_dfsm, with a squared distance for the cosine and no margin. Shapes: `matching_loss`.

    L_tv: a frame against the masked texts of all frames. L_sfdm: a frame against the masks and texts of other frames.
    L_dfsm: a mask with its text against other frames. Other frames of the same video are negatives only in L_tv. The
    one mask opens coordinates of both sides, so the concept contrast needs no mask on the text.
    """
    real = torch.ones(frames.shape[:2], dtype=torch.bool)
    temporal = temporal_nce(frames, real, text, mask, 1.0, margin=0.0, energy="distance")
    concept = concept_nce(frames, real, text, torch.ones_like(mask), mask, 1.0, energy="distance")
    return torch.stack([temporal, *concept]).mean()


def contrast_loss(model: Encoders, draw: Draw, config: FitConfig) -> tuple[Tensor, Tensor]:
    """Return the contrast of a batch and the expected number of open coordinates per frame, both scalars."""
    text = model.text(draw.text)
    if config.rolled:
        text = text.roll(1, dims=0)
    probability = model.open_probability(draw.frames)
    mask = straight_through(probability) if config.masks else probability
    loss = matching_loss if config.contrast == "matching" else published_loss
    return loss(text, model.frame(draw.frames), mask), probability.sum(dim=-1).mean()


def chance(world: World, config: FitConfig) -> float:
    """Return the contrast of codes that carry no information, in nats."""
    if config.contrast == "matching":
        return math.log(config.batch)
    everything = config.batch * world.config.frames
    without_siblings = everything - world.config.frames + 1
    return (math.log(everything) + 2 * math.log(without_siblings)) / 3


def fit(world: World, config: FitConfig, seed: int) -> Encoders:
    """Fit encoders and gate to new draws of the world; the same seed gives the same model."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Encoders(world, config)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, foreach=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, config.steps, pct_start=0.05)
    for step in range(config.steps):
        sparsity = config.sparsity * min(max((step / config.steps - RAMP[0]) / (RAMP[1] - RAMP[0]), 0.0), 1.0)
        contrast, opened = contrast_loss(model, world.draw(config.batch, generator), config)
        optimizer.zero_grad(set_to_none=True)
        (contrast + sparsity * opened).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def held_out_contrast(model: Encoders, world: World, config: FitConfig, seed: int, batches: int = 20) -> float:
    """Return the mean contrast on new draws in nats, with batches of the training size."""
    generator = torch.Generator().manual_seed(seed)
    values = [contrast_loss(model, world.draw(config.batch, generator), config)[0] for _ in range(batches)]
    return float(torch.stack(values).mean())


def _mlp(inputs: int, hidden: int, outputs: int, bias: float | None = None) -> nn.Sequential:
    network = nn.Sequential(nn.Linear(inputs, hidden), nn.LeakyReLU(0.1), nn.Linear(hidden, hidden), nn.LeakyReLU(0.1))
    last = nn.Linear(hidden, outputs)
    if bias is not None:
        nn.init.constant_(last.bias, bias)
    return network.append(last)
