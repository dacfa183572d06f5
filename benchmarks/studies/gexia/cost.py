"""Inference cost of iterative approximation versus mean pooling: ViT-B/32 with random weights, one core.

Mean pooling encodes frames one by one and averages them. GEXIA keeps their dense features and approximates them. The
pass through the tower is the same for both and takes a hundred times as long as the difference to measure, so it is
timed both ways and the better time is used for both.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import CLIPConfig

from benchmarks.common import harness
from mova.models.gexia.model import Gexia
from mova.models.two_tower.config import TwoTowerConfig
from mova.models.two_tower.image_processor import ImageRule
from mova.models.two_tower.model import TwoTower
from mova.models.two_tower.text_processor import TextRule
from mova.types import Frames

FRAMES, SIZE, POSITIONS = 32, 224, 77
ROUNDS = (0, 1, 3, 5)
PAPER = 3.3
"""Percent above CLIP4Clip's mean pooling at `#iter` 3 on ActivityNet, on a V100 (Wang et al. 2024, Appendix C)."""
PASSES = 7
ALONE, SINGLE = "mean pooling", "vectors of single frames besides"


def table(passes: int) -> list[dict[str, Any]]:
    """Return a row for mean pooling and for every `#iter`, measured in a separate process."""
    costs = harness.in_subprocess("benchmarks.studies.gexia.cost", str(passes))
    base = costs[ALONE]["seconds"]
    return [
        {"cost": name, **values, "above_mean_pooling_percent": round(100 * (values["seconds"] / base - 1), 2)}
        for name, values in costs.items()
    ]


def child(passes: str) -> None:
    """Print processor seconds of the best pass and billions of multiply-additions per frame as JSON."""
    torch.manual_seed(0)
    model = _vit_b32().eval()
    pixels = np.random.default_rng(0).integers(0, 256, (FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    frames = Frames(pixels, np.arange(FRAMES, dtype=np.float64))
    alone = torch.ones(1, FRAMES, dtype=torch.bool)
    dense = model.dense_frames(frames)

    @torch.no_grad()
    def approximate(rounds: int) -> None:
        model.video_vectors(dense, alone, torch.tensor([rounds]))

    work: dict[str, Callable[[], object]] = {
        ALONE: lambda: model.backbone.encode_frames(frames).mean(dim=0),
        "dense features": lambda: model.dense_frames(frames),
        SINGLE: lambda: model.frame_vectors(dense, model.config.frame_rounds),
        **{f"#iter {rounds}": partial(approximate, rounds) for rounds in ROUNDS},
    }
    best = {name: harness.seconds(call, int(passes)) for name, call in work.items()}
    tower = min(best[ALONE], best["dense features"])
    costs = {ALONE: {"seconds": tower}}
    for rounds in ROUNDS:
        model.config.rounds["long"] = rounds
        seconds = tower + best[f"#iter {rounds}"]
        costs[f"#iter {rounds}"] = {"seconds": seconds, "multiply_additions_per_frame": model.report()["per_frame"]}
    costs[SINGLE] = {"seconds": tower + best[SINGLE]}
    print(json.dumps(costs))


def _vit_b32() -> Gexia:
    """Build a CLIP ViT-B/32 with one text layer; texts are not timed."""
    config = CLIPConfig(text_config={"num_hidden_layers": 1}, vision_config={"image_size": SIZE, "patch_size": 32})
    rules = {"image": ImageRule("exact", SIZE, SIZE).to_dict(), "text": TextRule(POSITIONS).to_dict()}
    return Gexia.from_backbone(TwoTower(TwoTowerConfig(backbone=config.to_dict(), **rules)))
