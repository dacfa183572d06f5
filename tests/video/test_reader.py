"""Decoding files in which every frame shows its own number."""

from __future__ import annotations

import gc
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageOps

from mova.errors import UsageError, VideoError
from mova.types import Frames
from mova.video import container as decoder
from mova.video import packet_plan as packets
from mova.video.packet_plan import Window
from mova.video.probe import probe
from mova.video.reader import read_count, read_times, stream
from mova.video.sampling import RULES, on_display

ORIENTATION = ExifTags.Base.Orientation
BITS = 12
SIDE = 16


def numbered(number: int, height: int = 32) -> np.ndarray:
    """A picture of `BITS` vertical bars that spell its number, (height, BITS * SIDE, 3)."""
    bars = [(number >> bit & 1) * 215 + 20 for bit in range(BITS)]
    return np.broadcast_to(np.repeat(np.array(bars, np.uint8), SIDE)[None, :, None], (height, BITS * SIDE, 3)).copy()


def numbers(pixels: np.ndarray) -> list[int]:
    """What `numbered` wrote, read off (T, H, W, 3); any size."""
    width = pixels.shape[2]
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    bits = pixels[:, pixels.shape[1] // 2, centres, 1] > 128
    return [int(sum(1 << i for i in range(BITS) if row[i])) for row in bits]


def write(
    path: Path,
    ticks: Sequence[int],
    *,
    base: int = 1000,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pictures: Sequence[np.ndarray] | None = None,
    pix_fmt: str = "yuv420p",
    rotation: int | None = None,
    sound: float = 0.0,
) -> Path:
    """Write pictures (by default their numbers) at `ticks / base` seconds with PyAV alone."""
    pictures = [numbered(i) for i in range(len(ticks))] if pictures is None else pictures
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25, options=options or {})
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = Fraction(1, base)
        if rotation is not None:
            video.set_display_rotation(rotation)
        audio: Any = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for tick, picture in zip(ticks, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, base)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound:
            wave = np.sin(np.arange(int(16000 * sound)) / 20).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def everything(path: Path, **options: Any) -> Frames:
    return Frames.concatenate(list(stream(path, fps=None, **options)))


