"""How well does a model find real clips by text? Captions, events and moments of 32 described clips.

Any model that `mova.load` reads: `python -m benchmarks.studies.natural --model NAME`. The clips are looked for in
`$MOVA_SHARED_DATA` or in `../shared/data` next to the checkout. Chance is beside every figure. For `mova-natural`, a
control shuffles which class has which sentence vector, and its mean frame is also left out and taken from the other
clips, because the shipped one comes from these clips.

Shape legend: V clips, N texts, T frames, C classes, d width.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common import harness
from mova.models.embeddings import VideoEmbedding
from mova.models.encoder import DualEncoder
from mova.models.natural.model import Natural
from mova.models.registry import load
from mova.types import Frames

DATA = Path(os.environ.get("MOVA_SHARED_DATA", harness.ROOT.parent / "shared" / "data"))
MODEL = "mova-natural"
ALIKE = 12
"""Clips of the hard gallery: those that the model finds most alike."""
SHUFFLES = 10
QUICK_CLIPS, QUICK_SECONDS = 8, 15.0
LEAST_R1, LEAST_R5, CONTROL_FACTOR = 55.0, 85.0, 2.5


class Clip(NamedTuple):
    """An encoded clip: its row, its frames, and for `Natural` the class probabilities (T, C) of its frames."""

    row: dict[str, Any]
    video: VideoEmbedding
    probabilities: Tensor | None


class Texts(NamedTuple):
    """Unit vectors of captions (V, d), of events (N, d), and the clip of each event (N,)."""

    captions: Tensor
    events: Tensor
    clip_of_event: Tensor


def encode(model: DualEncoder, path: Path, end: float | None) -> tuple[VideoEmbedding, Tensor | None]:
    """Encode a clip by the model's own sampling."""
    if not isinstance(model, Natural):
        return model.encode_video(path, end=end), None

    @torch.no_grad()
    def probabilities(frames: Frames) -> Tensor:
        return torch.cat([model.class_probabilities(model.dense_images(x)) for x in model.image_batches(frames)])

    chunks, duration = model.open_video(path, end=end)
    parts = list(model.encode_stream(chunks, probabilities))
    classes = torch.cat([part for _, part in parts])
    times = np.concatenate([times for times, _ in parts])
    return VideoEmbedding(model.place(classes), times, duration), classes


def read_clips(model: DualEncoder, quick: bool, folder: Path | None) -> tuple[list[Clip], float]:
    """Return all clips, and the processor seconds per frame; encodings in `folder` are read, not made again."""
    rows = [json.loads(line) for line in (DATA / "realclips.jsonl").read_text(encoding="utf-8").splitlines()]
    clips, seconds, frames = [], 0.0, 0
    for row in rows[:QUICK_CLIPS] if quick else rows:
        kept = None if folder is None else folder / model.fingerprint()[:16] / f"{Path(row['video']).stem}.pt"
        if kept is not None and kept.is_file():
            kept_parts = torch.load(kept, weights_only=True)
            video = VideoEmbedding(kept_parts["frames"], kept_parts["times"].numpy(), kept_parts["duration"])
            clips.append(Clip(row, video, kept_parts["probabilities"]))
            seconds += kept_parts["seconds"]
        else:
            began = time.process_time()
            video, classes = encode(model, DATA / row["video"], QUICK_SECONDS if quick else None)
            spent = time.process_time() - began
            seconds += spent
            clips.append(Clip(row, video, classes))
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                parts = {"frames": video.frames, "times": torch.from_numpy(video.times), "probabilities": classes}
                torch.save(parts | {"duration": video.duration, "seconds": spent}, kept)
        frames += len(video.times)
    return clips, seconds / frames


def encode_texts(model: DualEncoder, clips: Sequence[Clip]) -> Texts:
    """Encode captions and events."""
    captions = model.encode_text([clip.row["caption"] for clip in clips]).pooled
    events = [(number, event["text"]) for number, clip in enumerate(clips) for event in clip.row["events"]]
    vectors = model.encode_text([text for _, text in events]).pooled
    owner = torch.tensor([number for number, _ in events])
    return Texts(F.normalize(captions, dim=-1), F.normalize(vectors, dim=-1), owner)


