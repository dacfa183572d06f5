"""Written files are read back with PyAV alone; clips are compared with the frames of their source."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from mova.errors import UsageError, VideoError
from mova.types import Frames
from mova.video import writer as clips
from mova.video.probe import probe
from mova.video.reader import read_times, stream
from mova.video.writer import cut_clip, thumbnail, write_mp4


def shades(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Up to 64 pictures that tell their place: its octal digits are the levels of the two halves."""
    digits = np.stack(np.divmod(np.arange(count), 8), axis=1)
    levels = np.repeat(20 + 30 * digits, width // 2, axis=1).astype(np.uint8)
    return np.broadcast_to(levels[:, None, :, None], (count, height, width, 3)).copy()


def square_positions(pixels: np.ndarray) -> list[int]:
    """What `shades` wrote."""
    width = pixels.shape[2]
    left, right = pixels[:, :, : width // 2 - 4], pixels[:, :, width // 2 + 4 :]
    digits = [np.round((half.mean(axis=(1, 2, 3)) - 20) / 30).astype(int) for half in (left, right)]
    return (8 * digits[0] + digits[1]).tolist()


def plainly(path: Path) -> tuple[list[float], np.ndarray]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [f.time for f in frames], np.stack([f.to_ndarray(format="rgb24") for f in frames])


def read_all(path: Path) -> Frames:
    return Frames.concatenate(list(stream(path, fps=None)))


@pytest.mark.parametrize("fps", [25, 30000 / 1001, 0.5])
def test_a_constant_rate(tmp_path: Path, fps: float) -> None:
    path = write_mp4(tmp_path / "a.mp4", [shades(20)[:8], shades(20)[8:]], fps=fps)
    times, pixels = plainly(path)
    np.testing.assert_allclose(times, np.arange(20) / fps, atol=1e-4)
    assert square_positions(pixels) == list(range(20))
    assert probe(path).duration == pytest.approx(20 / fps, abs=1e-3)
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_times_of_frames_are_kept_from_the_first_on(tmp_path: Path) -> None:
    pts = np.array([3.0, 3.1, 3.15, 4.0, 9.5, 9.6])
    path = write_mp4(tmp_path / "a.mp4", [Frames(shades(6), pts)])
    times, pixels = plainly(path)
    np.testing.assert_allclose(times, pts - 3, atol=1e-4)
    assert square_positions(pixels) == list(range(6))
    assert probe(path).duration == pytest.approx(6.7, abs=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (33, 17), (32, 48)])
def test_odd_sizes_repeat_their_edge(tmp_path: Path, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    picture = np.repeat(rng.integers(0, 255, (1, 1, 1, 3), np.uint8), size[0], 1).repeat(size[1], 2)
    path = write_mp4(tmp_path / "a.mp4", [picture], fps=1, crf=1)
    pixels = read_all(path).pixels
    assert pixels.shape[1:3] == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert np.abs(pixels.astype(int) - picture[0, 0, 0]).max() <= 4


def test_colors_survive(tmp_path: Path) -> None:
    colours = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [200, 150, 20], [255, 255, 255], [0, 0, 0]], np.uint8)
    pictures = np.broadcast_to(colours[:, None, None], (6, 32, 32, 3)).copy()
    path = write_mp4(tmp_path / "a.mp4", [pictures], fps=5, crf=5)
    assert np.abs(read_all(path).pixels.astype(int) - pictures).max() <= 5
    assert np.abs(plainly(path)[1].astype(int) - pictures).max() <= 5


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    pictures = shades(3)
    wrong: list[tuple[Any, float | None]] = [
        ([], 5),
        ([pictures], None),
        ([pictures, pictures[:, :16]], 5),
        ([pictures.astype(float)], 5),
        ([Frames(pictures, np.array([0.0, 1.0, 1.0]))], None),
    ]
    for frames, fps in wrong:
        with pytest.raises(UsageError):
            write_mp4(tmp_path / "a.mp4", frames, fps=fps)
    with pytest.raises(UsageError):
        write_mp4(tmp_path / "nowhere" / "a.mp4", [pictures], fps=5)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_in_the_middle_keeps_the_old_file(tmp_path: Path) -> None:
    target = write_mp4(tmp_path / "a.mp4", [shades(3)], fps=5)
    before = target.read_bytes()

    def failing() -> Iterator[np.ndarray]:
        yield shades(30)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_mp4(target, failing(), fps=5)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 2.0), (1.03, 1.5), (0.51, 0.55), (3.9, 99.0)])
