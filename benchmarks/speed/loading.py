"""Clips per second that decoding workers deliver to training, from files, tar files and a Lance table.

The benchmark renders its own clips: 6 seconds of 360p H.264 at 30 fps of drifting texture, with x264's default groups
of pictures. Every row reads the same clips in the same run: `FrameRule` selects frames as recipes do, CLIP's rule makes
them 224 x 224 pixels, and torch's DataLoader puts batches together. The bare decoder is PyAV's loop with one thread: it
opens each file, decodes every frame, and converts none.

Each row is measured with a quarter of the clips and with all: the difference is the rate of a long run, the rest is the
start of the workers. Processor time (of all processes) does not depend on what else the machine does; clips per second
do.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.common import harness
from mova.data.dataset import Batch, PairDataset, PairSampler, collate
from mova.data.manifest import Caption, Row, read_manifest, write_manifest
from mova.models.two_tower.image_processor import ImageRule
from mova.types import Pixels
from mova.video.reader import FrameRule
from mova.video.writer import write_mp4

FPS, SIZE, SECONDS = 30, (360, 640), 6
BATCH = 4
RULES = {"1 per second": FrameRule(16, fps=1.0), "16 uniform": FrameRule(16, rule="segment_midpoint")}


def render(folder: Path, clips: int, seed: int) -> Path:
    """Write clips and their manifest."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(clips):
        coarse = rng.integers(0, 255, (SIZE[0] // 16 + 8, SIZE[1] // 16 + 8, 3), np.uint8)
        texture = coarse.repeat(16, 0).repeat(16, 1)
        offsets = np.arange(SECONDS * FPS) // 2
        frames = np.stack([texture[k % 100 : k % 100 + SIZE[0], k % 100 : k % 100 + SIZE[1]] for k in offsets])
        write_mp4(folder / f"{number:04}.mp4", iter(np.split(frames, SECONDS)), fps=FPS, crf=26)
        rows.append(Row(str(number), f"{number:04}.mp4", float(SECONDS), "train", (Caption(f"Texture {number}."),)))
    return write_manifest(folder / "manifest.jsonl", rows)


CLIP = ImageRule("shortest", 224, 224, "bicubic", (224, 224))


def small(pixels: Pixels) -> Pixels:
    """Resize and crop frames to 224 x 224 by CLIP's rule, as training does in the worker."""
    return CLIP.shape(torch.from_numpy(np.ascontiguousarray(pixels))).numpy()


def packed(manifest: Path, folder: Path, form: str) -> Path:
    """Write shards in another process: workers must not be forked from one that has used Lance."""
    command = [sys.executable, "-m", "mova", "data", "shards", str(manifest), str(folder), "--format", form]
    subprocess.run([*command, "--megabytes", "2"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "manifest.jsonl"


def bare(manifest: Path, clips: int) -> None:
    """Decode every frame of so many clips with one thread."""
    for row in read_manifest(manifest)[:clips]:
        with av.open(str(manifest.parent / row.video)) as container:
            container.streams.video[0].thread_count = 1
            for _ in container.decode(video=0):
                pass


def loaded(manifest: Path, rule: FrameRule, workers: int, seed: int, clips: int) -> None:
    """Read so many clips of an epoch as training does."""
    dataset = PairDataset(manifest, split="train", sampling=rule, prepare=small)
    order = list(PairSampler(len(dataset), seed, dataset.shards()))[:clips]
    loader: DataLoader[Batch] = DataLoader(
        dataset, batch_size=BATCH, sampler=order, num_workers=workers, collate_fn=collate
    )
    count = 0
    for batch in loader:
        assert not batch.broken
        count += len(batch)
    assert count == clips


def measured(work: Callable[[int], None], clips: int, rounds: int) -> dict[str, float]:
    """Return clips per second, processor milliseconds per clip and processor seconds of the start.

    The best of some rounds counts for each number of clips.
    """
    walls, costs = {}, {}
    for count in (clips // 4, clips):
        spent = []
        for _ in range(rounds):
            began, used = time.perf_counter(), processor()
            work(count)
            spent.append((time.perf_counter() - began, processor() - used))
        walls[count], costs[count] = (min(values) for values in zip(*spent, strict=True))
    more = clips - clips // 4
    cost = (costs[clips] - costs[clips // 4]) / more
    return {
        "clips_per_second": round(more / max(walls[clips] - walls[clips // 4], 1e-9), 2),
        "milliseconds_per_clip": round(1e3 * cost, 2),
        "start_seconds": round(max(0.0, costs[clips] - clips * cost), 2),
    }


def processor() -> float:
    """Return processor seconds of this process and its finished children."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def main() -> None:
    """Render, pack, read in every way, print and record the results."""
    args = harness.arguments(__doc__)
    report = harness.Report("loading", seeds=[args.seed])
    clips, rounds = (8, 1) if args.quick else (64, 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifests = {"files": render(folder, clips, args.seed)}
        for form in ("tar", "lance"):
            manifests[form] = packed(manifests["files"], folder / form, form)
        limit = measured(lambda count: bare(manifests["files"], count), clips, rounds)
        report.row(name="bare decoder, every frame", workers=0, **limit, times_bare=1.0)
        costs: dict[tuple[str, str, int], float] = {}
        for frames, rule in RULES.items():
            for form, manifest in manifests.items():
                for workers in (1, 2):  # with none, this process would use Lance

                    def work(count: int, m: Path = manifest, r: FrameRule = rule, w: int = workers) -> None:
                        loaded(m, r, w, args.seed, count)

                    values = measured(work, clips, rounds)
                    costs[frames, form, workers] = values["milliseconds_per_clip"]
                    ratio = limit["milliseconds_per_clip"] / values["milliseconds_per_clip"]
                    report.row(name=f"{form}, {frames}", workers=workers, **values, times_bare=round(ratio, 3))
    _claims(report, costs, limit["milliseconds_per_clip"])
    print(f"{len(os.sched_getaffinity(0))} processors; times_bare compares processor time per clip")
    report.finish()


def _claims(report: harness.Report, costs: dict[tuple[str, str, int], float], limit: float) -> None:
    """Compare processor times of one run, of two workers."""
    for frames in RULES:
        ratio = limit / costs[frames, "files", 2]
        text = f"{frames}, files: at least half as many clips per processor second as the bare decoder"
        report.claim(text, ratio, 0.5, ratio >= 0.5)
        for form in ("tar", "lance"):
            share = costs[frames, "files", 2] / costs[frames, form, 2]
            text = f"{frames}, {form}: at least 0.95 times as many clips per processor second as from files"
            report.claim(text, share, 0.95, share >= 0.95)


if __name__ == "__main__":
    main()