def ranks(scores: Tensor, right: Tensor) -> npt.NDArray[np.int64]:
    """Return the rank of the right column in each row, from 1; ties count against it."""
    target = scores.gather(1, right[:, None])
    return (scores >= target).sum(dim=1).numpy()


def recalls(name: str, rank: npt.NDArray[np.int64], size: int) -> dict[str, float]:
    """Return R@1, R@5 and the median rank, with chance, in percent."""
    return {
        f"{name}_r1": 100 * float((rank <= 1).mean()),
        f"{name}_r5": 100 * float((rank <= 5).mean()),
        f"{name}_median": float(np.median(rank)),
        f"{name}_chance_r1": 100 / size,
        f"{name}_chance_r5": 100 * min(5, size) / size,
    }


def gallery(videos: Sequence[VideoEmbedding], texts: Texts, chosen: Sequence[int] | None = None) -> dict[str, float]:
    """Return recalls of captions, clips and events among the chosen clips; default: all."""
    kept = torch.arange(len(videos)) if chosen is None else torch.tensor(sorted(chosen))
    pooled = torch.stack([videos[int(number)].pooled for number in kept])
    here = torch.arange(len(kept))
    of_captions = texts.captions[kept] @ pooled.T
    position = torch.full((len(videos),), -1)
    position[kept] = here
    owner = position[texts.clip_of_event]
    of_events = texts.events[owner >= 0] @ pooled.T
    return {
        **recalls("caption", ranks(of_captions, here), len(kept)),
        **recalls("clip", ranks(of_captions.T, here), len(kept)),
        **recalls("event", ranks(of_events, owner[owner >= 0]), len(kept)),
    }


def most_alike(videos: Sequence[VideoEmbedding], count: int) -> list[int]:
    """Return the clips that are most alike: the pair of highest cosine, then always the one nearest to those chosen."""
    pooled = torch.stack([video.pooled for video in videos])
    cosines = pooled @ pooled.T
    cosines.fill_diagonal_(-2)
    chosen = list(divmod(int(cosines.argmax()), len(videos)))
    while len(chosen) < min(count, len(videos)):
        nearness = cosines[chosen].mean(dim=0)
        nearness[chosen] = -2
        chosen.append(int(nearness.argmax()))
    return chosen


def moments(clips: Sequence[Clip], videos: Sequence[VideoEmbedding], texts: Texts, seed: int) -> dict[str, float]:
    """Return AP and AUC of the frames of an event among the frames of its clip, with those of random scores."""
    draw = np.random.default_rng(seed)
    rows: list[tuple[float, float, float]] = []
    spans = [(number, event) for number, clip in enumerate(clips) for event in clip.row["events"]]
    for vector, (number, event) in zip(texts.events, spans, strict=True):
        times = videos[number].times
        inside = (times >= event["start"]) & (times < event["end"])
        if len(clips[number].row["events"]) < 2 or inside.all() or not inside.any():
            continue
        scores = (F.normalize(videos[number].frames, dim=-1) @ vector).numpy()
        chance = np.mean([average_precision_score(inside, draw.random(len(inside))) for _ in range(50)])
        rows.append((average_precision_score(inside, scores), float(chance), roc_auc_score(inside, scores)))
    ap, chance_ap, auc = (100 * np.mean(rows, axis=0)).tolist() if rows else (float("nan"),) * 3
    return {"events": len(rows), "ap": ap, "chance_ap": chance_ap, "auc": auc, "chance_auc": 50.0}


def replaced(clips: Sequence[Clip], frames: Sequence[Tensor]) -> list[VideoEmbedding]:
    """Return the clips with other frame vectors."""
    pairs = zip(clips, frames, strict=True)
    return [VideoEmbedding(rows, clip.video.times, clip.video.duration) for clip, rows in pairs]


