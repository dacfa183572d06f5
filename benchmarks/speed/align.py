"""A caption of 500 sentences aligned with two hours of video, from its vectors, on one thread.

Random vectors: each frame is near the vector of the sentence that it shows. The sentences are in order, twenty of them
are not, or all are shuffled; `--order auto` decides. Processor seconds of the fastest of three rounds, and peak
memory above the vectors, of a separate process each.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from benchmarks.common import harness
from mova.models.worlds_tiny.model import WORLDS_WEIGHTS
from mova.scoring.alignment import Alignment, align_jointly

SENTENCES, FRAMES, RATE, WIDTH = 500, 14_400, 2.0, 192
QUICK = 10
"""The quick form has as many times fewer sentences and frames."""
SHOWN = 16
"""Frames that show a sentence."""
MOVED = 20
CAPTIONS = ("in order", f"{MOVED} sentences out of order", "shuffled")
NOISE = 0.7
SECONDS, MEGABYTES = 5.0, 500.0


def vectors(caption: str, seed: int, sentences: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw vectors of sentences, (K, d), and of frames, (T, d)."""
    rng = np.random.default_rng(seed)
    texts = rng.standard_normal((sentences, WIDTH), dtype=np.float32)
    film = NOISE * rng.standard_normal((frames, WIDTH), dtype=np.float32)
    places = np.arange(sentences)
    if caption != "in order":
        moved = rng.choice(sentences, sentences if caption == "shuffled" else min(MOVED, sentences), replace=False)
        places[np.sort(moved)] = moved
    for text, place in zip(texts, places.tolist(), strict=True):
        first = place * frames // sentences
        film[first : first + SHOWN] += text
    return torch.from_numpy(texts), torch.from_numpy(film)


def align(texts: torch.Tensor, film: torch.Tensor, order: Any) -> Alignment:
    """Align with the weights of `mova-worlds-tiny`."""
    background = torch.from_numpy(np.random.default_rng(1).standard_normal((200, WIDTH), dtype=np.float32))
    times, seconds = np.arange(len(film)) / RATE, len(film) / RATE
    return align_jointly(texts, film, times, seconds, WORLDS_WEIGHTS, background=background, order=order, step=1 / RATE)


def child(caption: str, order: str, seed: str, sentences: str, frames: str) -> None:
    """Measure once, in a process of its own, and print the figures."""
    torch.set_num_threads(1)
    align(*vectors("in order", 0, 5, 200), "auto")
    texts, film = vectors(caption, int(seed), int(sentences), int(frames))
    found: dict[str, Alignment] = {}
    figures: dict[str, Any] = harness.costs(lambda: found.update(last=align(texts, film, order)), rounds=3)
    assert found["last"].order is not None
    print(json.dumps(figures | {"choice": found["last"].order.choice, "spans": sum(map(len, found["last"].spans))}))


def main() -> None:
    """Measure all captions, print and record the results."""
    args = harness.arguments(__doc__)
    report = harness.Report("align", [args.seed])
    size = [str(n // QUICK if args.quick else n) for n in (SENTENCES, FRAMES)]
    for caption, order in [(caption, "auto") for caption in CAPTIONS] + [(CAPTIONS[0], "yes"), (CAPTIONS[2], "no")]:
        row = harness.in_subprocess("benchmarks.speed.align", caption, order, str(args.seed), *size)
        name = f"{caption}, --order {order}"
        report.row(name=name, sentences=int(size[0]), frames=int(size[1]), **row)
        report.claim(f"{name}: processor seconds", round(row["seconds"], 2), SECONDS, row["seconds"] < SECONDS)
        report.claim(f"{name}: MB beside the vectors", round(row["megabytes"]), MEGABYTES, row["megabytes"] < MEGABYTES)
    report.finish()


if __name__ == "__main__":
    main()
