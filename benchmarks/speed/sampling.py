"""Indexing speed beside OpenCV and decord with transformers, what near samples save in decoding, and what they cost.

1. Seconds of video indexed per second, and per second of processor time: 720p H.264 (x264's defaults), one frame per
   second, a ViT-B/32 with random weights. The other two read frames as their documentation shows, and encode them with
   the image processor of transformers and the same network, in float32 (its default) and in the type that mova chooses.
   Every way indexes a short film before, so that none pays for imports and first calls.
2. Processor time of decoding alone, with exact and with near samples, by the distance of keyframes.
3. Recall of moments on Worlds with both kinds of samples. Its model reads motion, so that indexes with it are exact
   by default: the hardest case.

Run it as `mova bench sampling`: the command lets waiting threads give up their core, which helps all of them.
`--videos DIR` adds the first two for the H.264 films of a folder.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from benchmarks.common import harness
from benchmarks.speed.decode import pictures
from mova.data.manifest import read_manifest
from mova.models.encoder import DualEncoder, TextEmbedding
from mova.models.precision import choose_dtype
from mova.models.registry import load
from mova.models.two_tower.image_processor import ImageRule
from mova.search.index import Index
from mova.types import Frames, Span
from mova.video.probe import probe
from mova.video.reader import stream
from mova.video.writer import write_mp4
from mova.worlds.writer import write_worlds

BATCH = 32
SECONDS, WARM_SECONDS = 120, BATCH + 4
"""Lengths of the measured film, and of the one before it, which fills a batch: the first product of a size is slow."""
DECODE_ROUNDS = 3
SPACINGS = (12, 30, 250)
"""Frames between keyframes, at 30 per second."""


class Vision(DualEncoder):
    """The image tower of CLIP ViT-B/32 with random weights."""

    name = "vision"
    frame_rate = 1.0

    def __init__(self, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        self.image_rule = ImageRule.from_settings({"image_processor_type": "CLIPImageProcessor"}, self.name)
        sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
        config = CLIPVisionConfig(**sizes, image_size=224, patch_size=32, projection_dim=512)
        self.network = CLIPVisionModelWithProjection(config).eval().to(dtype)
        self.dtype = dtype

    @property
    def embedding_dim(self) -> int:
        return 512

    def fingerprint(self) -> str:
        return "vision"

    @torch.inference_mode()
    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode (T, 3, 224, 224)."""
        return self.network(pixel_values=pixels.to(self.dtype)).image_embeds.float()

    def encode_frames(self, frames: Frames) -> torch.Tensor:
        return self.run(self.image_rule.apply(frames.pixels, torch.device("cpu"), self.dtype))

    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        raise NotImplementedError


def opencv(path: Path) -> Iterator[np.ndarray]:
    """Yield one RGB frame per second; the others are decoded but not converted."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    rate = capture.get(cv2.CAP_PROP_FPS)
    number = taken = 0
    while capture.grab():
        if number >= taken * rate - 1e-6:
            yield cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
            taken += 1
        number += 1


def decord(path: Path) -> Iterator[np.ndarray]:
    """Yield one RGB frame per second."""
    from decord import VideoReader  # type: ignore[import-untyped]

    reader = VideoReader(str(path))
    numbers = np.arange(0, len(reader), reader.get_avg_fps()).round().astype(int)
    numbers = numbers[numbers < len(reader)]
    for first in range(0, len(numbers), BATCH):
        yield from reader.get_batch(numbers[first : first + BATCH]).asnumpy()


def script(films: Sequence[Path], read: Callable[[Path], Iterator[np.ndarray]], model: Vision) -> int:
    """Encode films as a short script does: read, process, encode, in batches. Return the number of frames."""
    process, count = CLIPImageProcessor(), 0
    for film in films:
        batch: list[np.ndarray] = []
        for frame in (*read(film), None):
            if frame is not None:
                batch.append(frame)
            if batch and (frame is None or len(batch) == BATCH):
                count += len(model.run(process(images=batch, return_tensors="pt")["pixel_values"]))
                batch = []
    return count


def indexed(films: Sequence[Path], folder: Path, model: Vision, *, exact: bool) -> int:
    """Index films; return the number of frames."""
    return Index(folder, model).add(films, exact=exact).frames


def spent() -> float:
    """Return the processor time of this process and its children so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def best(works: dict[str, Callable[[int], int]], rounds: int) -> dict[str, tuple[float, float, int]]:
    """Return seconds, processor seconds and frames of each work: the best of alternating rounds."""
    figures = {name: (float("inf"), float("inf"), 0) for name in works}
    for attempt in range(rounds):
        for name, work in works.items():
            began, used = time.perf_counter(), spent()
            frames = work(attempt)
            wall, processor, _ = figures[name]
            figures[name] = (min(wall, time.perf_counter() - began), min(processor, spent() - used), frames)
    return figures