def controls(model: Natural, clips: Sequence[Clip], texts: Texts, seed: int) -> dict[str, dict[str, float]]:
    """Return the recalls of variants of `mova-natural`: see the module."""
    classes = model.classes - model.class_mean
    probabilities = [clip.probabilities for clip in clips]
    plain = [rows @ classes for rows in probabilities if rows is not None]
    means = torch.stack([rows.mean(dim=0) for rows in plain])
    others = (means.sum(dim=0) - means) / max(1, len(means) - 1)
    left_out = [rows - mean for rows, mean in zip(plain, others, strict=True)]
    generator = torch.Generator().manual_seed(seed)
    shuffled = []
    for _ in range(SHUFFLES):
        table = classes[torch.randperm(len(classes), generator=generator)]
        rows = [values @ table for values in probabilities if values is not None]
        mean = torch.stack([values.mean(dim=0) for values in rows]).mean(dim=0)
        shuffled.append(gallery(replaced(clips, [values - mean for values in rows]), texts))
    return {
        "mean frame of the other clips": gallery(replaced(clips, left_out), texts),
        "no mean frame": gallery(replaced(clips, plain), texts),
        f"classes shuffled (mean of {SHUFFLES})": {
            key: float(np.mean([draw[key] for draw in shuffled])) for key in shuffled[0]
        },
    }


def plot(figure: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Draw R@1 of captions and events, with chance."""
    axes = figure.add_subplot()
    for shift, name in enumerate(("caption", "event")):
        axes.barh(
            np.arange(len(rows)) + 0.4 * shift, [row[f"{name}_r1"] for row in rows], 0.38, label=f"{name} to clip"
        )
    for number, row in enumerate(rows):
        axes.vlines(row["caption_chance_r1"], number - 0.2, number + 0.6, color="black")
    axes.set_yticks(np.arange(len(rows)) + 0.2, [row["name"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("R@1 in percent (black: chance)")
    axes.legend()


def main() -> None:
    """Run one model over all clips."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small form that takes about a minute")
    parser.add_argument("--seed", type=int, default=0, help="seed of random scores and shuffles")
    parser.add_argument("--model", default=MODEL, help="name or folder of the model")
    parser.add_argument("--folder", type=Path, default=None, help="keep encoded clips here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load(args.model, device="cpu", precision="fp32")
    clips, seconds = read_clips(model, args.quick, args.folder)
    texts = encode_texts(model, clips)
    videos = [clip.video for clip in clips]
    title = "natural" if args.model == MODEL else f"natural-{Path(args.model).name}"
    report = harness.Report(title, [args.seed])
    whole = gallery(videos, texts)
    report.row(name=f"{len(clips)} clips", **whole)
    alike = most_alike(videos, ALIKE)
    names = sorted(Path(clips[number].row["video"]).stem for number in alike)
    report.row(name=f"the {len(alike)} most alike", **gallery(videos, texts, alike), clips=names)
    variants = controls(model, clips, texts, args.seed) if isinstance(model, Natural) else {}
    for name, values in variants.items():
        report.row(name=name, **values)
    within = moments(clips, videos, texts, args.seed)
    report.row(name="moments within a clip", **within)
    report.row(name="speed", cpu_seconds_per_frame=round(seconds, 4), frames_per_cpu_second=round(1 / seconds, 2))
    report.claim("caption to clip, R@1 in percent", whole["caption_r1"], LEAST_R1, whole["caption_r1"] >= LEAST_R1)
    report.claim("caption to clip, R@5 in percent", whole["caption_r5"], LEAST_R5, whole["caption_r5"] >= LEAST_R5)
    for name, values in variants.items():
        if name.startswith("classes shuffled"):
            bound = CONTROL_FACTOR * values["caption_chance_r1"]
            report.claim(
                f"control, {name}: R@1 near chance", values["caption_r1"], bound, values["caption_r1"] <= bound
            )
    shown = [row for row in report.rows if "caption_r1" in row]
    columns = ("name", "caption_r1", "caption_r5", "caption_chance_r1", "clip_r1", "event_r1", "event_r5")
    report.finish(lambda figure: plot(figure, shown), columns)


if __name__ == "__main__":
    main()
