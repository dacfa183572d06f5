"""Files that attack: lists of other files, enormous frames, names that are no file."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mova.errors import VideoError
from mova.video import limits
from mova.video.container import video_errors
from mova.video.probe import probe
from mova.video.reader import read_times, stream

LISTS = {
    "concat.mp4": "ffconcat version 1.0\nfile clip.mp4\n",
    "itself.mkv": "ffconcat version 1.0\nfile itself.mkv\n",
    "hls.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:3.0,\nclip.ts\n#EXT-X-ENDLIST\n",
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash.mpd": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>\n',
}


FORMATS = {"mjpeg": "yuvj420p", "libx265": "yuv420p10le"}
OPTIONS = {
    "libx264": {"preset": "ultrafast", "x264-params": "bframes=3:ref=3:b-pyramid=2:cabac=1:deblock=1,0,0"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:bframes=3:ref=3:b-adapt=0"},
}
"""Quick encoding, with pictures that decoding must keep, as by default."""


def write_clip(path: Path, width: int = 64, height: int = 48, codec: str = "libx264", frames: int = 5) -> Path:
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=10, options=OPTIONS.get(codec, {}))
        track.width, track.height, track.pix_fmt = width, height, FORMATS.get(codec, "yuv420p")
        pixels = np.full((height, width, 3), (200, 60, 40), np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=track.pix_fmt)
        for number in range(frames):
            frame.pts = number
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_files_are_not_opened_also_when_named(tmp_path: Path, name: str) -> None:
    write_clip(tmp_path / "clip.mp4")
    write_clip(tmp_path / "clip.ts")
    (tmp_path / name).write_text(LISTS[name])
    with pytest.raises(VideoError, match=r"holds a list of files, not a video; name the listed files"):
        probe(tmp_path / name)


def test_formats_that_open_other_files_are_off() -> None:
    allowed = limits.open_options()["format_whitelist"].split(",")
    assert not set(allowed) & {"concat", "hls", "dash", "sdp", "rtsp", "lavfi", "x11grab", "vobsub", "mlv"}
    assert {"mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "image2", "jpeg_pipe", "gif", "h264"} <= set(
        allowed
    )


def test_the_published_lists_under_video_names_are_refused(shared_data: Path) -> None:
    folder = shared_data / "cases" / "hostile" / "ffconcat"
    if not folder.is_dir():
        pytest.skip("the hostile files are not there")
    refused = 0
    for path in folder.iterdir():
        if path.name not in {"neighbour.mp4", "lol10.mp4"}:
            with pytest.raises(VideoError, match="holds a list of files"):
                probe(path)
            refused += 1
    assert refused >= 16


def test_a_small_file_that_claims_an_enormous_frame_is_refused(tmp_path: Path) -> None:
    data = bytearray(write_clip(tmp_path / "clip.webm", codec="libvpx").read_bytes())
    start = data.index(b"\x9d\x01\x2a") + 3  # of a VP8 keyframe: width and height follow, 14 bits each
    data[start : start + 4] = (13616).to_bytes(2, "little") * 2
    (tmp_path / "claims.webm").write_bytes(data)
    with pytest.raises(VideoError, match="more than 100 million pixels"):
        probe(tmp_path / "claims.webm")


def test_the_published_enormous_frame_is_refused(shared_data: Path) -> None:
    path = shared_data / "cases" / "hostile" / "claims_13616_square.webm"
    if not path.is_file():
        pytest.skip("the hostile files are not there")
    with pytest.raises(VideoError, match="more than 100 million pixels"):
        probe(path)


def test_large_frames_are_scaled_in_decoders_that_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (1600, 1200), (200, 60, 40)).save(tmp_path / "photo.jpg")
    monkeypatch.setattr(limits, "MAX_PIXELS", 1_000_000)
    for path in (
        tmp_path / "photo.jpg",
        write_clip(tmp_path / "a.avi", 1600, 1200, "mjpeg"),
        write_clip(tmp_path / "b.mpg", 1600, 1200, "mpeg2video"),
        write_clip(tmp_path / "c.mp4", 1600, 1200, "mpeg4"),
    ):
        frames = read_times(path, [0.0])
        assert frames.pixels.shape == (1, 150, 200, 3), path
        np.testing.assert_allclose(frames.pixels[0, 75, 100], (200, 60, 40), atol=4)
    with pytest.raises(VideoError, match=r"claims frames of 1600x1200 pixels|more than 1 million pixels"):
        probe(write_clip(tmp_path / "d.mp4", 1600, 1200))


def test_large_frames_get_few_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    for size, depth, threads in (
        ((1920, 1080), "yuv420p", 0),
        ((7680, 4320), "yuv420p", 2),
        ((7680, 4320), "yuv420p10le", 1),
    ):
        context = av.CodecContext.create("h264", "r")
        context.width, context.height = size
        context.pix_fmt = depth
        limits.limit_decoder("a.mp4", context, None)
        assert context.thread_count == threads
        limits.limit_decoder("a.mp4", context, 1)
        assert context.thread_count == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", Path("/dev/zero")):
        with pytest.raises(VideoError, match="is a pipe, socket or device, not a file"):
            probe(path)
    with pytest.raises(VideoError, match="its name is not valid"):
        probe("a\0.mp4")


@pytest.mark.parametrize(
    "error", [MemoryError(), ValueError("x"), OverflowError("x"), OSError(5, "Input/output error"), IndexError("x")]
)
def test_every_error_of_a_decoder_is_that_of_the_file(error: Exception) -> None:
    with pytest.raises(VideoError, match=r"^a\.mp4: "), video_errors("a.mp4"):
        raise error


def test_an_error_while_converting_is_that_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("mova.video.frame_converter.Converter.__call__", fail)
    path = write_clip(tmp_path / "clip.mp4")
    with pytest.raises(VideoError, match="do not fit into memory"):
        list(stream(path, fps=2.0))
    with pytest.raises(VideoError, match="do not fit into memory"):
        read_times(path, [0.0])