def peers(report: harness.Report, films: Sequence[Path], kind: str, folder: Path, rounds: int) -> None:
    """Index films in every way."""
    length = sum(probe(film).duration for film in films)
    chosen = choose_dtype("auto", torch.device("cpu"))
    ours, full = Vision(chosen), Vision(torch.float32)

    def ways(films: Sequence[Path], kind: str) -> dict[str, Callable[[int], int]]:
        return {
            "mova index": lambda k: indexed(films, folder / f"{kind}-near-{k}", ours, exact=False),
            "mova index --exact": lambda k: indexed(films, folder / f"{kind}-exact-{k}", ours, exact=True),
            "OpenCV, transformers (float32)": lambda _: script(films, opencv, full),
            "OpenCV, transformers (as mova)": lambda _: script(films, opencv, ours),
            "decord, transformers (float32)": lambda _: script(films, decord, full),
        }

    short = write_mp4(folder / f"{kind}-warm.mp4", pictures(WARM_SECONDS, 0), fps=30)
    best(ways([short], f"{kind}-warm"), 1)
    figures = best(ways(films, kind), rounds)
    for name, (wall, processor, frames) in figures.items():
        report.row(
            name=f"{name}, {kind}",
            dtype=str(full.dtype if "float32" in name else chosen).removeprefix("torch."),
            frames=frames,
            video_seconds_per_second=length / wall,
            video_seconds_per_processor_second=length / processor,
        )
    for rival in ("OpenCV, transformers (float32)", "OpenCV, transformers (as mova)"):
        for k, unit in enumerate(("speed", "speed per processor time")):
            ratio = figures[rival][k] / figures["mova index"][k]
            report.claim(f"{kind}: at least 2 times the {unit} of {rival}", ratio, 2.0, ratio >= 2.0)


def decoding(report: harness.Report, films: dict[str, Sequence[Path]], rounds: int) -> None:
    """Decode films with exact and near samples, one thread each."""
    for kind, paths in films.items():
        works: dict[str, Callable[[int], int]] = {
            name: lambda _, exact=exact, paths=paths: sum(  # type: ignore[misc]
                len(part) for path in paths for part in stream(path, fps=1.0, exact=exact, threads=1)
            )
            for name, exact in (("exact", True), ("near", False))
        }
        figures = best(works, rounds)
        report.row(
            name=f"decode, {kind}",
            frames=figures["near"][2],
            processor_seconds_exact=figures["exact"][1],
            processor_seconds_near=figures["near"][1],
            times_as_fast=figures["exact"][1] / figures["near"][1],
        )


def recall(report: harness.Report, seed: int, folder: Path, videos: int) -> dict[str, list[float]]:
    """Return, for each kind of samples, whether the best moments contain each sentence's own (R@1 and R@5, IoU 0.5)."""
    manifest = write_worlds(folder / "worlds", videos, 60, "shaded", 880_000 + seed, size=64, fps=24)
    rows = read_manifest(manifest)
    model = load("mova-worlds-tiny")
    hits: dict[str, list[float]] = {}
    for name, exact in (("exact", True), ("near", False)):
        index = Index(folder / name, model)
        index.add(manifest.parent, exact=exact)
        found = []
        for row in rows:
            path = str((manifest.parent / row.video).resolve())
            for sentence in row.captions[0].sentences or ():
                moments = index.search(sentence.text, 5, rescore="none")
                truth = Span(sentence.start or 0.0, sentence.end or 0.0)
                right = [
                    moment.video == path and Span(moment.start, moment.end).iou(truth) >= 0.5 for moment in moments
                ]
                found.append((bool(right and right[0]), any(right)))
        first, five = 100 * np.mean(found, axis=0)
        hits[name] = [float(first), float(five)]
        report.row(name=f"Worlds, {name} samples, seed {seed}", sentences=len(found), r1=first, r5=five)
    return hits


def main() -> None:
    """Run all blocks."""
    parser = harness.plain_parser(__doc__)
    parser.add_argument("--videos", type=Path, default=None, help="a folder of films to measure, too")
    args = parser.parse_args()
    seeds = list(range(args.seed, args.seed + (1 if args.quick else 3)))
    report = harness.Report("sampling", seeds=seeds)
    seconds, rounds = (16, 1) if args.quick else (SECONDS, 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = write_mp4(folder / "film.mp4", pictures(seconds, args.seed), fps=30, crf=23, preset="medium")
        peers(report, [film], "720p", folder, rounds)
        films: dict[str, Sequence[Path]] = {f"a keyframe every {gap} frames": [spaced(film, gap)] for gap in SPACINGS}
        if args.videos is not None:
            real = sorted(path for path in args.videos.iterdir() if path.suffix == ".mp4")
            high = [path for path in real if min(probe(path).width, probe(path).height) >= 720]
            peers(report, high, f"{len(high)} real films of 720p and 1080p", folder, 1)
            films[f"{len(real)} real films"] = real
        decoding(report, films, 1 if args.quick else DECODE_ROUNDS)
        every = [recall(report, seed, folder / f"worlds-{seed}", 4) for seed in seeds]
        for k, kind in enumerate(("R@1", "R@5")):
            loss = float(np.mean([run["exact"][k] - run["near"][k] for run in every]))
            report.claim(f"Worlds: near samples cost at most 1 point of {kind}", loss, 1.0, loss <= 1.0)
    report.finish()


def spaced(film: Path, gap: int) -> Path:
    """Encode a film again with x264's defaults and keyframes at least every `gap` frames."""
    import av

    target = film.with_name(f"gap-{gap}.mp4")
    with av.open(str(film)) as source, av.open(str(target), "w") as out:
        track = out.add_stream("libx264", rate=30, options={"g": str(gap), "preset": "medium", "crf": "23"})
        track.width, track.height, track.pix_fmt = 1280, 720, "yuv420p"
        for frame in source.decode(video=0):
            frame.pict_type = 0
            out.mux(track.encode(frame))
        out.mux(track.encode(None))
    return target


if __name__ == "__main__":
    main()