def test_a_clip_has_exact_bounds(tmp_path: Path, start: float, end: float) -> None:
    source = write_mp4(tmp_path / "a.mp4", [shades(50)], fps=12.5, crf=10)
    clip = cut_clip(source, tmp_path / "clip.mp4", start, end, crf=10)
    times, pixels = plainly(clip)
    stop = min(end, 4.0)
    first = int(start * 12.5 + 1e-6)
    expected = [k for k in range(first, 50) if k / 12.5 < stop - 1e-6]
    assert square_positions(pixels) == expected
    np.testing.assert_allclose(times, [max(0.0, k / 12.5 - start) for k in expected], atol=1e-4)
    assert probe(clip).duration == pytest.approx(stop - start, abs=2e-3)


def test_the_same_frames_give_the_same_file_whatever_was_in_memory_before(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (16, 8, 8, 3), np.uint8)
    pixels = np.stack([Image.fromarray(picture).resize((96, 96), Image.Resampling.BICUBIC) for picture in small])
    files = set()
    for _ in range(30):
        files.add(write_mp4(tmp_path / "a.mp4", [pixels], fps=4.0).read_bytes())
        freed = [rng.integers(0, 255, size, np.uint8) for size in rng.integers(1000, 60000, 40)]
        del freed
    assert len(files) == 1


def tone(seconds: float, rate: int = 16000) -> np.ndarray:
    """A sound whose pitch rises by 100 Hz per second, so that its time can be measured."""
    times = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * (200 * times + 50 * times**2))).astype(np.float32)[None]


