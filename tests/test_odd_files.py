"""Real unusual files; the oracle is what an independent decoder found in them (PROBE.json)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mova.errors import VideoError
from mova.types import Frames
from mova.utils.files import find_videos
from mova.video.probe import probe
from mova.video.reader import read_count, read_times, stream
from mova.video.sampling import on_display

BROKEN = {"no_video_stream.mp4", "nostreams.mp4", "zero_bytes.mp4"}
BEST_STREAM = {"multi_stream_nasa.mp4": (390, 480, 270, 12.9796)}
"""The oracle decoded the first of several streams; we take the one that FFmpeg calls best."""
ONE_BAD_PACKET = {"corrupted_decord.mp4": (49, 4.9)}
"""The oracle stopped at a packet that cannot be decoded; all the others can be, also with FFmpeg itself."""

DISPLAY_WIDTH = {"codec_error_katna.mp4": 400, "qcif_distorted.mp4": 193}
"""The oracle has stored pixels; those of these files have an aspect ratio of 5:4 and 128:117."""


@pytest.fixture(scope="module")
def odd(shared_data: Path) -> Path:
    return shared_data / "odd"


@pytest.fixture(scope="module")
def oracle(odd: Path) -> dict[str, dict[str, Any]]:
    return {row["file"]: row for row in json.loads((odd / "PROBE.json").read_text())}


@cache
def everything(path: Path) -> Frames:
    """All frames, small; decoded once for all tests."""
    return Frames.concatenate(list(stream(path, fps=None, short_side=32)))


def test_every_playable_file_has_all_frames_at_their_times(odd: Path, oracle: dict[str, dict[str, Any]]) -> None:
    assert len(oracle) == 41
    for name, row in oracle.items():
        if name in BROKEN:
            continue
        width, height = map(int, row["size_px"].split("x"))
        count, first, last = row["decoded_frames"], row["first_pts"], row["last_pts"]
        if name in BEST_STREAM:
            count, width, height, last = BEST_STREAM[name]
        if name in ONE_BAD_PACKET:
            count, last = ONE_BAD_PACKET[name]
        info = probe(odd / name)
        frames = everything(odd / name)
        assert len(frames) == count, name
        assert frames.pts[0] == pytest.approx(max(0.0, first - info.start), abs=1e-3), name
        assert frames.pts[-1] == pytest.approx(last - info.start, abs=1e-3), name
        assert info.rotation == -row["rotation"] % 360, name
        width = DISPLAY_WIDTH.get(name, width)
        turned = (height, width) if info.rotation in (90, 270) else (width, height)
        assert (info.width, info.height) == turned, name
        assert (frames.pixels.shape[2] < frames.pixels.shape[1]) == (turned[0] < turned[1]), name
        assert frames.pts[-1] < info.duration < frames.pts[-1] + 1.1, name
        assert info.codec == row["codec"], name


@pytest.mark.slow
def test_sampled_frames_equal_those_of_a_full_read(odd: Path, oracle: dict[str, dict[str, Any]]) -> None:
    for name in oracle.keys() - BROKEN:
        frames = everything(odd / name)
        sampled = Frames.concatenate(list(stream(odd / name, fps=1.5, short_side=32)))
        np.testing.assert_array_equal(sampled.pixels, frames.pixels[on_display(frames.pts, sampled.pts)], err_msg=name)
        times = np.sort(np.random.default_rng(0).uniform(0, frames.pts[-1], 5))
        read = read_times(odd / name, times, short_side=32)
        np.testing.assert_array_equal(read.pixels, frames.pixels[on_display(frames.pts, times)], err_msg=name)
        counted = read_count(odd / name, 4, short_side=32)
        np.testing.assert_array_equal(counted.pixels, frames.pixels[on_display(frames.pts, counted.pts)], err_msg=name)


def test_broken_files_raise_once(odd: Path) -> None:
    for name in BROKEN:
        for fps in (None, 2.0):
            frames = stream(odd / name, fps=fps)
            with pytest.raises(VideoError, match=name):
                for _ in frames:
                    pass
            assert list(frames) == []


def test_rotated_copies_show_the_same_picture(odd: Path) -> None:
    reference = next(stream(odd / "rot0.mov", fps=None)).pixels[0].astype(int)
    for name in ("rot90.mov", "rot180.mov", "rot270.mov"):
        info = probe(odd / name)
        stored = np.rot90(next(stream(odd / name, fps=None)).pixels[0], info.rotation // 90).astype(int)
        assert stored.shape == reference.shape
        with av.open(str(odd / name)) as container:
            plain = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
        assert np.abs(stored - plain).max() <= 2, name


def test_a_folder_of_odd_files_is_found(odd: Path, oracle: dict[str, dict[str, Any]]) -> None:
    assert {path.name for path in find_videos([odd])} == set(oracle)


def test_natural_footage_has_its_stated_duration(shared_data: Path) -> None:
    rows = [json.loads(line) for line in (shared_data / "realclips.jsonl").read_text().splitlines()]
    assert len(rows) == 32
    for row in rows:
        info = probe(shared_data / row["video"])
        assert info.duration == pytest.approx(row["duration"], abs=0.1), row["video"]
