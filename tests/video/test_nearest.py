"""Frames near the sampling times that cost less to decode: which are taken, and that their pictures are the same."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mova.types import Frames
from mova.video import packet_plan as packets
from mova.video.nearest.references import reference_test
from mova.video.reader import SLACK, stream

SIZE = (48, 64)
STEP = 40
"""Milliseconds between frames."""

LAYOUTS: dict[str, dict[str, Any]] = {
    "pyramid.mp4": {"options": {"g": "250", "bf": "3", "b-pyramid": "normal", "refs": "3"}},
    "short groups.mp4": {"options": {"g": "20", "bf": "2", "sc_threshold": "0"}},
    "open groups.mp4": {"options": {"g": "30", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}},
    "groups.mkv": {"options": {"g": "40", "bf": "3"}},
    "groups.ts": {"options": {"g": "33", "bf": "3"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=60:bframes=4:log-level=none"}},
    "hevc.ts": {"codec": "libx265", "options": {"x265-params": "keyint=60:bframes=4:log-level=none"}},
    "layers.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=60:temporal-layers=3:log-level=none"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "20", "bf": "2"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"g": "15", "bf": "2"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "60", "deadline": "realtime", "cpu-used": "8"}},
    "intra.mp4": {"options": {"g": "1"}},
}
DROPS = tuple(name for name in LAYOUTS if not name.startswith(("vp9", "intra")))
"""Files in which no other frame refers to some of the frames."""


def moving(count: int) -> list[np.ndarray]:
    """Noise that moves, (48, 64, 3) each: every frame differs, and refers to those around it."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (SIZE[0] + count, SIZE[1] + count, 3), np.uint8)
    return [np.ascontiguousarray(ground[k : k + SIZE[0], k // 2 : k // 2 + SIZE[1]]) for k in range(count)]


def write(path: Path, ticks: list[int], codec: str = "libx264", options: dict[str, str] | None = None) -> Path:
    """Write moving pictures at times in milliseconds with PyAV alone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25, options=options or {})
        video.height, video.width, video.pix_fmt = *SIZE, "yuv420p"
        base = Fraction(1, 25) if codec in ("mpeg2video",) else Fraction(1, 1000)
        video.codec_context.time_base = base
        for tick, picture in zip(ticks, moving(len(ticks)), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(Fraction(tick, 1000) / base), base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 300 frames in 12 s."""
    path = tmp_path_factory.mktemp("layouts") / request.param
    return write(path, list(range(0, 300 * STEP, STEP)), **LAYOUTS[request.param])


def read(path: Path, **options: Any) -> Frames:
    return Frames.concatenate(list(stream(path, **options)))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The packets that are sent to decoders, in order."""
    sent: list[Any] = []
    plain = packets.Plan._decode

    def counting(self: packets.Plan, packet: Any) -> list[Any]:
        if packet is not None:
            sent.append(packet)
        return plain(self, packet)

    monkeypatch.setattr(packets.Plan, "_decode", counting)
    return sent


@pytest.mark.parametrize("fps", [0.5, 1.0, 2.0, 3.7])
def test_pictures_and_times_are_those_of_a_full_decoding(layout: Path, fps: float, decoded: list[Any]) -> None:
    every = read(layout, fps=None)
    decoded.clear()
    exact = read(layout, fps=fps)
    sent = len(decoded)
    decoded.clear()
    near = read(layout, fps=fps, exact=False)
    assert len(near) == len(exact)
    assert len(decoded) <= sent
    shown = np.maximum(np.searchsorted(every.pts, near.pts + 1e-6, side="right") - 1, 0)
    np.testing.assert_array_equal(near.pixels, every.pixels[shown])
    own = np.abs(near.pts - every.pts[shown]) < 1e-6
    assert np.all(own | (near.pts == exact.pts)), "a time is that of a frame, or the sampling time"
    assert np.all(np.abs(near.pts - exact.pts) < SLACK / fps)
    assert np.all(np.diff(near.pts) > 0)
    assert np.all(np.diff(near.pts) < 1.5 / fps)


def test_keyframes_replace_all_others_where_there_are_enough(tmp_path: Path, decoded: list[Any]) -> None:
    path = write(tmp_path / "a.mp4", list(range(0, 300 * STEP, STEP)), options={"g": "12", "sc_threshold": "0"})
    near = read(path, fps=1.0, exact=False)
    assert [round(time / 0.48, 6) % 1 for time in near.pts[:-1]] == [0.0] * (len(near) - 1)
    assert all(packet.is_keyframe for packet in decoded[: len(near) - 1])


def test_the_last_sample_of_a_group_is_the_first_to_be_decoded(tmp_path: Path, decoded: list[Any]) -> None:
    """Keyframes at 0, 2.6, 5.2 s: 2 s is the last in its group; so is 4 s, because the next keyframe serves 5 s."""
    ticks = list(range(0, 300 * STEP, STEP))
    path = write(tmp_path / "a.mp4", ticks, options={"g": "65", "bf": "0", "sc_threshold": "0"})
    near = read(path, fps=1.0, exact=False)
    assert near.pts[:6].tolist() == pytest.approx([0.0, 1.0, 1.76, 3.0, 3.76, 5.2])
    times = [float(packet.pts * packet.time_base) for packet in decoded]
    assert not any(1.77 < time < 2.59 or 3.77 < time < 5.19 for time in times)


def test_missing_pictures_are_skipped_as_without_slack(tmp_path: Path) -> None:
    ticks = [*range(0, 3000, STEP), *range(7400, 11000, STEP)]
    path = write(tmp_path / "gap.mkv", ticks, options={"g": "25", "bf": "0"})
    exact, near = read(path, fps=1.0), read(path, fps=1.0, exact=False)
    assert np.round(near.pts).tolist() == exact.pts.tolist() == [0, 1, 2, 8, 9, 10]


def test_slides_are_those_on_display(tmp_path: Path) -> None:
    path = write(tmp_path / "slides.mp4", [0, 2500, 7100, 9000, 12000], options={"g": "50", "bf": "0"})
    exact, near = read(path, fps=1.0), read(path, fps=1.0, exact=False)
    np.testing.assert_array_equal(near.pts, exact.pts)
    np.testing.assert_array_equal(near.pixels, exact.pixels)


def test_damage_is_reported_as_without_slack(tmp_path: Path) -> None:
    """The packets of six seconds are noise: what can be decoded, and the gap, are the same."""
    path = write(tmp_path / "a.mkv", list(range(0, 500 * STEP, STEP)), options={"g": "25", "bf": "2"})
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * 0.3), int(len(data) * 0.6)
    data[first:last] = np.random.default_rng(0).integers(0, 255, last - first, np.uint8).tobytes()
    path.write_bytes(data)
    exact, near = read(path, fps=1.0), read(path, fps=1.0, exact=False)
    assert np.round(near.pts).tolist() == exact.pts.tolist()
    assert len(exact) < 20


@pytest.mark.parametrize("name", DROPS)
def test_frames_without_references_can_be_left_out(name: str, tmp_path: Path) -> None:
    """The oracle is the decoder: without those packets, it returns the other pictures bit for bit."""
    path = write(tmp_path / name, list(range(0, 150 * STEP, STEP)), **LAYOUTS[name])
    pictures: list[dict[int, bytes]] = []
    dropped = 0
    for drop in (False, True):
        with av.open(str(path)) as container:
            track = container.streams.video[0]
            test = reference_test(track.codec_context.name, track.codec_context.extradata)
            shown: dict[int, bytes] = {}
            for packet in container.demux(track):
                if drop and packet.size and not test(packet):
                    dropped += 1
                    continue
                shown |= {frame.pts: frame.to_ndarray(format="gray").tobytes() for frame in packet.decode()}
            pictures.append(shown)
    every, kept = pictures
    assert dropped >= 30
    assert len(kept) == len(every) - dropped
    assert kept.items() <= every.items()


def test_packets_of_unknown_form_count_as_references() -> None:
    for codec in ("h264", "hevc", "mpeg4", "mpeg2video", "vp9"):
        for extra in (None, b"", b"\1", b"\1" * 30, bytes(30)):
            for data in (b"", b"\0\0\1", b"\0\0\0\x7f\1", bytes(40)):
                assert reference_test(codec, extra)(data)
