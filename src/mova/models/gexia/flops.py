"""Parameters and operations of a GEXIA, counted while it runs, with the paper's figure for comparison.

PyTorch counts a multiplication and an addition as two operations. The paper's 4.7 "GFLOPs" per frame for ViT-B/32
(Table 9) can only be multiply-additions: the image tower of CLIP ViT-B/32 alone has 4.4 billion of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from mova.types import Frames

PAPER_GFLOPS = 4.7
"""GEXIA with ViT-B/32, per frame (Table 9)."""


@dataclass(frozen=True)
class Costs:
    """Parameters, and billions of multiply-additions.

    Attributes:
        parameters, backbone_parameters, approximation_parameters: the first is the sum of the others and of the rest
            (temperatures, head).
        frames, rounds: of the counted video.
        tower_per_frame: the image tower.
        approximation_per_video: the video's approximation in all its rounds.
        per_frame: both together, divided by the video's frames; twice this number is GFLOPs as PyTorch counts them.
        tower_per_text, approximation_per_text: a text of the maximum length, in as many rounds.
        paper_per_frame: the paper's figure for ViT-B/32.
    """

    parameters: int
    backbone_parameters: int
    approximation_parameters: int
    frames: int
    rounds: int
    tower_per_frame: float
    approximation_per_video: float
    per_frame: float
    tower_per_text: float
    approximation_per_text: float
    paper_per_frame: float = PAPER_GFLOPS

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def count_operations(run: Callable[[], object]) -> int:
    """Count the floating-point operations of matrix products, convolutions and attention in a call.

    >>> count_operations(lambda: torch.ones(2, 3) @ torch.ones(3, 4))
    48
    """
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def measure_costs(model: Any, size: str = "long") -> Costs:
    """Count the operations of a model for a video of a given size.

    Args:
        model: a `Gexia`; its weights do not matter.
        size: "image", "short" or "long": frames and rounds are those of the configuration.
    """
    frames, rounds = model.config.frames[size], model.config.rounds[size]
    (image,) = model.backbone.image_batches(Frames(np.zeros((1, 64, 64, 3), dtype=np.uint8), np.zeros(1)))
    tower = count_operations(lambda: model.backbone.dense_images(image))
    with torch.no_grad():
        dense = model.dense_of(image).expand(frames, -1, -1)
    mask, times = torch.ones(1, frames, dtype=torch.bool, device=dense.device), torch.tensor([rounds])
    video = count_operations(lambda: model.video_vectors(dense, mask, times))
    ids = torch.ones(1, model.longest_text, dtype=torch.long, device=dense.device)
    real = torch.ones_like(ids, dtype=torch.bool)
    text = count_operations(lambda: model.backbone.dense_texts(ids, real))
    with torch.no_grad():
        states = model.backbone.dense_texts(ids, real)
    text_approximation = count_operations(lambda: model.text_iam(states, real, times))
    total, inside = model.count_parameters()
    approximation = sum(p.numel() for iam in (model.video_iam, model.text_iam) for p in iam.parameters())
    billions = [count / 2e9 for count in (tower, video, tower + video / frames, text, text_approximation)]
    return Costs(total, inside, approximation, frames, rounds, *billions)
