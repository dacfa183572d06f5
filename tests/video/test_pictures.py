"""Pictures as players show them: aspect ratio, HDR, color matrices, fields; and files without pictures to show."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from mova.errors import NoVideoError, VideoError
from mova.types import Frames
from mova.video.container import read_packets
from mova.video.frame_converter import HLG, PQ, Converter, to_sdr
from mova.video.probe import probe
from mova.video.reader import read_times, stream
from mova.video.structure import SAMPLE
from mova.video.writer import cut_clip, join_clips, thumbnail

HDR_COLORS = [(200, 60, 40), (30, 90, 200), (60, 160, 70), (128, 128, 128), (240, 240, 240), (20, 20, 20)]
BT709_TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def disc(height: int, width: int) -> np.ndarray:
    """A white disc that fills the middle half of a black picture, (height, width, 3)."""
    y, x = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None] - 0.5
    return np.repeat(((x**2 + y**2 < 1 / 16) * np.uint8(235))[..., None], 3, 2)


def write(
    path: Path,
    pictures: list[np.ndarray],
    *,
    aspect: Fraction | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    colors: tuple[int, int, int] | None = None,
    rotation: int | None = None,
    options: dict[str, str] | None = None,
    picture_format: str = "rgb24",
    rate: int = 25,
) -> Path:
    """Write pictures at a rate with PyAV alone; `colors` are matrix, primaries and transfer function."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream(codec, rate=rate, options=options or {})
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = pix_fmt
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        if colors is not None:
            context = video.codec_context
            context.colorspace, context.color_primaries, context.color_trc = colors
            context.color_range = 1
        if rotation is not None:
            video.set_display_rotation(rotation)
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format=picture_format)
            if colors is not None:
                frame = frame.reformat(format=pix_fmt, dst_colorspace=colors[0], dst_color_range=1)
                frame.colorspace, frame.color_primaries, frame.color_trc = colors
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def everything(path: Path, **options: Any) -> Frames:
    return Frames.concatenate(list(stream(path, fps=None, **options)))


ASPECTS = [
    (160, 144, Fraction(8, 5), 256),
    (64, 36, Fraction(2), 128),
    (720, 576, Fraction(64, 45), 1024),
    (720, 576, Fraction(16, 11), 1047),
    (720, 480, Fraction(8, 9), 640),
    (704, 480, Fraction(40, 33), 853),
    (470, 320, Fraction(704, 705), 470),
]


@pytest.mark.parametrize(("width", "height", "aspect", "displayed"), ASPECTS)
def test_the_width_is_multiplied_by_the_sample_aspect_ratio(
    tmp_path: Path, width: int, height: int, aspect: Fraction, displayed: int
) -> None:
    path = write(tmp_path / "a.mp4", [disc(height, width)], aspect=aspect)
    info = probe(path)
    assert (info.width, info.height) == (displayed, height)
    assert info.pixel_aspect == pytest.approx(float(aspect))
    assert everything(path).pixels.shape == (1, height, displayed, 3)
    assert read_times(path, [0.0]).pixels.shape == (1, height, displayed, 3)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.mpg", "mpeg2video"), ("a.avi", "mpeg4")],
)
def test_the_ratio_is_that_of_the_container_or_of_the_coded_frames(tmp_path: Path, name: str, codec: str) -> None:
    path = write(tmp_path / name, [disc(144, 176)] * 3, aspect=Fraction(16, 11), codec=codec)
    info = probe(path)
    assert (info.width, info.height) == (256, 144)
    assert everything(path).pixels.shape[1:] == (144, 256, 3)


def test_the_ratio_of_the_container_comes_first_if_it_is_plausible(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [disc(144, 176)], aspect=Fraction(16, 11))
    content = path.read_bytes()
    place = content.index(b"pasp") + 4
    for ratio, width in (((2, 1), 352), ((9, 1), 256), ((0, 0), 256), ((1, 0), 256), ((1, 2**32 - 1), 256)):
        path.write_bytes(content[:place] + struct.pack(">2I", *ratio) + content[place + 8 :])
        assert (probe(path).width, probe(path).height) == (width, 144)


def test_short_side_counts_displayed_pixels_and_a_picture_is_scaled_once(tmp_path: Path) -> None:
    wide = write(tmp_path / "wide.mp4", [disc(144, 160)], aspect=Fraction(8, 5))
    assert everything(wide, short_side=72).pixels.shape[1:3] == (72, 128)
    assert everything(wide, short_side=150).pixels.shape[1:3] == (144, 256)
    high = write(tmp_path / "high.mp4", [disc(144, 160)], aspect=Fraction(1, 2))
    assert everything(high, short_side=80).pixels.shape[1:3] == (144, 80)
    assert everything(high, short_side=40).pixels.shape[1:3] == (72, 40)


