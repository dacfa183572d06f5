"""Make small videos of many kinds, and damage them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, RATE, FRAMES = 64, 48, 10, 40


@dataclass(frozen=True)
class Kind:
    """A container and a codec of a seed video, with codec options."""

    ending: str
    codec: str
    pixel_format: str = "yuv420p"
    options: tuple[tuple[str, str], ...] = ()


KINDS = (
    Kind("mp4", "libx264"),
    Kind("mp4", "libx264", options=(("g", "8"), ("bf", "3"))),
    Kind("mp4", "libx265"),
    Kind("mp4", "mpeg4"),
    Kind("mov", "mjpeg", "yuvj420p"),
    Kind("mov", "prores_ks", "yuv422p10le"),
    Kind("mkv", "libx264"),
    Kind("mkv", "libvpx-vp9"),
    Kind("mkv", "ffv1"),
    Kind("webm", "libvpx"),
    Kind("webm", "libvpx-vp9"),
    Kind("ts", "libx264"),
    Kind("ts", "mpeg2video"),
    Kind("mpg", "mpeg1video"),
    Kind("avi", "mpeg4"),
    Kind("avi", "mjpeg", "yuvj420p"),
    Kind("flv", "flv1"),
    Kind("ogv", "libtheora"),
    Kind("gif", "gif", "rgb8"),
    Kind("wmv", "wmv2"),
    Kind("3gp", "h263"),
    Kind("nut", "mpeg4"),
    Kind("mxf", "mpeg2video"),
    Kind("y4m", "wrapped_avframe"),
)
"""Seed videos; those that this FFmpeg cannot write are left out and counted."""

SIZES = {"h263": (128, 96), "mxf": (720, 576)}
"""Sizes of codecs and containers that do not support the default one."""


def write_seeds(folder: Path, seed: int) -> list[Path]:
    """Write one video per kind that this FFmpeg can write, and return their paths."""
    paths = []
    for number, kind in enumerate(KINDS):
        path = folder / f"seed-{number:02d}-{kind.codec}.{kind.ending}"
        try:
            _write(path, kind, np.random.default_rng([seed, number]))
        except (av.FFmpegError, ValueError, OSError):
            path.unlink(missing_ok=True)
            continue
        paths.append(path)
    return paths


def _write(path: Path, kind: Kind, rng: np.random.Generator) -> None:
    rate = 25 if kind.ending in {"mpg", "mxf"} else RATE
    width, height = SIZES.get(kind.codec, SIZES.get(kind.ending, (WIDTH, HEIGHT)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(kind.codec, rate=Fraction(rate), options=dict(kind.options))
        stream.width, stream.height, stream.pix_fmt = width, height, kind.pixel_format
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for _ in range(FRAMES):
            picture = np.roll(picture, 2, axis=1)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _flip_bits(data: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, len(data), max(1, int(len(data) * 10 ** rng.uniform(-4, -1.5)))):
        data[place] ^= 1 << int(rng.integers(8))


def _flip_header(data: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, min(len(data), 600), int(rng.integers(1, 8))):
        data[place] = int(rng.integers(256))


def _flip_end(data: bytearray, rng: np.random.Generator) -> None:
    tail = min(len(data), 1200)
    for place in rng.integers(len(data) - tail, len(data), int(rng.integers(1, 8))):
        data[place] = int(rng.integers(256))


def _truncate(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(1, len(data))) :]


def _cut(data: bytearray, rng: np.random.Generator) -> None:
    first, last = sorted(rng.integers(0, len(data), 2).tolist())
    del data[first : min(last, first + len(data) // 4)]


def _zero(data: bytearray, rng: np.random.Generator) -> None:
    first = int(rng.integers(0, len(data)))
    length = min(len(data) - first, int(rng.integers(1, max(2, len(data) // 5))))
    data[first : first + length] = bytes(length)


def _repeat(data: bytearray, rng: np.random.Generator) -> None:
    first, last = sorted(rng.integers(0, len(data), 2).tolist())
    data[last:last] = data[first:last]


def _large_number(data: bytearray, rng: np.random.Generator) -> None:
    place = int(rng.integers(0, max(1, min(len(data), 3000) - 8)))
    data[place : place + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\0"])


def _swap(data: bytearray, rng: np.random.Generator) -> None:
    size = max(1, len(data) // 10)
    first, second = (int(x) for x in rng.integers(0, max(1, len(data) - size), 2))
    data[first : first + size], data[second : second + size] = (
        data[second : second + size],
        data[first : first + size],
    )


DAMAGES: tuple[Callable[[bytearray, np.random.Generator], None], ...] = (
    _flip_bits,
    _flip_header,
    _flip_end,
    _truncate,
    _cut,
    _zero,
    _repeat,
    _large_number,
    _swap,
)


def write_mutants(seeds: list[Path], folder: Path, count: int, seed: int) -> Iterator[Path]:
    """Write damaged copies of the seed videos in turn; mutant i depends on the seed and i alone."""
    for number in range(count):
        source = seeds[number % len(seeds)]
        rng = np.random.default_rng([seed, 1, number])
        data = bytearray(source.read_bytes())
        for _ in range(int(rng.integers(1, 3))):
            if data:
                DAMAGES[int(rng.integers(len(DAMAGES)))](data, rng)
        path = folder / f"m{number:05d}-{source.name}"
        path.write_bytes(data)
        yield path