VARIABLE = np.cumsum([0, *np.random.default_rng(3).choice([20, 40, 41, 200], 399)]).tolist()
LAYOUTS: dict[str, dict[str, Any]] = {
    "one group.mp4": {"options": {"g": "1000", "bf": "3"}},
    "groups.mp4": {"options": {"g": "25", "bf": "2", "b-pyramid": "normal"}},
    "open groups.mp4": {"options": {"g": "30", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}},
    "groups.mkv": {"options": {"g": "40", "bf": "3"}},
    "groups.ts": {"options": {"g": "40", "bf": "3"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=50:bframes=4:log-level=none"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "20", "bf": "2"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "60", "deadline": "realtime", "cpu-used": "8"}},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "60", "auto-alt-ref": "1", "lag-in-frames": "10"}},
}


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A file of 400 numbered frames at a variable rate, and their times."""
    path = tmp_path_factory.mktemp("layouts") / request.param
    return write(path, VARIABLE, **LAYOUTS[request.param]), np.array(VARIABLE) / 1000


@pytest.fixture(scope="module")
def frames(layout: tuple[Path, np.ndarray]) -> Frames:
    """All frames of the file, decoded once."""
    return everything(layout[0])


def test_all_frames_have_their_own_times(layout: tuple[Path, np.ndarray], frames: Frames) -> None:
    path, pts = layout
    assert numbers(frames.pixels) == list(range(400))
    np.testing.assert_allclose(frames.pts, pts, atol=1e-3)
    assert probe(path).duration >= pts[-1]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_frames_at_times_are_those_on_display(
    layout: tuple[Path, np.ndarray], frames: Frames, data: st.DataObject
) -> None:
    path, pts = layout
    times = sorted(data.draw(st.lists(st.floats(0, float(pts[-1])), min_size=1, max_size=9)))
    read = read_times(path, times)
    assert numbers(read.pixels) == on_display(frames.pts, times).tolist()
    assert read.pts.tolist() == times


@pytest.mark.parametrize("fps", [0.3, 2.0, 7.0, 60.0])
def test_sampling_by_fps_returns_the_frames_on_display(
    layout: tuple[Path, np.ndarray], frames: Frames, fps: float
) -> None:
    path, _ = layout
    sampled = Frames.concatenate(list(stream(path, fps=fps)))
    assert sampled.pts.tolist() == (np.arange(len(sampled)) / fps).tolist()
    assert len(sampled) == int(np.ceil(probe(path).duration * fps - 1e-4))
    assert numbers(sampled.pixels) == on_display(frames.pts, sampled.pts).tolist()


def test_a_range_begins_with_the_frame_on_display_and_excludes_its_end(
    layout: tuple[Path, np.ndarray], frames: Frames
) -> None:
    path, pts = layout[0], frames.pts
    for start, end in (
        (0.0, 1.0),
        (3.333, 5.0),
        (float(pts[200]), float(pts[210])),
        (pts[-1] - 0.1, pts[-1] + 99),
    ):
        part = everything(path, start=start, end=end)
        first = int(on_display(pts, [start])[0])
        assert numbers(part.pixels) == [i for i in range(400) if i >= first and pts[i] < end - 1e-6]


def test_pixels_do_not_depend_on_seeking(layout: tuple[Path, np.ndarray], frames: Frames) -> None:
    path, _ = layout
    for threads in (1, 2):
        for at in ([5, 90, 91, 333], [399], [0, 0, 1]):
            part = read_times(path, frames.pts[at])
            np.testing.assert_array_equal(part.pixels, frames.pixels[at])
        np.testing.assert_array_equal(everything(path, threads=threads).pixels, frames.pixels)


def test_counted_frames_follow_their_rule(layout: tuple[Path, np.ndarray], frames: Frames) -> None:
    path, pts = layout[0], frames.pts
    for rule, function in RULES.items():
        counted = read_count(path, 7, rule=rule)
        expected = function(pts, 7)
        assert numbers(counted.pixels) == expected.tolist(), rule
        np.testing.assert_allclose(counted.pts, pts[expected], atol=1e-9)


def test_few_frames_need_little_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "long.mp4", range(0, 60000, 40), options={"g": "50", "bf": "3"})
    sent = 0
    plain = packets.Plan._matched

    def counting(self: packets.Plan, frames: list[Any]) -> Iterator[Any]:
        nonlocal sent
        sent += len(frames)
        return plain(self, frames)

    monkeypatch.setattr(packets.Plan, "_matched", counting)
    assert numbers(read_times(path, [1.0, 30.0, 59.0]).pixels) == [25, 750, 1475]
    assert sent < 60
    sent = 0
    assert numbers(read_times(path, [0.5 + 4 * k for k in range(15)]).pixels) == [12 + 100 * k for k in range(15)]
    assert sent < 300


@pytest.mark.parametrize("count", [0, -3])
def test_a_count_below_one_is_wrong_usage(tmp_path: Path, count: int) -> None:
    path = write(tmp_path / "a.mp4", [0, 40])
    with pytest.raises(UsageError):
        read_count(path, count)
    with pytest.raises(UsageError, match="known: linspace"):
        read_count(path, 2, rule="uniform")


def test_more_frames_than_there_are_repeat(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [0, 40, 80])
    assert numbers(read_count(path, 5).pixels) == [0, 1, 2, 2, 2]
    assert numbers(read_count(path, 5, rule="linspace").pixels) == [0, 0, 1, 1, 2]


def test_invalid_times_are_wrong_usage(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [0, 40, 80])
    for times in ([], [0.08, 0.0], [-1.0], [float("nan")], [9.0]):
        with pytest.raises(UsageError):
            read_times(path, times)
    for wrong in (
        {"fps": 0.0},
        {"fps": None, "start": -1.0},
        {"fps": 1.0, "start": 2.0, "end": 1.0},
        {"fps": 1.0, "chunk": 0},
    ):
        with pytest.raises(UsageError):
            stream(path, **wrong)  # type: ignore[arg-type]


def test_time_zero_is_the_start_of_the_container(tmp_path: Path) -> None:
    late = write(tmp_path / "late.mkv", [5000, 5040, 5080])
    info = probe(late)
    assert info.start == pytest.approx(5.0)
    np.testing.assert_allclose(everything(late).pts, [0, 0.04, 0.08], atol=1e-3)
    assert info.duration == pytest.approx(0.12, abs=0.005)
    behind_sound = write(tmp_path / "sound.mp4", [500, 540, 580], sound=1.0)
    assert everything(behind_sound).pts[0] == pytest.approx(0.5, abs=0.1)
    assert numbers(read_times(behind_sound, [0.0]).pixels) == [0]


def test_chunks_have_at_most_the_requested_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", range(0, 1000, 40))
    assert [len(part) for part in stream(path, fps=None, chunk=10)] == [10, 10, 5]
    assert [len(part) for part in stream(path, fps=50, chunk=40)] == [40, 10]


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 5), (17, 33), (33, 17)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    pictures = [np.full((*size, 3), level, np.uint8) for level in (30, 200)]
    path = write(tmp_path / "odd.mov", [0, 40], pictures=pictures, codec="png", pix_fmt="rgb24")
    frames = everything(path)
    assert frames.pixels.shape == (2, *size, 3)
    np.testing.assert_array_equal(frames.pixels, np.stack(pictures))
    assert everything(path, short_side=1).pixels.shape[1:3] == (
        max(1, round(size[0] / min(size))),
        max(1, round(size[1] / min(size))),
    )


def test_short_side_never_enlarges(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [0])
    assert everything(path, short_side=16).pixels.shape[1:3] == (16, 96)
    assert everything(path, short_side=64).pixels.shape[1:3] == (32, 192)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_metadata_is_applied(tmp_path: Path, degrees: int) -> None:
    upright = np.zeros((48, 96, 3), np.uint8)
    upright[:24, :48] = (250, 0, 0)
    upright[:24, 48:] = (0, 250, 0)
    upright[24:, :48] = (0, 0, 250)
    stored = np.ascontiguousarray(np.rot90(upright, degrees // 90))  # counter-clockwise: the player turns it back
    path = write(tmp_path / "r.mp4", [0, 40], pictures=[stored] * 2, pix_fmt="yuv444p", rotation=-degrees)
    info = probe(path)
    assert (info.rotation, info.height, info.width) == (degrees, 48, 96)
    assert np.abs(everything(path).pixels[0].astype(int) - upright).mean() < 6


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_upright(tmp_path: Path, orientation: int, ending: str) -> None:
    pixels = np.kron(np.random.default_rng(0).integers(0, 255, (3, 5, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
    path = tmp_path / f"photo.{ending}"
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[ORIENTATION] = orientation
    picture.save(path, exif=exif, quality=100)
    with Image.open(path) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    info = probe(path)
    assert (info.height, info.width) == upright.shape[:2]
    result = everything(path)
    assert result.pts.tolist() == [0.0]
    assert np.median(np.abs(result.pixels[0].astype(int) - upright)) <= 2  # colours run at edges, each decoder's way


def test_a_photograph_with_a_named_color_profile_is_read_and_freed(tmp_path: Path) -> None:
    """PyAV 18.1 frees the name twice once such a frame's side data were looked at."""
    path = tmp_path / "photo.png"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (32, 24), "red").save(path, icc_profile=profile)
    for _ in range(3):
        assert everything(path).pixels[0, 0, 0].tolist() == [255, 0, 0]
        gc.collect()


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_truncated_photograph_is_an_error(tmp_path: Path, options: dict[str, bool]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    path = tmp_path / "photo.jpg"
    Image.fromarray(pixels).save(path, **options)
    content = path.read_bytes()
    for share in (0.3, 0.6, 0.95):
        path.write_bytes(content[: int(share * len(content))])
        for look in (probe, everything):
            with pytest.raises(VideoError, match="at its first frame"):
                look(path)
    for harmless in (content[:-2], content + bytes(99)):  # without its end marker, with something behind it
        path.write_bytes(harmless)
        assert probe(path).width == 96


def test_a_name_with_a_percent_sign_is_not_a_numbered_series(tmp_path: Path) -> None:
    for name, colour in (("img%d.png", 200), ("img1.png", 50)):
        Image.new("RGB", (32, 32), (colour,) * 3).save(tmp_path / name)
    assert int(everything(tmp_path / "img%d.png").pixels[0, 0, 0, 0]) == 200


COLOURS = np.array(
    [[250, 20, 20], [20, 250, 20], [20, 20, 250], [200, 200, 20], [128, 128, 128], [250, 250, 250]], float
)


def coded(matrix: str, full: bool, depth: int) -> np.ndarray:
    """Y, Cb, Cr of `COLOURS` by the definition in BT.601 and BT.709, (6, 3) integers of `depth` bits."""
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    r, g, b = (COLOURS / 255).T
    y = kr * r + (1 - kr - kb) * g + kb * b
    chroma = np.stack([(b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)], 1)
    scale = 1 << (depth - 8)
    if full:
        top = 256 * scale - 1
        return np.round(np.column_stack([y * top, chroma * top + 128 * scale])).clip(0, top)
    return np.round(np.column_stack([y * 219 + 16, chroma * 224 + 128]) * scale)


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("matrix", "number"), [("bt601", 5), ("bt709", 1), ("bt601", 2)])
def test_colors_follow_the_matrix_and_range_of_the_file(
    tmp_path: Path, matrix: str, number: int, full: bool, depth: int
) -> None:
    dtype, pix_fmt = (np.uint8, "yuv444p") if depth == 8 else (np.uint16, "yuv444p10le")
    planes = np.repeat(np.repeat(coded(matrix, full, depth).T[:, None, :], 16, axis=2), 16, axis=1).astype(dtype)
    path = tmp_path / "colour.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "1"})
        video.width, video.height, video.pix_fmt = planes.shape[2], planes.shape[1], pix_fmt
        video.codec_context.colorspace, video.codec_context.color_range = number, 2 if full else 1
        frame = av.VideoFrame(planes.shape[2], planes.shape[1], pix_fmt)
        for plane, values in zip(frame.planes, planes, strict=True):
            rows = np.zeros((plane.height, plane.line_size // dtype().itemsize), dtype)
            rows[:, : values.shape[1]] = values
            plane.update(rows.tobytes())
        frame.colorspace, frame.color_range, frame.pts = number, 2 if full else 1, 0
        container.mux(video.encode(frame))
        container.mux(video.encode(None))
    pixels = everything(path).pixels[0, 8, 8::16]
    assert np.abs(pixels - COLOURS).max() <= 4


def test_frames_that_change_size_are_scaled_to_the_first(tmp_path: Path) -> None:
    small = write(tmp_path / "small.ts", range(0, 200, 40), options={"bf": "0"})
    large = [np.repeat(np.repeat(numbered(i + 5), 2, 0), 2, 1) for i in range(5)]
    big = write(tmp_path / "big.ts", range(200, 400, 40), pictures=large, options={"bf": "0"})
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small.read_bytes() + big.read_bytes())
    frames = everything(joined)
    assert frames.pixels.shape[1:3] == (32, 192)
    assert numbers(frames.pixels) == list(range(10))


def broken_files(folder: Path) -> dict[str, Path]:
    (folder / "text.mp4").write_text("This is no video.\n" * 200)
    (folder / "notes.txt").write_text("This is no video.\n" * 200)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))
    (folder / "folder.mp4").mkdir()
    with av.open(str(folder / "sound.mp4"), "w") as container:
        audio: Any = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    names = ["text.mp4", "notes.txt", "empty.mp4", "noise.mp4", "folder.mp4", "sound.mp4", "missing.mp4"]
    return {name: folder / name for name in names}