def with_sound(path: Path, seconds: float, rate: int = 16000) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.height, video.width, video.pix_fmt = 32, 48, "yuv420p"
        audio: Any = container.add_stream("aac", rate=rate, layout="mono")
        for picture in shades(int(25 * seconds)) if seconds < 2 else np.repeat(shades(50), seconds / 2, 0):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(tone(seconds, rate), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def test_the_sound_of_a_clip_is_that_of_its_time_range(tmp_path: Path) -> None:
    source = with_sound(tmp_path / "a.mp4", 8)
    clip = cut_clip(source, tmp_path / "clip.mp4", 5.0, 6.5)
    assert probe(clip).has_audio
    with av.open(str(clip)) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert len(sound) / 16000 == pytest.approx(1.5, abs=0.15)
    middle = sound[8000:12000]  # 0.5 to 0.75 s of the clip: 5.5 to 5.75 s of the source, 200 + 100 t Hz
    peak = np.abs(np.fft.rfft(middle * np.hanning(4000), 1 << 16)).argmax() * 16000 / (1 << 16)
    assert peak == pytest.approx(200 + 100 * 5.625, abs=10)


def test_a_file_system_without_write_access_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(clips, "_Writer", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(VideoError, match="cannot be written"):
        write_mp4(tmp_path / "a.mp4", [shades(2)], fps=25)


def pitch(sound: np.ndarray, rate: int, time: float) -> float:
    """Return the pitch of a sound at a time, in hertz."""
    part = sound[int((time - 0.1) * rate) : int((time + 0.1) * rate)]
    return float(np.argmax(np.abs(np.fft.rfft(part, rate))))


@pytest.mark.parametrize("ending", ["mkv", "ts"])
@pytest.mark.parametrize("rate", [44100, 48000])
def test_sound_whose_times_are_rounded_is_kept(tmp_path: Path, ending: str, rate: int) -> None:
    """Matroska has times in milliseconds, so that a piece may begin before the last one ends."""
    source = with_sound(tmp_path / f"a.{ending}", 8, rate)
    clip = cut_clip(source, tmp_path / "b.mp4", 1.0, 7.0)
    with av.open(str(clip)) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert len(sound) / rate == pytest.approx(6.0, abs=0.1)
    for time in (1.0, 3.0, 5.0):
        assert pitch(sound, rate, time) == pytest.approx(200 + 100 * (1 + time), abs=12)


def test_joined_files_may_have_sound_of_different_rates(tmp_path: Path) -> None:
    parts = [with_sound(tmp_path / f"{rate}.ts", 4, rate) for rate in (48000, 44100)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    clip = cut_clip(joined, tmp_path / "clip.mp4", 0.0, 7.0)
    with av.open(str(clip)) as container:
        rate = container.streams.audio[0].rate
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert (rate, len(sound) / rate) == (48000, pytest.approx(7.0, abs=0.15))
    for time in (1.0, 3.0, 5.0, 6.0):
        assert pitch(sound, rate, time) == pytest.approx(200 + 100 * (time % 4), abs=20)


def test_sound_is_interleaved_and_ends_where_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Packets lie in order of time, so nothing waits in memory; a break costs the sound behind it only."""
    source = with_sound(tmp_path / "a.mp4", 8)
    clip = cut_clip(source, tmp_path / "clip.mp4", 0.0, 8.0)
    with av.open(str(clip)) as container:
        times = {"video": 0.0, "audio": 0.0}
        for packet in container.demux():
            if packet.pts is not None:
                times[packet.stream.type] = float(packet.pts * packet.time_base)
                assert abs(times["video"] - times["audio"]) < 1.5
    real = clips._audio_frames

    def breaking(container: Any, track: Any) -> Iterator[Any]:
        for frame in real(container, track):
            if frame.time > 3.0:
                raise av.InvalidDataError(0, "torn")
            yield frame

    monkeypatch.setattr(clips, "_audio_frames", breaking)
    torn = cut_clip(source, tmp_path / "torn.mp4", 0.0, 8.0)
    assert "cannot be decoded (torn)" in caplog.text
    assert probe(torn).duration == pytest.approx(8.0, abs=0.05)
    with av.open(str(torn)) as container:
        seconds = sum(frame.samples for frame in container.decode(audio=0)) / 16000
    assert seconds == pytest.approx(3.0, abs=0.2)


def test_invalid_time_ranges(tmp_path: Path) -> None:
    source = write_mp4(tmp_path / "a.mp4", [shades(5)], fps=5)
    for start, end in ((-1, 1), (0.5, 0.5), (0.6, 0.2), (1.0, 2.0)):
        with pytest.raises(UsageError):
            cut_clip(source, tmp_path / "clip.mp4", start, end)
    with pytest.raises(VideoError):
        cut_clip(tmp_path / "missing.mp4", tmp_path / "clip.mp4", 0, 1)
    assert not (tmp_path / "clip.mp4").exists()


def test_thumbnail(tmp_path: Path) -> None:
    source = write_mp4(tmp_path / "a.mp4", [shades(5, 64, 128)], fps=5)
    image = thumbnail(source, 0.5, short_side=32)
    assert image.size == (64, 32)
    assert square_positions(np.asarray(image)[None]) == [2]


def test_real_clips_are_upright_and_keep_their_sound(shared_data: Path, tmp_path: Path) -> None:
    for name, has_audio in (
        ("rotate_issue134.mp4", True),
        ("vfr_traffic.mp4", False),
        ("failing_audio.mp4", True),
    ):
        source = shared_data / "odd" / name
        clip = cut_clip(source, tmp_path / name, 2.0, 3.0, short_side=96)
        info = probe(clip)
        assert (info.has_audio, info.rotation) == (has_audio, 0)
        assert info.duration == pytest.approx(1.0, abs=0.005)
        expected = read_times(source, [2.0, 2.5], short_side=96).pixels.astype(int)
        assert np.abs(read_all(clip).pixels[0, : expected.shape[1], : expected.shape[2]] - expected[0]).mean() < 8
