"""What a GEXIA costs: parameters and operations, counted while it runs, beside what the paper says.

PyTorch counts a multiplication and an addition as two operations. The paper's 4.7 "GFLOPs" a frame for ViT-B/32
(Table 9) can only be multiply-additions: the image tower of CLIP ViT-B/32 alone has 4.4 billion of them.

Shape legend: T frames, P dense vectors a frame, L tokens, C width of dense features.
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
"""GEXIA with ViT-B/32, a frame (Table 9)."""


@dataclass(frozen=True)
class Costs:
    """Parameters, and billions of multiply-additions.

    Attributes:
        parameters, backbone_parameters, approximation_parameters: the first is the sum of the others, with what is
            left over (temperatures, head).
        frames, rounds: of the video that is counted.
        tower_per_frame: the image tower.
        approximation_per_video: the video's approximation in all its rounds.
        per_frame: both together, spread over the video's frames; twice that are GFLOPs as PyTorch counts them.
        tower_per_text, approximation_per_text: a text as long as the model reads, in as many rounds.
        paper_per_frame: what the paper gives for ViT-B/32.
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
        """Plain values."""
        return asdict(self)


def count_operations(run: Callable[[], object]) -> int:
    """Floating-point operations of matrix products, convolutions and attention in a call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def measure_costs(model: Any, size: str = "long") -> Costs:
    """Count what a model costs for a video of a size.

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
    told = count_operations(lambda: model.text_iam(states, real, times))
    total, inside = model.count_parameters()
    approximation = sum(p.numel() for iam in (model.video_iam, model.text_iam) for p in iam.parameters())
    billions = [count / 2e9 for count in (tower, video, tower + video / frames, text, told)]
    return Costs(total, inside, approximation, frames, rounds, *billions)