@pytest.mark.parametrize("aspect", [Fraction(100), Fraction(1, 50), Fraction(0, 1)])
def test_an_absurd_ratio_is_ignored(tmp_path: Path, aspect: Fraction) -> None:
    path = write(tmp_path / "a.mp4", [disc(64, 64)], aspect=aspect)
    assert (probe(path).width, probe(path).height) == (64, 64)
    assert everything(path).pixels.shape[1:3] == (64, 64)


def test_the_printing_resolution_of_a_photograph_is_not_an_aspect_ratio(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        Image.fromarray(disc(40, 60)).save(tmp_path / name, dpi=(300, 150))
        assert everything(tmp_path / name).pixels.shape[1:3] == (40, 60)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_comes_after_the_aspect_ratio(tmp_path: Path, degrees: int) -> None:
    stored = disc(64, 64)
    stored[:8, :8] = (250, 0, 0)
    path = write(tmp_path / "a.mp4", [stored] * 2, aspect=Fraction(2), rotation=-degrees, pix_fmt="yuv444p")
    info = probe(path)
    upright = np.rot90(np.repeat(stored, 2, 1), -degrees // 90)
    assert (info.rotation, info.height, info.width) == (degrees, *upright.shape[:2])
    assert np.abs(everything(path).pixels[0].astype(int) - upright).mean() < 8


def test_clips_and_thumbnails_have_the_displayed_aspect_ratio(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", [disc(144, 160)] * 25, aspect=Fraction(8, 5))
    assert thumbnail(source, 0.5, short_side=72).size == (128, 72)
    joined = join_clips([(source, 0.0, 0.5), (source, 0.5, None)], tmp_path / "joined.mp4")
    for clip in (cut_clip(source, tmp_path / "clip.mp4", 0.2, 0.8), joined):
        with av.open(str(clip)) as container:
            video: Any = container.streams.video[0]
            assert (video.width, video.height, video.sample_aspect_ratio or 1) == (256, 144, 1)
            white = next(container.decode(video)).to_ndarray(format="rgb24")[..., 0] > 128
        assert np.ptp(np.flatnonzero(white.any(0))) == pytest.approx(128, abs=4)
        assert np.ptp(np.flatnonzero(white.any(1))) == pytest.approx(72, abs=4)


def coded(color: tuple[int, int, int], transfer: int) -> np.ndarray:
    """The HDR signal in BT.2020 of an sRGB color whose white has 203 cd/m2, (3,) in [0, 1], by BT.2100."""
    value = np.array(color) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    light = BT709_TO_BT2020 @ linear * 203
    if transfer == PQ:
        power = (light / 10000) ** (2610 / 16384)
        return np.asarray(((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32))
    light /= 1000
    scene = light * (light @ [0.2627, 0.6780, 0.0593]) ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_hdr_is_shown_in_its_colors(tmp_path: Path, transfer: int, codec: str) -> None:
    signals = [np.rint(coded(color, transfer) * 65535).astype(np.uint16) for color in HDR_COLORS]
    path = write(
        tmp_path / "hdr.mp4",
        [np.broadcast_to(signal, (64, 96, 3)).copy() for signal in signals],
        codec=codec,
        pix_fmt="yuv420p10le",
        colors=(9, 9, transfer),
        picture_format="rgb48le",
        options={"x265-params": "log-level=none", "crf": "12"},
    )
    for short_side in (None, 32):
        frames = everything(path, short_side=short_side)
        assert frames.pixels.dtype == np.uint8
        np.testing.assert_allclose(frames.pixels[:, 9, 9], HDR_COLORS, atol=10)
    with av.open(str(path)) as container:
        assert [frame.color_trc for frame in container.decode(video=0)] == [transfer] * len(HDR_COLORS)


def test_highlights_are_compressed_in_order_and_keep_their_hue() -> None:
    ramp = np.linspace(0, 65535, 1 << 12).astype(np.uint16)
    gray = to_sdr(np.repeat(ramp[None, :, None], 3, 2), PQ, 9)[0]
    assert (np.diff(gray[:, 0].astype(int)) >= 0).all()
    assert np.ptp(gray.astype(int), axis=1).max() <= 1
    assert gray[-1].tolist() == [255] * 3
    bright = to_sdr(np.array([[[52000, 40000, 30000]]], np.uint16), PQ, 1)[0, 0].astype(int)
    assert bright[0] > bright[1] > bright[2]


def test_a_large_hdr_picture_is_mapped_like_a_small_one() -> None:
    picture = np.random.default_rng(0).integers(0, 65536, (1100, 700, 3)).astype(np.uint16)
    for transfer in (PQ, HLG):
        whole = to_sdr(picture, transfer, 9)
        np.testing.assert_array_equal(whole[600:610], to_sdr(picture[600:610], transfer, 9))


@pytest.mark.parametrize("name", ["YCgCo", "ICtCp"])
def test_a_color_matrix_that_cannot_be_converted_is_named(tmp_path: Path, name: str) -> None:
    options = {"x264-params": f"colormatrix={name}:log=-1"}
    path = write(tmp_path / "a.mkv", [disc(32, 32)] * 2, options=options)
    for read in (probe, everything):
        with pytest.raises(VideoError, match=rf"a\.mkv: its color matrix \({name}\) cannot be converted"):
            read(path)


@pytest.mark.parametrize(("matrix", "same"), [(3, 2), (10, 9), (200, 2)])
def test_other_refused_matrices_are_converted_as_ffmpeg_does(matrix: int, same: int) -> None:
    color = np.broadcast_to(np.array([200, 60, 40], np.uint8), (32, 32, 3)).copy()
    results = []
    for number in (matrix, same):
        frame = av.VideoFrame.from_ndarray(color, format="rgb24").reformat(format="yuv420p")
        frame.colorspace = number
        results.append(Converter(None)(frame))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"x264-params": "interlaced=1:log=-1"}),
        ("a.ts", "libx264", {"x264-params": "tff=1:log=-1"}),
        ("a.mpg", "mpeg2video", {"flags": "+ildct+ilme", "top": "1"}),
    ],
)
def test_interlaced_frames_are_those_of_the_decoder_both_fields_woven(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    pictures = []
    for k in range(12):
        picture = disc(64, 96)
        picture[1::2] = np.roll(picture[1::2], 2 * k, axis=1)
        pictures.append(picture)
    path = write(tmp_path / name, pictures, codec=codec, options=options)
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
    assert any(frame.interlaced_frame for frame in decoded)
    plain = np.stack([frame.reformat(format="rgb24", interpolation="BICUBIC").to_ndarray() for frame in decoded])
    np.testing.assert_array_equal(everything(path).pixels, plain)


def encrypted(path: Path) -> Path:
    """Write a file with encrypted pictures and sound."""
    options = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "00112233445566778899aabbccddeeff",
        "encryption_kid": "0123456789abcdef0123456789abcdef",
    }
    with av.open(str(path), "w", options=options) as container:
        video: Any = container.add_stream("libx264", rate=25)
        video.height, video.width, video.pix_fmt = 64, 64, "yuv420p"
        audio: Any = container.add_stream("aac", rate=16000, layout="mono")
        for _ in range(5):
            container.mux(video.encode(av.VideoFrame.from_ndarray(disc(64, 64), format="rgb24")))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 16000, 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    return path


