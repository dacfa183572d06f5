"""Does `mova-natural` gain from windows of other sizes, or from another temperature of the classes?

Each clip is decoded once; every variant pools the same maps. A variant is the reciprocal rank of each event's clip
among all clips, beside the shipped pooling, with an interval of the difference by bootstrap over clips. The mean frame
of a variant comes from the other clips (the shipped one was made by the shipped pooling).

Shape legend: V clips, N events, T frames, D channels, H W cells of a map, P windows, C classes, d width.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common import harness
from benchmarks.studies.natural import DATA, QUICK_CLIPS, QUICK_SECONDS
from mova.models.natural.model import Natural
from mova.models.natural.towers import ELONGATED, pool_windows, window_starts
from mova.types import Frames

SHIPPED = "halves, divisor 2"
DRAWS = 10_000
Pooling = Callable[[Tensor], Tensor]


def squares(features: Tensor, share: float, short: int, long: int) -> Tensor:
    """Return mean features of square windows, (T, D, H, W) -> (T, P, D).

    Args:
        features: maps.
        share: side of a window as a share of the shorter side of the map.
        short, long: windows along the shorter and along the longer side.
    """
    height, width = features.shape[-2:]
    size = max(1, round(min(height, width) * share))
    tall, wide = height > ELONGATED * width, width > ELONGATED * height
    rows = window_starts(height, size, long if tall else short) if height > size else [0]
    columns = window_starts(width, size, long if wide else short) if width > size else [0]
    return torch.stack([features[:, :, y : y + size, x : x + size].mean(dim=(2, 3)) for y in rows for x in columns], 1)


POOLINGS: dict[str, Pooling] = {
    "whole frame": lambda features: features.mean(dim=(2, 3))[:, None],
    "full squares": lambda features: squares(features, 1.0, 2, 3),
    "halves": pool_windows,
    "thirds": lambda features: squares(features, 1 / 3, 5, 7),
}
MIXES: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in POOLINGS},
    "halves + whole frame": ("halves", "whole frame"),
    "halves + full squares": ("halves", "full squares"),
    "halves + thirds": ("halves", "thirds"),
    "all four sizes": tuple(POOLINGS),
}
DIVISORS = (1.0, 2.0, 3.0)


@torch.no_grad()
def pooled_probabilities(model: Natural, path: Path, end: float | None) -> dict[str, Tensor]:
    """Return the class probabilities (T, C) of each size of window and each divisor, in one pass over a clip."""

    def encode(frames: Frames) -> Tensor:
        batches = []
        for pixels in model.image_batches(frames):
            features = model.dense_images(pixels)
            logits = [model.network.classifier(pool(features)).float() for pool in POOLINGS.values()]
            batches.append(torch.stack([(x / d).softmax(-1).mean(1) for x in logits for d in DIVISORS], dim=1))
        return torch.cat(batches)

    chunks, _ = model.open_video(path, end=end)
    everything = torch.cat([part for _, part in model.encode_stream(chunks, encode)])
    names = [(name, divisor) for name in POOLINGS for divisor in DIVISORS]
    return {f"{name}, divisor {divisor:g}": everything[:, i] for i, (name, divisor) in enumerate(names)}


def clip_vectors(classes: Tensor, probabilities: Sequence[Tensor]) -> Tensor:
    """Return the unit vectors of clips (V, d): the mean of unit frames, centered on the mean of the other clips.

    Args:
        classes: centered class vectors (C, d).
        probabilities: of the frames of each clip, (T, C).
    """
    frames = [rows @ classes for rows in probabilities]
    means = torch.stack([rows.mean(dim=0) for rows in frames])
    others = (means.sum(dim=0) - means) / max(1, len(means) - 1)
    pooled = [F.normalize(rows - mean, dim=-1).mean(dim=0) for rows, mean in zip(frames, others, strict=True)]
    return F.normalize(torch.stack(pooled), dim=-1)


def reciprocal_ranks(scores: Tensor, right: Tensor) -> npt.NDArray[np.float64]:
    """Return 1 / rank of the right column in each row; ties count against it."""
    rank = (scores >= scores.gather(1, right[:, None])).sum(dim=1)
    return (1 / rank.double()).numpy()


def interval(
    change: npt.NDArray[np.float64], owner: npt.NDArray[np.int64], clips: int, seed: int
) -> tuple[float, float]:
    """Return the 95 % interval of the mean change, by bootstrap over clips."""
    sums = np.bincount(owner, change, minlength=clips)
    counts = np.bincount(owner, minlength=clips)
    draws = np.random.default_rng(seed).integers(clips, size=(DRAWS, clips))
    means = sums[draws].sum(axis=1) / np.maximum(counts[draws].sum(axis=1), 1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    """Compare all variants."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small form that takes about a minute")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = Natural.from_packages()
    rows = [json.loads(line) for line in (DATA / "realclips.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = rows[:QUICK_CLIPS] if args.quick else rows
    end = QUICK_SECONDS if args.quick else None
    clips = [pooled_probabilities(model, DATA / row["video"], end) for row in rows]
    captions = F.normalize(model.encode_text([row["caption"] for row in rows]).pooled, dim=-1)
    texts = [(number, event["text"]) for number, row in enumerate(rows) for event in row["events"]]
    events = F.normalize(model.encode_text([text for _, text in texts]).pooled, dim=-1)
    owner = torch.tensor([number for number, _ in texts])
    results: dict[str, dict[str, Any]] = {}
    for name, parts in MIXES.items():
        for divisor in DIVISORS:
            mixed = [
                torch.stack([clip[f"{part}, divisor {divisor:g}"] for part in parts]).mean(dim=0) for clip in clips
            ]
            vectors = clip_vectors(model.classes - model.class_mean, mixed)
            of_captions = reciprocal_ranks(captions @ vectors.T, torch.arange(len(rows)))
            results[f"{name}, divisor {divisor:g}"] = {
                "event": reciprocal_ranks(events @ vectors.T, owner),
                "caption_r1": 100 * float((of_captions == 1).mean()),
                "caption_r5": 100 * float((of_captions >= 0.2).mean()),
            }
    report = harness.Report("natural_windows", [args.seed])
    shipped, gains = results[SHIPPED]["event"], []
    for name, values in results.items():
        low, high = interval(values["event"] - shipped, owner.numpy(), len(rows), args.seed)
        mrr = float(values["event"].mean())
        report.row(
            name=name, event_mrr=mrr, change=mrr - float(shipped.mean()), low=low, high=high,
            caption_r1=values["caption_r1"], caption_r5=values["caption_r5"],
        )  # fmt: skip
        gains += [name] if low > 0 else []
    report.claim("variants whose gain over the shipped pooling exceeds chance", len(gains), 0, not gains)
    report.finish(None, ("name", "event_mrr", "change", "low", "high", "caption_r1", "caption_r5"))


if __name__ == "__main__":
    main()
