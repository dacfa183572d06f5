"""Effect of re-scoring the top moments of a paragraph by the model's rule, on videos whose facts are known.

Three indexes of short Worlds: unrelated videos, groups of near duplicates, and twins that show the same two adjacent
events in either order. Every caption is searched with and without `rescore`; the result is the share of captions whose
own video ranks first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.common import harness
from mova.models.registry import load
from mova.models.worlds_tiny.model import WorldsTiny
from mova.search.index import Index
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store
from mova.worlds.galleries import Short, easy_gallery, hard_gallery, render_shorts
from mova.worlds.render import TRAIN_STYLES

HELD_OUT, RATE = 910_000, 2.0


def twins(rng: np.random.Generator, count: int) -> list[Short]:
    """Draw pairs of videos with the same events, the two captioned ones adjacent in either order."""
    made: list[Short] = []
    while len(made) < 2 * count:
        (short,) = easy_gallery(rng, 1)
        if len(short.captioned) == 2:
            captioned = [short.events[i] for i in short.captioned]
            rest = [event for i, event in enumerate(short.events) if i not in short.captioned]
            at = int(rng.integers(len(rest) + 1))
            for pair, lines in ((captioned, short.lines), (captioned[::-1], short.lines[::-1])):
                made.append(Short((*rest[:at], *pair, *rest[at:]), (at, at + 1), lines))
    return made


@torch.inference_mode()
def indexed(model: WorldsTiny, shorts: Sequence[Short], rng: np.random.Generator, folder: Path) -> Index:
    """Index rendered videos without writing mp4 files; video i has the path `/i`."""
    store = Store(folder)
    store.create(Meta(model.name, model.fingerprint(), model.embedding_dim, RATE))
    records = []
    for i, pixels in enumerate(render_shorts(shorts, rng, TRAIN_STYLES, model.config.image_size)):
        vectors = F.normalize(model.frame_tower(model._normalize(torch.from_numpy(pixels))).float(), dim=-1).numpy()
        frames = StoredFrames(np.arange(len(vectors)) / RATE, vectors)
        store.append([f"{i:032x}"], [frames])
        mean = vectors.mean(axis=0)
        records.append(VideoRecord(f"/{i}", f"{i:032x}", 1, 1, len(vectors) / RATE, len(vectors), mean))
    store.commit(records)
    return Index(folder, model)


def main() -> None:
    """Search every caption with and without re-scoring."""
    args = harness.arguments(__doc__)
    seeds = [args.seed] if args.quick else list(range(args.seed, args.seed + 3))
    size = 20 if args.quick else 80
    report = harness.Report("rescoring", seeds)
    model = cast(WorldsTiny, load("mova-worlds-tiny"))
    hits: dict[str, list[tuple[bool, bool]]] = {}
    for seed in seeds:
        rng = np.random.default_rng(HELD_OUT + seed)
        galleries = {"unrelated": easy_gallery(rng, size), "near duplicates": hard_gallery(rng, size // 4)}
        galleries["twins in either order"] = twins(rng, size // 2)
        for name, shorts in galleries.items():
            with tempfile.TemporaryDirectory() as folder:
                index = indexed(model, shorts, rng, Path(folder) / "index")
                for i, short in enumerate(shorts):
                    text = " ".join(short.sentences)
                    first = [index.search(text, 1, rescore=by)[0].video == f"/{i}" for by in ("none", "auto")]
                    hits.setdefault(name, []).append((first[0], first[1]))
    for name, results in hits.items():
        without, by_rule = 100 * np.mean(results, axis=0)
        report.row(name=name, captions=len(results), without=round(without, 1), by_rule=round(by_rule, 1))
        gain, bound = round(by_rule - without, 1), 25.0 if name.startswith("twins") else -2.0
        report.claim(f"{name}: by the rule minus without, points", gain, bound, gain >= bound)
    report.finish()


if __name__ == "__main__":
    main()
