"""Paragraphs searched in an index of Worlds: passages of ordered sentences, beside moments of single sentences.

A query is two to four consecutive sentences of one video; the truth is the time from the first event's start to the
last one's end. All videos of a style and length are in one index. `--order no` gives the moments without passages.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.common import harness
from benchmarks.common.alignments import Case
from benchmarks.studies.alignment import worlds
from mova.models.encoder import DualEncoder
from mova.models.registry import load
from mova.search.index import Index
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store
from mova.types import Moment, Span

SEED = 970_001
STYLES = ("flat", "shaded")
LENGTHS = {60.0: 8, 630.0: 5}
"""Seconds of a video, and videos per style and seed."""
SIZES = (2, 3, 4)


def indexed(model: DualEncoder, cases: Sequence[Case], folder: Path) -> Index:
    """Index encoded videos; video i has the path `/i`."""
    store = Store(folder)
    store.create(Meta(model.name, model.fingerprint(), model.embedding_dim, model.frame_rate))
    records = []
    for i, case in enumerate(cases):
        vectors = F.normalize(case.frames.float(), dim=-1).numpy()
        store.append([f"{i:032x}"], [StoredFrames(case.times, vectors)])
        mean = vectors.mean(axis=0)
        records.append(VideoRecord(f"/{i}", f"{i:032x}", 1, 1, case.duration, len(vectors), mean))
    store.commit(records)
    return Index(folder, model)


def queries(case: Case, rng: np.random.Generator) -> Iterator[tuple[str, Span]]:
    """Yield texts of consecutive sentences and the time from the first one's start to the last one's end."""
    for size in SIZES:
        if size <= len(case.sentences):
            at = int(rng.integers(len(case.sentences) - size + 1))
            spans = [truth[0] for truth in case.truth[at : at + size]]
            whole = Span(min(span.start for span in spans), max(span.end for span in spans))
            yield " ".join(case.sentences[at : at + size]), whole


def measure(index: Index, cases: Sequence[Case], rng: np.random.Generator, order: str) -> list[tuple[bool, float]]:
    """Return, for each query, whether the first moment is of its video, and their overlap."""
    rows = []
    for i, case in enumerate(cases):
        for text, truth in queries(case, rng):
            found: list[Moment] = index.search(text, 1, rescore="none", order=order)  # type: ignore[arg-type]
            right = bool(found) and found[0].video == f"/{i}"
            rows.append((right, Span(found[0].start, found[0].end).iou(truth) if right else 0.0))
    return rows


def main() -> None:
    """Search every paragraph with and without passages."""
    args = harness.arguments(__doc__)
    seeds = [args.seed] if args.quick else list(range(args.seed, args.seed + 3))
    report = harness.Report("passages", seeds)
    torch.set_num_threads(1)
    model = load("mova-worlds-tiny")
    for seconds, count in LENGTHS.items():
        for style in STYLES:
            cases = [case for seed in seeds for case in worlds(model, SEED + seed, seconds, style, count)]
            figures = {}
            with tempfile.TemporaryDirectory() as folder:
                index = indexed(model, cases, Path(folder) / "index")
                for order in ("no", "auto"):
                    rows = np.array(measure(index, cases, np.random.default_rng(SEED), order), dtype=np.float64)
                    values = {"video R@1": rows[:, 0], "mIoU": rows[:, 1], "R@0.5": rows[:, 1] >= 0.5}
                    figures[order] = {name: round(float(np.mean(column)), 3) for name, column in values.items()}
                    report.row(style=style, seconds=seconds, order=order, queries=len(rows), **figures[order])
            for name in ("video R@1", "R@0.5"):
                gain = round(figures["auto"][name] - figures["no"][name], 3)
                report.claim(f"{style}, {seconds:.0f} s: {name} minus that without passages", gain, 0.0, gain >= 0)
        if args.quick:
            break
    report.finish()


if __name__ == "__main__":
    main()