@pytest.mark.parametrize("removed", [[], [b"senc", b"saiz", b"saio"], [b"encv"]])
def test_encrypted_pictures_are_named_by_their_sample_entry_or_their_samples(
    tmp_path: Path, removed: list[bytes]
) -> None:
    path = encrypted(tmp_path / "a.mp4")
    content = path.read_bytes()
    for kind in removed:
        assert kind in content
        content = content.replace(kind, b"avc1" if kind == b"encv" else b"free")
    path.write_bytes(content)
    for read in (probe, everything):
        with pytest.raises(VideoError, match=r"a\.mp4: is encrypted"):
            read(path)


def test_encrypted_sound_is_an_error_of_the_sound(tmp_path: Path) -> None:
    with (
        av.open(str(encrypted(tmp_path / "a.mp4"))) as container,
        pytest.raises(av.InvalidDataError, match="encrypted"),
    ):
        list(read_packets(container, container.streams.audio[0]))


def test_an_encrypted_track_of_matroska_is_named(tmp_path: Path) -> None:
    """The track gets a description of its encryption (elements 6D80, 6240, 5033, 5035, 47E2), a key's name."""
    path = write(tmp_path / "a.mkv", [disc(64, 64)] * 3)
    content = bytearray(path.read_bytes())

    def element(name: str, data: bytes) -> bytes:
        return bytes.fromhex(name) + bytes([0x80 | len(data)]) + data

    scheme = element("5033", b"\1") + element("5035", element("47e2", b"name"))
    added = element("6d80", element("6240", scheme))
    tracks = content.rindex(b"\x16\x54\xae\x6b")
    entry = content.index(b"\xae\x01", tracks)
    end = entry + 9 + int.from_bytes(content[entry + 2 : entry + 9], "big")
    for first, width in ((entry + 2, 7), (tracks + 4, 2), (content.index(b"\x18\x53\x80\x67") + 5, 7)):
        longer = int.from_bytes(content[first : first + width], "big") + len(added)
        content[first : first + width] = longer.to_bytes(width, "big")
    path.write_bytes(content[:end] + added + content[end:])
    with pytest.raises(VideoError, match=r"a\.mkv: is encrypted"):
        probe(path)


