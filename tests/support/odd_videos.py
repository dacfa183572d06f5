"""Files whose pictures spell their numbers, with the faults of files in the wild: clocks, headers, damage."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 12
SIDE = 16

B_FRAMES = "b-adapt=0:bframes=3:scenecut=0:keyint=25"
"""Options of x264 that encode three B-frames between others, independent of the pictures."""


def numbered(number: int, height: int = 32) -> np.ndarray:
    """Return a picture of vertical bars that spell a number, (height, BITS * SIDE, 3)."""
    bars = [(number >> bit & 1) * 215 + 20 for bit in range(BITS)]
    return np.broadcast_to(np.repeat(np.array(bars, np.uint8), SIDE)[None, :, None], (height, BITS * SIDE, 3)).copy()


def numbers(pixels: np.ndarray) -> list[int]:
    """Return the numbers in pictures (T, H, W, 3) of any size."""
    centers = ((np.arange(BITS) + 0.5) * pixels.shape[2] / BITS).astype(int)
    bits = pixels[:, pixels.shape[1] // 2, centers, 1] > 128
    return [int(sum(1 << i for i in range(BITS) if row[i])) for row in bits]


def write_numbered(
    path: Path,
    ticks: Sequence[int],
    *,
    first: int = 0,
    offset: int = 0,
    codec: str = "libx264",
    x264: str = B_FRAMES,
    without_display_times: bool = False,
    lost: range = range(0),
    sound: bool = False,
) -> Path:
    """Write numbered pictures, one per tick of 1/25 s.

    Args:
        path: file to write; its ending determines the format.
        ticks: times of the pictures.
        first: number of the first picture.
        offset: ticks added to the stored times.
        codec: FFmpeg's name of the encoder.
        x264: options of x264.
        without_display_times: store the times of decoding only, as AVI does.
        lost: positions, in decoding order, of packets that are not written.
        sound: add silence of the same length.
    """
    options = {"x264-params": x264} if codec == "libx264" else {"g": "12"}
    muxer = {"output_ts_offset": str(offset / 25)} if offset else {}
    with av.open(str(path), "w", options=muxer) as container:
        video = container.add_stream(codec, rate=25, options=options)
        video.width, video.height, video.pix_fmt = BITS * SIDE, 32, "yuv420p"
        video.codec_context.time_base = Fraction(1, 25)
        audio = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        packets = []
        for k, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(numbered(first + k), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode(None)
        if audio is not None:
            wave = av.AudioFrame.from_ndarray(
                np.zeros((1, 640 * (ticks[-1] + 1)), np.float32), format="fltp", layout="mono"
            )
            wave.sample_rate, wave.pts = 16000, 0
            container.mux([*audio.encode(wave), *audio.encode(None)])
        for k, packet in enumerate(packets):
            packet.duration = 1
            if without_display_times:
                packet.pts = packet.dts = k
            if k not in lost:
                container.mux(packet)
    return path


def join(path: Path, *parts: Path) -> Path:
    """Concatenate files as `cat` does."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def boxes(data: bytes, name: bytes) -> list[int]:
    """Return the positions of the contents of all MP4 boxes of a name."""
    positions, at = [], data.find(name)
    while at >= 0:
        positions.append(at + 4)
        at = data.find(name, at + 4)
    return positions


def state_duration(path: Path, factor: float, *names: str) -> Path:
    """Multiply the durations in the headers of an MP4 file: `mvhd`, `mdhd`, `tkhd`, or the edit list `elst`."""
    data = bytearray(path.read_bytes())
    for name in names:
        for at in boxes(bytes(data), name.encode()):
            field = at + {"mvhd": 16, "mdhd": 16, "tkhd": 20, "elst": 8}[name]
            value = int.from_bytes(data[field : field + 4], "big")
            data[field : field + 4] = round(value * factor).to_bytes(4, "big")
    path.write_bytes(data)
    return path
