"""Readers of factors: a small convolutional classifier per seed, trained on real frames of Worlds alone.

It reads the two frames of an event and names place, color, shape and motion. Its accuracy on real events that it has
not seen is the ceiling of every figure about generated ones. It never sees a text or a generated frame.

Shape legend: E events, F frames per event, s side.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.studies.guide.clips import FRAMES, SIDE, VALUES, Ints, Pool
from mova.types import Pixels

STEPS, BATCH, RATE = 800, 64, 2e-3
NOISE = 0.15
"""Largest standard deviation of the noise on training frames, which lie in [-1, 1]."""


class Reader(nn.Module):
    """(E, 3 F, s, s) in [-1, 1] -> one row of logits per factor."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3 * FRAMES, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(2 * width * (SIDE // 4) ** 2, 4 * width),
            nn.ReLU(),
        )
        self.heads = nn.ModuleList(nn.Linear(4 * width, len(values)) for values in VALUES.values())

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Return logits (E, values) per factor."""
        seen = self.body(frames)
        return [head(seen) for head in self.heads]


def scaled(pixels: Pixels) -> Tensor:
    """Map uint8 events (E, F, s, s, 3) to (E, 3 F, s, s) in [-1, 1]."""
    frames = torch.from_numpy(pixels).permute(0, 1, 4, 2, 3).flatten(1, 2)
    return frames.float() / 127.5 - 1


def train_reader(pool: Pool, seed: int, steps: int = STEPS) -> Reader:
    """Train on the events of a pool, with noise and shifts of a pixel."""
    torch.manual_seed(seed)
    reader, frames, facts = Reader(), scaled(pool.pixels), torch.from_numpy(pool.facts)
    optimizer = torch.optim.AdamW(reader.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(len(frames), (BATCH,))
        batch = frames[chosen] + NOISE * torch.rand(BATCH, 1, 1, 1) * torch.randn_like(frames[chosen])
        down, right = torch.randint(-1, 2, (2,)).tolist()
        batch = F.pad(batch, (1, 1, 1, 1), mode="replicate")[..., 1 + down :, 1 + right :][..., :SIDE, :SIDE]
        losses = [F.cross_entropy(row, facts[chosen, i]) for i, row in enumerate(reader(batch))]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
        schedule.step()
    return reader.eval()


@torch.no_grad()
def read(reader: Reader, events: Pixels) -> Ints:
    """Name the factors of events (E, F, s, s, 3): (E, factors)."""
    rows = [row.argmax(dim=1) for row in reader(scaled(events))]
    return torch.stack(rows, dim=1).numpy().astype(np.int64)
