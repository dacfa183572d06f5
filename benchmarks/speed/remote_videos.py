"""Which share of a video's bytes is read from object storage, and in how many requests, for indexing and for a clip.

Rendered films with a track of noise as sound, in three containers. The storage is fsspec's in memory, so no time is
measured: bytes and requests are those of any other storage. Frames must be those of the local file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import fsspec
import numpy as np

from benchmarks.common import harness
from benchmarks.speed.index import film
from mova.remote.blocks import traffic
from mova.remote.objects import forget_opened
from mova.types import Frames
from mova.video.probe import probe
from mova.video.reader import read_times, stream

CONTAINERS = {
    "MP4, header first": ("mp4", {"movflags": "+faststart"}),
    "MP4, header last": ("mp4", {}),
    "Matroska": ("matroska", {}),
}
RATE, SIZE = 48_000, (360, 640)
CLIP = 5.0
"""Seconds in the middle of the film."""


def with_sound(source: Path, target: Path, container: str, options: dict[str, str], rng: np.random.Generator) -> Path:
    """Copy the pictures of a film into a container, with noise as sound."""
    seconds = probe(source).duration
    with av.open(str(source)) as read, av.open(str(target), "w", format=container, options=options) as write:
        pictures = read.streams.video[0]
        video = write.add_stream_from_template(pictures)
        audio = write.add_stream("aac", rate=RATE, layout="mono")
        packets = [packet for packet in read.demux(pictures) if packet.dts is not None]
        done = 0.0
        for packet in packets:
            at = float(packet.pts * packet.time_base)
            while done <= at and done < seconds:
                frame = av.AudioFrame.from_ndarray(
                    rng.normal(0, 0.1, (1, RATE)).astype(np.float32), format="fltp", layout="mono"
                )
                frame.sample_rate, frame.pts = RATE, round(done * RATE)
                write.mux(audio.encode(frame))
                done += 1.0
            packet.stream = video
            write.mux(packet)
        write.mux(audio.encode(None))
    return target


def works(seconds: float) -> dict[str, Callable[[str], Iterator[Frames]]]:
    """Return what is done with a film, by name."""
    middle = seconds / 2 - CLIP / 2
    return {
        "index, 1 frame per second": lambda path: stream(path, fps=1.0, short_side=64, exact=False, threads=1),
        "index, 1 frame per 10 s": lambda path: stream(path, fps=0.1, short_side=64, exact=False, threads=1),
        f"a clip of {CLIP:g} s": lambda path: stream(path, fps=None, start=middle, end=middle + CLIP, threads=1),
        "a picture": lambda path: iter([read_times(path, [middle], threads=1)]),
    }


def cost(work: Callable[[str], Iterator[Frames]], uri: str, local: Path) -> dict[str, Any]:
    """Return the requests, the share of bytes, and whether the frames are those of the local file."""
    forget_opened()
    before = traffic.requests, traffic.bytes
    ours = list(work(uri))
    requests, read = traffic.requests - before[0], traffic.bytes - before[1]
    theirs = list(work(str(local)))
    equal = len(ours) == len(theirs) and all(
        np.array_equal(a.pixels, b.pixels) for a, b in zip(ours, theirs, strict=True)
    )
    return {"requests": requests, "share": read / local.stat().st_size, "same": float(equal)}


def main() -> None:
    """Measure all containers."""
    args = harness.arguments(__doc__)
    rng, seconds = np.random.default_rng(args.seed), 60 if args.quick else 240
    report = harness.Report("remote_videos", seeds=[args.seed])
    memory = fsspec.filesystem("memory")
    with tempfile.TemporaryDirectory() as name:
        source = film(Path(name) / "film.mp4", seconds, SIZE, rng)
        for label, (container, options) in CONTAINERS.items():
            local = with_sound(source, Path(name) / f"{len(report.rows)}.{container[:3]}", container, options, rng)
            memory.pipe(f"/films/{local.name}", local.read_bytes())
            megabytes = local.stat().st_size / 2**20
            for what, work in works(float(seconds)).items():
                row = cost(work, f"memory://films/{local.name}", local)
                report.row(name=f"{label}: {what}", megabytes=megabytes, **row)
                report.claim(f"{label}: {what}: the frames are those of the file", row["same"], 1.0, row["same"] == 1)
                bound = 0.25 if "clip" in what or "picture" in what else 1.1
                words = f"{label}: {what}: at most {bound:.0%} of the bytes are read"
                report.claim(words, row["share"], bound, row["share"] <= bound)
    report.finish(columns=("name", "megabytes", "requests", "share", "same"))


if __name__ == "__main__":
    main()