def test_files_that_are_not_videos_raise_one_clear_error(tmp_path: Path) -> None:
    for name, path in broken_files(tmp_path).items():
        with pytest.raises(VideoError) as caught:
            probe(path)
        assert caught.value.path == str(path), name
        with pytest.raises(VideoError):
            list(stream(path, fps=1))
        with pytest.raises(VideoError):
            read_times(path, [0.0])


@pytest.mark.parametrize("name", ["front.mp4", "plain.mkv", "plain.ts", "plain.avi"])
def test_a_truncated_file_yields_its_frames_and_then_raises_once(tmp_path: Path, name: str) -> None:
    options = {"g": "25", "bf": "0"}
    complete = tmp_path / name
    with av.open(str(complete), "w", options={"movflags": "+faststart"} if name.endswith("mp4") else {}) as container:
        video = container.add_stream("libx264", rate=25, options=options)
        video.height, video.width, video.pix_fmt = 32, BITS * SIDE, "yuv420p"
        for i in range(500):
            container.mux(video.encode(av.VideoFrame.from_ndarray(numbered(i), format="rgb24")))
        container.mux(video.encode(None))
    data = complete.read_bytes()
    cut = tmp_path / f"cut {name}"
    cut.write_bytes(data[: len(data) * 6 // 10])
    if name.endswith("ts"):  # a transport stream has no header to tell how long it should be
        assert 5 < probe(cut).duration < 15
        return
    counts: list[int] = []
    pts: list[float] = []

    def watch(fps: float | None) -> None:
        for part in stream(cut, fps=fps):
            counts.extend(numbers(part.pixels))
            pts.extend(part.pts)

    with pytest.raises(VideoError, match="damaged"):
        watch(None)
    assert 100 < len(counts) < 450
    assert counts == list(range(len(counts)))
    complete, whole_pts = counts.copy(), pts.copy()
    counts.clear()
    with pytest.raises(VideoError):
        watch(1.0)
    assert counts == on_display(whole_pts, np.arange(len(counts))).tolist()
    assert len(counts) >= len(complete) // 25
    assert numbers(read_times(cut, [1.0, 2.0]).pixels) == on_display(whole_pts, [1.0, 2.0]).tolist()
    with pytest.raises(VideoError):
        read_times(cut, [19.0])


def test_unusual_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = write(tmp_path / "a.mp4", [0, 40]).read_bytes()
    for name in ("-dash.mp4", "http:colon.mp4", "percent%03d.mp4", "späße [x] 'q'.mp4", "no ending"):
        Path(name).write_bytes(data)
        assert numbers(everything(Path(name)).pixels) == [0, 1], name


def test_an_invalid_duration_tag_is_measured_instead(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", range(0, 2000, 40))
    data = path.read_bytes()
    assert data.count(b"00:00:02.0") == 1
    path.write_bytes(data.replace(b"00:00:02.0", b"00:00:02,0"))
    assert probe(path).duration == pytest.approx(2.0, abs=0.05)
    assert numbers(everything(path).pixels) == list(range(50))


def test_an_incredible_duration_is_an_error(tmp_path: Path) -> None:
    """A rate of one frame in 46 days: nothing may be reserved for the hundred million samples in between."""
    path = write(tmp_path / "a.avi", range(0, 1000, 40), codec="rawvideo", pix_fmt="bgr24")
    data = bytearray(path.read_bytes())
    at = data.index(b"strh") + 28
    data[at : at + 8] = struct.pack("<II", 4_000_000, 1)  # scale and rate: seconds a frame
    path.write_bytes(data)
    with pytest.raises(VideoError, match="days is implausible: the file is damaged"):
        list(stream(path, fps=2.0))


def test_errors_of_pyav_are_converted_to_ffmpeg_errors() -> None:
    class Odd:
        def demux(self, *_: object) -> Iterator[av.Packet]:
            yield packet
            raise IndexError("list index out of range")

    packet = av.Packet()
    packets_read = decoder.read_packets(Odd())
    assert next(packets_read) is packet
    with pytest.raises(av.FFmpegError, match="inconsistent"):
        next(packets_read)


def test_a_seek_that_lands_early_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Indices may promise a later keyframe than a seek reaches; decoding then goes on from where it landed."""
    path = write(tmp_path / "groups.mp4", VARIABLE, **LAYOUTS["groups.mp4"])
    jump, jumps = Window.jump, []

    def early(window: Window, time: float) -> None:
        jumps.append(time)
        assert len(jumps) < 10, "the same seek again and again"
        with monkeypatch.context() as patched:
            patched.setattr(Window, "_target", lambda *_: 0)
            jump(window, time)

    monkeypatch.setattr(Window, "jump", early)
    stored = everything(path).pts
    times = [0.0, float(stored[300])]
    assert numbers(read_times(path, times).pixels) == on_display(stored, times).tolist()
    assert jumps


def test_frames_are_freed_without_the_garbage_collector(tmp_path: Path) -> None:
    clip = write(tmp_path / "long.mp4", [100 * k for k in range(120)])
    gc.collect()
    gc.disable()
    try:
        for _ in stream(clip, fps=10.0, chunk=8):
            pass
        assert sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects()) <= 8
    finally:
        gc.enable()