@pytest.mark.parametrize("clear_start", [False, True])
@pytest.mark.parametrize("clear_headers", [False, True])
def test_a_scrambled_transport_stream_is_named(tmp_path: Path, clear_start: bool, clear_headers: bool) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (25, 96, 96, 3), np.uint8)
    path = write(tmp_path / "a.ts", list(pictures))
    clear = path.read_bytes()
    content = np.frombuffer(clear, np.uint8).reshape(-1, 188).copy()
    video = ((content[:, 1] & 31) == 1) & (content[:, 2] == 0)
    if clear_headers:  # those of frames
        video &= content[:, 1] & 0x40 == 0
    content[video, 3] |= 0x80
    content[video, 30:] ^= np.random.default_rng(1).integers(0, 256, (video.sum(), 158)).astype(np.uint8)
    copies = 1 + SAMPLE // len(clear)
    path.write_bytes(clear * (copies if clear_start else 0) + content.tobytes() * copies)
    with pytest.raises(VideoError, match=r"a\.ts: is encrypted"):
        probe(path)


def test_an_animated_webp_is_named(tmp_path: Path) -> None:
    first, second = Image.fromarray(disc(32, 48)), Image.fromarray(255 - disc(32, 48))
    first.save(tmp_path / "a.webp", save_all=True, append_images=[second], duration=100)
    with pytest.raises(VideoError, match=r"a\.webp: is an animated WebP, which is not supported"):
        probe(tmp_path / "a.webp")
    first.save(tmp_path / "still.webp")
    assert everything(tmp_path / "still.webp").pixels.shape == (1, 32, 48, 3)


def test_sound_with_a_cover_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        audio: Any = container.add_stream("aac", rate=16000, layout="mono")
        cover: Any = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 16000, 0
        for packet in [*audio.encode(sound), *audio.encode(None)]:
            container.mux(packet)
        frame = av.VideoFrame.from_ndarray(disc(32, 32), format="rgb24")
        container.mux([*cover.encode(frame), *cover.encode(None)])
    with pytest.raises(NoVideoError, match=r"a\.m4a: holds only audio and a cover picture"):
        probe(path)


@pytest.mark.parametrize(("ending", "codec"), [("h264", "libx264"), ("hevc", "libx265"), ("m4v", "mpeg4")])
@pytest.mark.parametrize("bframes", [0, 3])
def test_raw_streams_have_times_by_their_rate(tmp_path: Path, ending: str, codec: str, bframes: int) -> None:
    pictures = [np.full((64, 64, 3), 20 + 5 * k, np.uint8) for k in range(40)]
    options = {"bf": str(bframes), "x265-params": f"log-level=none:bframes={bframes}", "crf": "10", "qmax": "3"}
    path = write(tmp_path / f"a.{ending}", pictures, codec=codec, options=options, rate=50)
    info = probe(path)
    frames = everything(path)
    assert info.fps == pytest.approx(50)
    assert info.duration == pytest.approx(0.8, abs=0.03)
    np.testing.assert_allclose(frames.pts, np.arange(40) / 50, atol=1e-6)
    np.testing.assert_allclose(frames.pixels.mean((1, 2, 3)), 20 + 5 * np.arange(40), atol=4)
    sampled = Frames.concatenate(list(stream(path, fps=10)))
    np.testing.assert_array_equal(sampled.pixels, frames.pixels[::5])


@pytest.mark.parametrize(
    ("name", "size", "color"),
    [("sar_8x5.mp4", (256, 144), None), ("sar_2x1_public.mp4", (1280, 360), None), ("hdr_pq_solid.mp4", (128, 96), 1)],
)
def test_shared_cases_have_their_size_and_color(
    shared_data: Path, name: str, size: tuple[int, int], color: int | None
) -> None:
    path = shared_data / "cases" / name
    info = probe(path)
    frames = next(stream(path, fps=2))
    assert (info.width, info.height) == size == (frames.pixels.shape[2], frames.pixels.shape[1])
    if color is not None:
        np.testing.assert_allclose(frames.pixels[:, 48, 64], [(200, 60, 40)] * len(frames), atol=15)


@pytest.mark.parametrize("name", ["matrix_ycgco.mp4", "matrix_ictcp.mp4"])
def test_shared_cases_with_other_matrices_are_named(shared_data: Path, name: str) -> None:
    for read in (probe, everything):
        with pytest.raises(VideoError, match=rf"{name}: its color matrix"):
            read(shared_data / "cases" / name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("encrypted_cenc_public.mp4", "is encrypted"),
        ("header_audio_cover.mp4", "holds only audio and a cover picture"),
        ("anim.webp", "is an animated WebP, which is not supported"),
    ],
)
def test_shared_cases_without_pictures_are_named(shared_data: Path, name: str, message: str) -> None:
    for read in (probe, everything):
        with pytest.raises(VideoError, match=rf"{name}: {message}"):
            read(shared_data / "cases" / name)
