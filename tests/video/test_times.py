"""Times of files in the wild: the packets decide, the decoder orders, and no picture stands in for missing ones."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mova.data.manifest import Caption, Row
from mova.data.validation import check_rows
from mova.errors import VideoError
from mova.types import Frames, Span
from mova.video.display import find_damage
from mova.video.probe import probe
from mova.video.reader import clip_times, read_count, read_times, stream
from mova.video.sampling import RULES, on_display
from mova.video.writer import cut_clip
from tests.support.odd_videos import join, numbered, numbers, state_duration, write_numbered

Call = Callable[..., tuple[int, str, str]]
FIVE_HOURS = 5 * 3600 * 25


def everything(path: Path, **options: Any) -> Frames:
    return Frames.concatenate(list(stream(path, fps=None, **options)))


def sampled(path: Path, fps: float) -> Frames:
    return Frames.concatenate(list(stream(path, fps=fps)))


def agree(path: Path, gaps: tuple[Span, ...] = ()) -> Frames:
    """Check that every way to sample a file agrees with all of its frames, decoded; return them."""
    frames = everything(path)
    pts, shown = frames.pts, numbers(frames.pixels)
    assert np.all(np.diff(pts) > 0)
    np.testing.assert_allclose(clip_times(path), pts, atol=1e-6)
    assert find_damage(path).gaps == pytest.approx(gaps) if not gaps else True
    duration = probe(path).duration
    for fps in (0.7, 2.0, 24.0):
        rows = sampled(path, fps)
        times = np.arange(0, int(np.ceil(duration * fps - 1e-4))) / fps
        times = np.array([t for t in times if not any(g.start <= t + 1e-6 and t + 1e-6 < g.end for g in gaps)])
        np.testing.assert_allclose(rows.pts, times, atol=1e-9)
        assert numbers(rows.pixels) == [shown[i] for i in on_display(pts, times)]
        assert numbers(read_times(path, times[::5]).pixels) == numbers(rows.pixels[::5])
    for name, rule in RULES.items():
        counted = read_count(path, 5, rule=name)
        assert numbers(counted.pixels) == [shown[i] for i in rule(pts, 5)]
    return frames


def numbers_of(path: Path) -> list[int]:
    return numbers(everything(path).pixels)


@pytest.mark.parametrize("ending", ["ts", "mpg", "mkv"])
@pytest.mark.parametrize("offset", [0, 9000, -9000])
def test_the_clock_of_joined_files_runs_on(tmp_path: Path, ending: str, offset: int) -> None:
    codec = "mpeg2video" if ending == "mpg" else "libx264"
    if ending != "ts" and offset:
        pytest.skip("only the writer of transport streams has an offset")
    one = write_numbered(tmp_path / f"1.{ending}", range(100), codec=codec, offset=max(0, -offset))
    two = write_numbered(tmp_path / f"2.{ending}", range(75), first=100, codec=codec, offset=max(0, offset))
    parts = [one, two] if ending == "mkv" else [one, two, two]  # FFmpeg reads two Matroska files at most
    path = join(tmp_path / f"joined.{ending}", *parts)
    frames = agree(path)
    assert numbers(frames.pixels) == [*range(175), *range(100, 175)][: len(frames)]
    assert probe(path).duration == pytest.approx(7.0 if ending == "mkv" else 10.0, abs=0.05)
    np.testing.assert_allclose(np.diff(frames.pts), 0.04, atol=0.002)


def test_a_clip_of_joined_files_has_its_frames(tmp_path: Path) -> None:
    one = write_numbered(tmp_path / "1.ts", range(100), sound=True)
    two = write_numbered(tmp_path / "2.ts", range(100), first=100, sound=True)
    path = join(tmp_path / "joined.ts", one, two)
    clip = cut_clip(path, tmp_path / "clip.mp4", 3.0, 6.0)
    frames = everything(clip)
    assert numbers(frames.pixels) == [i for i, t in enumerate(everything(path).pts) if 3.0 - 0.039 < t < 6.0]
    assert np.all(np.diff(frames.pts) > 0)
    with av.open(str(clip)) as container:
        ends = [float((f.pts + f.samples) * f.time_base) for f in container.decode(audio=0) if f.pts is not None]
    assert ends[-1] == pytest.approx(3.0, abs=0.15)


@pytest.mark.parametrize("leap", [FIVE_HOURS, 750])
def test_a_broadcast_whose_clock_leaps_runs_on(tmp_path: Path, leap: int) -> None:
    before = write_numbered(tmp_path / "before.ts", range(100))
    after = write_numbered(tmp_path / "after.ts", range(100), first=100, offset=leap)
    path = join(tmp_path / "leap.ts", before, after)
    frames = agree(path)
    assert numbers(frames.pixels) == list(range(200))
    assert probe(path).duration == pytest.approx(8.0, abs=0.1)
    assert probe(path).leaps == 1


@pytest.mark.parametrize("names", [("mdhd",), ("mvhd",), ("tkhd",), ("mvhd", "mdhd", "tkhd"), ("mvhd", "tkhd", "elst")])
@pytest.mark.parametrize("factor", [0.2, 3.0])
def test_headers_of_mp4_do_not_decide(tmp_path: Path, names: tuple[str, ...], factor: float) -> None:
    if factor < 1 and "elst" in names:
        pytest.skip("an edit list that is shorter than the media is an edit")
    path = state_duration(write_numbered(tmp_path / "a.mp4", range(100)), factor, *names)
    assert probe(path).duration == pytest.approx(4.0, abs=0.01)
    assert numbers(agree(path).pixels) == list(range(100))


@pytest.mark.parametrize("tag", [b"00:00:01.0", b"00:00:44.0"])
def test_tags_of_matroska_do_not_decide(tmp_path: Path, tag: bytes) -> None:
    path = write_numbered(tmp_path / "a.mkv", range(100))
    data = path.read_bytes()
    assert data.count(b"00:00:04.0") == 1
    path.write_bytes(data.replace(b"00:00:04.0", tag))
    assert probe(path).duration == pytest.approx(4.0, abs=0.01)
    assert numbers(agree(path).pixels) == list(range(100))


@pytest.mark.parametrize("seconds", [1.0, 44.0])
def test_the_duration_of_a_complete_matroska_file_does_not_decide(tmp_path: Path, seconds: float) -> None:
    path = write_numbered(tmp_path / "a.mkv", range(100))
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", seconds * 1000)
    data = data.replace(b"00:00:04.0", f"00:00:{seconds:04.1f}".encode())
    path.write_bytes(data)
    assert probe(path).duration == pytest.approx(4.0, abs=0.01)
    assert numbers(agree(path).pixels) == list(range(100))
    if seconds > 4:
        path.write_bytes(data[: len(data) * 2 // 3])
        with pytest.raises(VideoError, match=r"of 44\.00 s: truncated"):
            everything(path)


@pytest.mark.parametrize("frames", [20, 1100])
def test_the_length_in_an_avi_header_does_not_decide(tmp_path: Path, frames: int) -> None:
    path = write_numbered(tmp_path / "a.avi", range(100), codec="mpeg4")
    data = bytearray(path.read_bytes())
    at = data.index(b"strh") + 8 + 32
    assert struct.unpack("<I", data[at : at + 4]) == (100,)
    data[at : at + 4] = struct.pack("<I", frames)
    path.write_bytes(data)
    assert probe(path).duration == pytest.approx(4.0, abs=0.09)
    assert numbers_of(path) == list(range(100))
    assert len(sampled(path, 2.0)) == len(np.arange(0, probe(path).duration - 1e-6, 0.5))


@pytest.mark.parametrize("ending", ["mp4", "avi"])
def test_frames_come_in_the_order_of_the_decoder(tmp_path: Path, ending: str) -> None:
    path = write_numbered(tmp_path / f"a.{ending}", range(100), without_display_times=True)
    with av.open(str(path)) as container:
        stored = [frame.pts for frame in container.decode(video=0)]
    assert stored != sorted(stored)
    frames = agree(path)
    assert numbers(frames.pixels) == list(range(100))
    clip = cut_clip(path, tmp_path / "clip.mp4", 1.0, 3.0)
    shown = numbers_of(clip)
    assert shown == list(range(shown[0], shown[0] + 50))


@pytest.mark.parametrize("ending", ["mkv", "ts", "flv"])
def test_no_sample_lies_in_a_gap(tmp_path: Path, ending: str) -> None:
    path = write_numbered(tmp_path / f"a.{ending}", [*range(100), *range(250, 350)])
    (gap,) = find_damage(path).gaps
    start = everything(path).pts[99]
    assert (gap.start, gap.end) == (pytest.approx(start + 0.04, abs=2e-3), pytest.approx(start + 6.04, abs=2e-3))
    agree(path, (gap,))
    for time in (4.5, 8.0):
        with pytest.raises(VideoError, match="no picture"):
            read_times(path, [1.0, time])
    with pytest.raises(VideoError, match="no picture"):
        clip_times(path, 5.0, 6.0)
    for fps in (None, 2.0):
        with pytest.raises(VideoError, match="no picture"):
            list(stream(path, fps=fps, start=5.0, end=6.0))
    assert numbers(read_count(path, 1, rule="head", start=5.0).pixels) == [100]


def test_slides_are_not_gaps(tmp_path: Path) -> None:
    for ticks in ([0, 100, 250, 275, 500], [0, 1, 2, 3, 100, 101, 102, 103, 300, 301]):
        for ending in ("mkv", "mp4"):
            path = write_numbered(tmp_path / f"a.{ending}", ticks)
            assert find_damage(path).gaps == ()
            agree(path)


def test_a_long_step_that_the_container_states_is_not_a_gap(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", [*range(100), *range(250, 350)])
    assert find_damage(path).gaps == ()
    agree(path)


def damaged(path: Path, first: int, last: int) -> Path:
    """Overwrite the contents of packets `first` to `last`, in decoding order, keeping their sizes."""
    with av.open(str(path)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in spans[first : last + 1]:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    return path


def test_pictures_that_cannot_be_decoded_are_a_gap(tmp_path: Path) -> None:
    path = damaged(write_numbered(tmp_path / "a.mp4", range(300), x264="keyint=25:bframes=0:scenecut=0"), 100, 199)
    damage = find_damage(path)
    assert damage.lost == 100
    (gap,) = damage.gaps
    assert (gap.start, gap.end) == (pytest.approx(4.0), pytest.approx(8.0))
    assert numbers_of(path) == [*range(100), *range(200, 300)]
    assert np.all((sampled(path, 2.0).pts < 4.0) | (sampled(path, 2.0).pts >= 8.0))
    for threads in (1, 2, None):
        assert numbers(everything(path, threads=threads).pixels) == numbers_of(path)


def test_one_packet_that_cannot_be_decoded_is_no_end(tmp_path: Path) -> None:
    path = damaged(write_numbered(tmp_path / "a.mp4", range(100), x264="keyint=25:bframes=0:scenecut=0"), 24, 24)
    assert find_damage(path).lost == 1
    assert find_damage(path).gaps == ()
    assert numbers_of(path) == [*range(24), *range(25, 100)]
    rows = sampled(path, 25.0)
    assert numbers(rows.pixels) == [*range(24), 23, *range(25, 100)]
    counted = read_count(path, 100, rule="linspace")
    assert set(numbers(counted.pixels)) == {*range(100)} - {24}
    assert set(counted.pts) <= set(everything(path).pts)


def test_a_file_that_cannot_be_decoded_at_its_end_ends_early(tmp_path: Path) -> None:
    path = damaged(write_numbered(tmp_path / "a.mp4", range(100), x264="keyint=25:bframes=0:scenecut=0"), 60, 99)
    for fps in (None, 2.0):
        with pytest.raises(VideoError, match=r"ends at 2\.40 s of 4\.00 s"):
            list(stream(path, fps=fps))


def test_two_frames_46_days_apart_give_no_more_samples_than_the_hold(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w", options={"video_track_timescale": "1"}) as container:
        video = container.add_stream("libx264", rate=1, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = 192, 32, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1)
        for k, tick in enumerate((0, 4_000_000)):
            frame = av.VideoFrame.from_ndarray(numbered(k), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 1)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    count = sum(len(part) for part in stream(path, fps=2.0))
    assert 1200 <= count <= 1210
    (gap,) = find_damage(path).gaps
    assert (gap.start, gap.end) == (600.0, 4_000_000.0)


def test_check_reports_gaps_and_lost_pictures(tmp_path: Path, call: Call) -> None:
    gap = write_numbered(tmp_path / "gap.mkv", [*range(100), *range(250, 350)])
    lost = damaged(write_numbered(tmp_path / "lost.mp4", range(100), x264="keyint=25:bframes=0:scenecut=0"), 24, 24)
    code, out, _ = call("data", "check", gap, lost, "--json")
    assert code == 0
    assert json.loads(out) == {
        "readable": 2,
        "broken": [],
        "gaps": [{"path": str(gap), "start": 4.0, "end": 10.0}],
        "lost": [{"path": str(lost), "pictures": 1}],
    }
    code, out, err = call("data", "check", gap, lost)
    assert (code, out.strip()) == (0, "2 readable, 0 unreadable")
    assert "gap.mkv: no picture from 4.00 to 10.00 s" in err
    assert "lost.mp4: damaged; pictures that cannot be decoded: 1" in err


def test_a_manifest_is_checked_for_gaps_and_lost_pictures(tmp_path: Path) -> None:
    write_numbered(tmp_path / "gap.ts", [*range(100), *range(250, 350)])
    damaged(write_numbered(tmp_path / "lost.mp4", range(100), x264="keyint=25:bframes=0:scenecut=0"), 24, 24)
    rows = [Row(name, name, None, "train", (Caption("Bars."),)) for name in ("gap.ts", "lost.mp4")]
    for decode in (False, True):
        report = check_rows(rows, tmp_path, decode=decode).to_json()
        assert (report["good"], report["which"]) == (2, [])  # as for files, in an index, and when they are read
        assert report["lost"] == [{"video": "lost.mp4", "pictures": 1}] * decode
        assert report["gaps"] == [{"video": "gap.ts", "start": 4.0, "end": 10.0}]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "flv"])
def test_a_second_video_that_is_not_read_is_reported(tmp_path: Path, call: Call, suffix: str) -> None:
    first = write_numbered(tmp_path / f"a.{suffix}", range(50))
    second = write_numbered(tmp_path / f"b.{suffix}", range(75))
    joined = join(tmp_path / f"joined.{suffix}", first, second)
    assert [probe(path).unread for path in (first, second, joined)] == [0, 0, second.stat().st_size]
    code, out, _ = call("data", "check", first, joined, "--json")
    assert (code, json.loads(out)["unread"]) == (0, [{"path": str(joined), "bytes": second.stat().st_size}])
    code, _, err = call("data", "check", joined)
    warning = f"{second.stat().st_size} bytes after the end of the video are not read: another video begins there"
    assert (code, f"joined.{suffix}: {warning}" in err) == (0, True)
    rows = [Row("x", joined.name, None, "train", (Caption("Bars."),))]
    for decode in (False, True):
        assert check_rows(rows, tmp_path, decode=decode).unread == ((joined.name, second.stat().st_size),)


def test_another_kind_of_video_after_the_end_is_reported(tmp_path: Path) -> None:
    first = write_numbered(tmp_path / "a.mp4", range(50))
    for suffix in ("ts", "mkv", "avi"):
        second = write_numbered(tmp_path / f"b.{suffix}", range(50), codec="mpeg4" if suffix == "avi" else "libx264")
        assert probe(join(tmp_path / "joined.mp4", first, second)).unread == second.stat().st_size


@pytest.mark.parametrize("suffix", ["mkv", "avi", "ts"])
def test_joined_files_of_other_formats_are_read_to_their_end(tmp_path: Path, suffix: str) -> None:
    codec = "mpeg4" if suffix == "avi" else "libx264"
    parts = [write_numbered(tmp_path / f"{k}.{suffix}", range(50), first=k, codec=codec) for k in (0, 50)]
    joined = join(tmp_path / f"joined.{suffix}", *parts)
    assert (probe(joined).unread, len(everything(joined))) == (0, 100)


def fragmented(path: Path, source: Path) -> Path:
    with av.open(str(source)) as read, av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"}) as out:
        track = out.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = track
                out.mux(packet)
    return path


def test_a_second_fragmented_video_is_reported(tmp_path: Path) -> None:
    source = fragmented(tmp_path / "a.mp4", write_numbered(tmp_path / "source.mp4", range(100)))
    assert probe(source).unread == 0
    assert probe(join(tmp_path / "joined.mp4", source, source)).unread == source.stat().st_size


CASES: dict[str, tuple[float, int, int]] = {
    "joined_ts_20s.ts": (20.0, 500, 40),
    "header_mdhd_short.mp4": (10.0, 250, 20),
    "header_all_short.mp4": (10.0, 250, 20),
    "header_tag_long.mkv": (10.0, 250, 20),
    "clock_jumps_5h.ts": (9.16, 227, 19),
    "mp4_bframes_no_ctts.mp4": (10.0, 250, 20),
    "avi_h264_bframes_public.avi": (2.0, 58, 4),
    "one_bad_packet_public.mp4": (1.001, 29, 3),
    "damaged_middle.mkv": (10.333, 131, 10),
}
"""Duration in seconds, frames, and samples at 2 frames per second."""


def test_files_in_the_wild(shared_data: Path) -> None:
    folder = shared_data / "cases"
    if not folder.is_dir():
        pytest.skip("the shared data folder has no cases")
    for name, (duration, frames, samples) in CASES.items():
        whole = everything(folder / name, short_side=32)
        rows = Frames.concatenate(list(stream(folder / name, fps=2.0, short_side=32)))
        assert probe(folder / name).duration == pytest.approx(duration, abs=0.02), name
        assert (len(whole), len(rows)) == (frames, samples), name
        assert np.all(np.diff(whole.pts) > 0), name
        np.testing.assert_array_equal(rows.pixels, whole.pixels[on_display(whole.pts, rows.pts)], err_msg=name)
    ordered = everything(folder / "header_all_short.mp4").pixels
    np.testing.assert_array_equal(everything(folder / "mp4_bframes_no_ctts.mp4").pixels, ordered)
    (gap,) = find_damage(folder / "damaged_middle.mkv").gaps
    assert (gap.start, gap.end) == (pytest.approx(4.033), pytest.approx(10.0))
    assert sum(len(part) for part in stream(folder / "hostile" / "long_8e6s.mp4", fps=2.0)) == 1202
