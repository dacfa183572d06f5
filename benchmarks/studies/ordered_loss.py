"""The loss over ordered alignments on paragraphs without times: does it help alignment and retrieval?

`mova-worlds-tiny` meets a style that it was never trained on. Its vectors are kept; a linear adapter for frames and one
for texts, both from the identity, learn from videos with paragraphs and no times: by late interaction, today's default,
and with the loss over ordered alignments beside it (`mova.losses.ordered_alignment`), which says of a frame what is a
sentence from the cosine `blank` on. Videos, paragraphs and the adapter's batches are the same for all arms of a seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import harness
from benchmarks.common.alignments import Case, Tally
from benchmarks.common.systems import both_ways
from benchmarks.studies.alignment import worlds
from mova.data.batch import PairVectors
from mova.models.background_captions import encode_background
from mova.models.encoder import DualEncoder
from mova.models.registry import load
from mova.scoring.alignment import align_jointly
from mova.scoring.caption_score import gather_evidence
from mova.scoring.pooling import pad_rows
from mova.train.objectives.pairs import LateInteraction
from mova.worlds.render import HELD_OUT_STYLE

TRAIN_SEED, TEST_SEED = 971_001, 972_001
TRAIN, TEST, LONG = 64, 24, 3
"""Videos of 60 s to learn from and to measure on, and of 630 s to measure on, per seed."""
BATCH, STEPS, RATE = 16, 300, 1e-3
ORDER_WEIGHT = 1.0
Arms = dict[str, LateInteraction | None]
SHOWN = ("mIoU", "R@0.5", "frame F1", "t2v R@1", "v2t R@1")


class Adapter(nn.Module):
    """A linear map beside the identity for frames, and one for texts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.frames, self.texts = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.frames.weight)
        nn.init.zeros_(self.texts.weight)

    def both(self, frames: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Return adapted frames and texts."""
        return frames + self.frames(frames), texts + self.texts(texts)


@dataclass(frozen=True, eq=False)
class Data:
    """Videos to learn from and to measure on; `whole` has the vectors of the paragraphs to learn from, (V, d)."""

    train: Sequence[Case]
    whole: Tensor
    test: Sequence[Case]
    long: Sequence[Case]


def arms(model: DualEncoder) -> Arms:
    """Return the objectives; None leaves the vectors as they are."""
    blanks = {"blank 0.3, the default": 0.3, "blank at the model's threshold": model.relevance_threshold or 0.3}
    ordered = {
        f"late interaction and order, {name}": LateInteraction(order_weight=ORDER_WEIGHT, blank=blank)
        for name, blank in blanks.items()
    }
    return {"no training": None, "late interaction": LateInteraction(), **ordered}


def learn(objective: LateInteraction, data: Data, scale: float, seed: int) -> Adapter:
    """Train an adapter."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    adapter = Adapter(data.whole.shape[1])
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=RATE)
    for _ in range(STEPS):
        rows = rng.choice(len(data.train), min(BATCH, len(data.train)), replace=False).tolist()
        frames, frame_mask = pad_rows([data.train[i].frames for i in rows])
        units, unit_mask = pad_rows([data.train[i].vectors for i in rows])
        frames, units = adapter.both(frames, units)
        texts = data.whole[rows] + adapter.texts(data.whole[rows])
        vectors = PairVectors(
            frames, frame_mask, texts, torch.arange(len(rows)), torch.tensor(scale), units=units, unit_mask=unit_mask
        )
        loss, _ = objective.losses(vectors, torch.eye(len(rows), dtype=torch.bool), adapter)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return adapter


@torch.no_grad()
def measure(model: DualEncoder, adapter: Adapter, data: Data) -> dict[str, dict[str, float]]:
    """Return figures at 60 s and at 630 s."""
    background = adapter.both(data.whole[:1], encode_background(model))[1]
    figures = {}
    for name, cases in (("60 s", data.test), ("630 s", data.long)):
        tally, videos, captions = Tally(), [], []
        for case in cases:
            frames, texts = adapter.both(case.frames, case.vectors)
            videos.append(frames)
            captions.append(texts)
            place = (case.times, case.duration, model.alignment)
            found = align_jointly(texts, frames, *place, background=background, sentences=case.sentences)
            tally.add(case, found.spans)
        figures[name] = tally.row()
        if cases is data.test:
            scores = gather_evidence(videos, captions, order=False, lone=False).late.double().numpy()
            figures[name] |= dict(zip(SHOWN[3:], both_ways(scores), strict=True))
    return figures


def prepare(model: DualEncoder, seed: int, folder: Path | None, quick: bool) -> Data:
    """Render and encode all videos of a seed."""

    def cases(start: int, seconds: float, count: int) -> list[Case]:
        return worlds(model, start + seed, seconds, HELD_OUT_STYLE, 2 if quick else count, folder)

    train = [
        replace(case, frames=case.frames.clone(), vectors=case.vectors.clone())  # those of inference have no gradients
        for case in cases(TRAIN_SEED, 60.0, TRAIN)
    ]
    whole = model.encode_text([" ".join(case.sentences) for case in train]).pooled.clone()
    return Data(train, whole, cases(TEST_SEED, 60.0, TEST), cases(TEST_SEED + 100, 630.0, LONG))


def main() -> None:
    """Train and measure all arms with all seeds."""
    parser = harness.plain_parser(__doc__)
    parser.add_argument("--folder", type=Path, default=None, help="keep the vectors of rendered videos here")
    args: argparse.Namespace = parser.parse_args()
    torch.set_num_threads(1)
    model, seeds = load("mova-worlds-tiny"), [args.seed] if args.quick else list(range(args.seed, args.seed + 3))
    scale = model.trained_scale()  # type: ignore[attr-defined]
    report = harness.Report("ordered_loss", seeds)
    results: dict[tuple[str, str], list[dict[str, float]]] = {}
    for seed in seeds:
        data = prepare(model, seed, args.folder, args.quick)
        for name, objective in arms(model).items():
            adapter = Adapter(data.whole.shape[1]) if objective is None else learn(objective, data, scale, seed)
            for length, figures in measure(model, adapter, data).items():
                results.setdefault((name, length), []).append(figures)
    means = {
        place: {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} for place, rows in results.items()
    }
    for (name, length), figures in means.items():
        report.row(name=name, length=length, **{key: round(value, 3) for key, value in figures.items() if key in SHOWN})
    for name, length in means:
        if "order" in name:
            plain = means["late interaction", length]
            for key in SHOWN:
                if key in plain:
                    gain = round(means[name, length][key] - plain[key], 3)
                    report.claim(f"{name}, {length}: {key} minus that of late interaction", gain, 0.0, gain > 0)
    report.finish()


if __name__ == "__main__":
    main()
