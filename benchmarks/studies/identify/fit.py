"""MoVA's objective as its theory has it, fitted to a simulated world by small encoders.

Two encoders bring texts and frames to codes, a gate opens for each frame the coordinates that text and frame are
compared on. Alignment is a squared distance on the open coordinates; InfoNCE on it aligns pairs and spreads codes;
the expected number of open coordinates is paid for. In this world the masks of both sides have the same optimum (the
frame's support), so one gate serves both.

What a negative wears decides whether the match matters:

- `matching`: a frame keeps its mask and meets the texts of all videos under it. The mask cannot tell them apart.
- `published`: each masked text wears the mask that its own frame chose, as in the paper's L_tv, L_sfdm and L_dfsm. A
  mask that spells out its frame solves it whatever the text says.

Shape legend: B videos, T frames, N = B T frames of a batch, d code coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.studies.identify.world import Draw, World
from mova.models.mova.masks import straight_through

OPEN_AT_START = 1.0
"""Bias of the gate: masks begin nearly all open."""

RAMP = (0.05, 0.35)
"""Shares of the steps at which sparsity begins to cost and costs in full. A gate that pays before its coordinates tell
anything closes them for good.
"""

Contrast = Literal["matching", "published"]


@dataclass(frozen=True)
class FitConfig:
    """How a world is fitted.

    Attributes:
        code: d, code coordinates; more than the world has, so that sparsity has something to choose.
        hidden: width of the encoders.
        steps, batch: optimiser steps and videos a step, all of them fresh.
        learning_rate: peak of Adam's, with a cosine to zero.
        sparsity: nats paid for each open coordinate of a frame, after the `RAMP`.
        masks: false holds every mask at one (temporal masks off).
        contrast: what negatives wear, see the module.
        rolled: pair every video with the text of another one: an objective that still falls does not need the match.
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
        """How likely each coordinate is open: (..., n) -> (..., d); ones where masks are off."""
        if self.gate is None:
            return frames.new_ones(*frames.shape[:-1], self.code)
        return torch.sigmoid(self.gate(frames))


def masked_energy(rows: Tensor, columns: Tensor, mask: Tensor) -> Tensor:
    """`E[a, b] = -sum_j m_aj (r_aj - c_bj)^2`, by two matrix products.

    For binary masks this is the squared distance under the mask. It is linear in the mask, so the straight-through
    gradient of a closed coordinate is what opening it would change; with `m^2` a closed coordinate stays closed.

    Args:
        rows: (N, d).
        columns: (M, d).
        mask: (N, d), the mask of each row.

    Returns:
        (N, M).
    """
    cross = 2 * (mask * rows) @ columns.T - mask @ (columns * columns).T
    return cross - (mask * rows * rows).sum(dim=-1, keepdim=True)


def matching_loss(text: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
    """InfoNCE from each frame, under its own mask, to the texts of all videos.

    Args:
        text: (B, d).
        frames: (B, T, d).
        mask: (B, T, d).
    """
    count = frames.shape[1]
    own = torch.arange(len(text), device=text.device).repeat_interleave(count)
    return F.cross_entropy(masked_energy(frames.flatten(0, 1), text, mask.flatten(0, 1)), own)


def published_loss(text: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
    """Mean of L_tv, L_sfdm and L_dfsm with the squared distance for a cosine, and no margin. Shapes: `matching_loss`.

    L_tv: a frame against the masked texts of all frames. L_sfdm: a frame against the masks and texts of other frames.
    L_dfsm: a mask with its text against other frames. Other frames of the same video are negatives of L_tv alone.
    """
    count = frames.shape[1]
    rows, gates = frames.flatten(0, 1), mask.flatten(0, 1)
    texts = text.repeat_interleave(count, dim=0)
    target = torch.arange(len(rows), device=rows.device)
    temporal = masked_energy(rows, gates * texts, torch.ones_like(rows))
    video = target // count
    brothers = (video[:, None] == video[None, :]) & (target[:, None] != target[None, :])
    seen_through = masked_energy(texts, rows, gates).masked_fill(brothers, float("-inf"))
    terms = (temporal, seen_through.T, seen_through)
    return torch.stack([F.cross_entropy(term, target) for term in terms]).mean()


def contrast_loss(model: Encoders, draw: Draw, config: FitConfig) -> tuple[Tensor, Tensor]:
    """The contrast of a batch and its expected number of open coordinates a frame, both scalars."""
    text = model.text(draw.text)
    if config.rolled:
        text = text.roll(1, dims=0)
    probability = model.open_probability(draw.frames)
    mask = straight_through(probability) if config.masks else probability
    loss = matching_loss if config.contrast == "matching" else published_loss
    return loss(text, model.frame(draw.frames), mask), probability.sum(dim=-1).mean()


def chance(world: World, config: FitConfig) -> float:
    """Value of the contrast, in nats, for codes that say nothing."""
    if config.contrast == "matching":
        return math.log(config.batch)
    everything = config.batch * world.config.frames
    without_brothers = everything - world.config.frames + 1
    return (math.log(everything) + 2 * math.log(without_brothers)) / 3


def fit(world: World, config: FitConfig, seed: int) -> Encoders:
    """Fit encoders and gate to fresh draws of the world; the same seed gives the same model."""
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
    """Contrast on fresh draws in nats, mean over batches of the training size."""
    generator = torch.Generator().manual_seed(seed)
    values = [contrast_loss(model, world.draw(config.batch, generator), config)[0] for _ in range(batches)]
    return float(torch.stack(values).mean())


def _mlp(inputs: int, hidden: int, outputs: int, bias: float | None = None) -> nn.Sequential:
    network = nn.Sequential(nn.Linear(inputs, hidden), nn.LeakyReLU(0.1), nn.Linear(hidden, hidden), nn.LeakyReLU(0.1))
    last = nn.Linear(hidden, outputs)
    if bias is not None:
        nn.init.constant_(last.bias, bias)
    return network.append(last)
