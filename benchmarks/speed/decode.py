"""Decoding speed versus its limit: video frames per second for each way of reading, and for PyAV's bare loop.

The benchmark writes its own file: 720p H.264 at 30 fps of drifting texture, with x264's default groups of pictures (up
to 250 frames, B-frames). Every way reads the same file in the same run. The bare loop decodes every frame and converts
none, with FFmpeg's threads; no reader that decodes everything can be faster. The converting loop also scales each frame
and converts it to RGB, as a short script would.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.common import harness
from mova.video.probe import probe
from mova.video.reader import read_times, stream
from mova.video.writer import write_mp4

FPS = 30
SIZE = (720, 1280)
SHORT_SIDE = 224


def pictures(seconds: int, seed: int) -> Iterator[np.ndarray]:
    """Yield batches (FPS, 720, 1280, 3) of a smooth drifting texture, a new one every eight seconds."""
    rng = np.random.default_rng(seed)
    for second in range(seconds):
        if second % 8 == 0:
            coarse = rng.integers(0, 255, (SIZE[0] // 16 + 8, SIZE[1] // 16 + 8, 3), np.uint8)
            texture = coarse.repeat(16, 0).repeat(16, 1)
        offsets = (second % 8) * FPS // 2 + np.arange(FPS) // 2
        yield np.stack([texture[k : k + SIZE[0], k : k + SIZE[1]] for k in offsets])


def bare(path: Path) -> int:
    """Decode everything, convert nothing."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(1 for _ in container.decode(video=0))


def converting(path: Path) -> int:
    """Decode, scale and convert everything, as a short script does."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        width = round(SIZE[1] * SHORT_SIDE / SIZE[0])
        return sum(
            len(frame.to_ndarray(width=width, height=SHORT_SIDE, format="rgb24", interpolation="BICUBIC"))
            for frame in container.decode(video=0)
        )


def timed(work: Callable[[], Any]) -> float:
    """Return the best of two runs in seconds."""
    best = float("inf")
    for _ in range(2):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def main() -> None:
    """Write the file, read it in every way, print and record the results."""
    args = harness.arguments(__doc__)
    report = harness.Report("decode", seeds=[args.seed])
    seconds = 24 if args.quick else 120
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        path = write_mp4(Path(folder) / "texture.mp4", pictures(seconds, args.seed), fps=FPS, crf=26)
        frames, duration = seconds * FPS, probe(path).duration
        times = np.sort(rng.uniform(0, duration, 64))

        def streamed(fps: float | None) -> int:
            return sum(len(part) for part in stream(path, fps=fps, short_side=SHORT_SIDE))

        readers: dict[str, Callable[[], Any]] = {
            "bare decode loop": lambda: bare(path),
            "converting loop": lambda: converting(path),
            "stream, every frame": lambda: streamed(None),
            "stream, 2 fps": lambda: streamed(2.0),
            "stream, 1 fps": lambda: streamed(1.0),
            "read_times, 64 at random": lambda: read_times(path, times, short_side=SHORT_SIDE),
            "read_times, 8 at random": lambda: read_times(path, times[::8], short_side=SHORT_SIDE),
            "probe": lambda: probe(path),
        }
        durations = {name: timed(work) for name, work in readers.items()}
    limit = durations["bare decode loop"]
    for name, spent in durations.items():
        report.row(
            name=name,
            seconds=round(spent, 4),
            video_seconds_per_second=round(seconds / spent, 1),
            video_frames_per_second=round(frames / spent, 1),
            times_bare=round(limit / spent, 3),
        )
    claims = (
        ("stream, every frame", "converting loop", 0.9),
        ("stream, 1 fps", "bare decode loop", 1.0),
        ("read_times, 8 at random", "bare decode loop", 0.9 if args.quick else 2.0),
    )
    for name, rival, bound in claims:
        ratio = durations[rival] / durations[name]
        report.claim(f"{name}: at least {bound} times the speed of the {rival}", ratio, bound, ratio >= bound)

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        names = [name for name in durations if name != "probe"]
        axes.barh(names, [limit / durations[name] for name in names])
        axes.axvline(1.0, color="black", linewidth=1)
        axes.invert_yaxis()
        axes.set_xlabel("speed over the bare decode loop (both decode the same file)")
        axes.set_title(f"{seconds} s of 720p H.264, short side {SHORT_SIDE} out")

    report.finish(plot)


if __name__ == "__main__":
    main()
