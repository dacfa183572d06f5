"""Decoding in child processes: the same frames, and one failure for a decoder that hangs, crashes or eats memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mova.errors import MovaError, NoVideoError, UsageError, VideoError
from mova.types import Frames
from mova.video import isolated
from mova.video.isolated import Isolated
from mova.video.probe import probe
from mova.video.reader import read_count, read_times, stream
from mova.video.writer import cut_clip
from tests.support import kept_decoders
from tests.support.fakes import write_colours
from tests.video.test_limits import write_clip


def hang(name: str) -> str:
    """Return code with which a function of the child sleeps."""
    return f"import mova.video.isolated_child as child, time; child.{name} = lambda *a, **k: time.sleep(99); "


HANG = hang("stream")
CRASH = "import mova.video.isolated_child as child, os; child.stream = lambda *a, **k: os.abort(); "
NOISE = "import mova.video.isolated_child as child, os; child.stream = lambda *a, **k: os.write(3, b'x' * 99); "
EAT = "import mova.video.isolated_child as child; child.stream = lambda *a, **k: iter([bytearray(1 << 33)]); "


def broken(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Children run some code before they answer."""
    path, call = isolated.START.split("from mova.video", 1)
    monkeypatch.setattr(isolated, "START", f"{path}{code}from mova.video{call}")


@pytest.fixture(autouse=True)
def _own_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts and ends its own."""
    monkeypatch.setattr(kept_decoders, "MOST", 0)


@pytest.mark.parametrize("polls", [True, False])
def test_frames_and_properties_are_those_of_this_process(
    polls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "POLLS", polls)  # Windows cannot wait for a pipe
    paths = [write_clip(tmp_path / "a.mp4", frames=30), write_clip(tmp_path / "b.mpg", codec="mpeg2video", frames=9)]
    with Isolated() as decoder:
        for path in paths:
            assert decoder.probe(path) == probe(path)
            for options in ({"fps": 5.0, "chunk": 4}, {"fps": None, "short_side": 16, "start": 0.2, "end": 0.6}):
                ours, theirs = list(decoder.stream(path, **options)), list(stream(path, **options))
                assert len(ours) == len(theirs) > 0
                for one, other in zip(ours, theirs, strict=True):
                    np.testing.assert_array_equal(one.pixels, other.pixels)
                    np.testing.assert_array_equal(one.pts, other.pts)


def test_frames_at_times_and_by_rules_are_those_of_this_process(tmp_path: Path) -> None:
    ours, theirs = [], []
    path = write_clip(tmp_path / "a.mp4", frames=30)
    with Isolated() as decoder:
        for times, options in (([0.0, 1.03, 2.9], {}), (np.array([0.5]), {"short_side": 16, "threads": 1})):
            ours.append(decoder.read_times(path, times, **options))
            theirs.append(read_times(path, times, **options))
        for count, options in ((5, {"rule": "linspace"}), (3, {"start": 1.0, "end": 2.0, "short_side": 24})):
            ours.append(decoder.read_count(path, count, **options))
            theirs.append(read_count(path, count, **options))
        assert len(decoder._idle) == 1
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.pts, other.pts)


def test_frames_that_are_listed_anew_replace_those_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import mova.video.isolated_child as child; real = child.stream_count; "
        "child.stream_count = lambda *a, **k: [*real(*a, **k), None, *real(*a, **k)]; "
    )
    broken(monkeypatch, code)
    with Isolated() as decoder:
        assert len(decoder.read_count(write_clip(tmp_path / "a.mp4"), 3)) == 3


def test_clips_are_those_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = write_clip(Path("a.mp4"), frames=30)
    with Isolated() as decoder:
        assert decoder.cut_clip(source, "ours.mp4", 0.5, 1.5, short_side=24) == Path("ours.mp4")
        cut_clip(source, "theirs.mp4", 0.5, 1.5, short_side=24)
        one, other = (Frames.concatenate(list(stream(name, fps=None))) for name in ("ours.mp4", "theirs.mp4"))
        np.testing.assert_allclose(one.pixels.astype(float), other.pixels, atol=3)
        np.testing.assert_array_equal(one.pts, other.pts)
        for wrong, match in (
            ((source, "c.mp4", 2.0, 1.0), r"^a\.mp4: a clip needs"),
            ((source, "no/c.mp4", 0.0, 1.0), "no such directory"),
        ):
            with pytest.raises(UsageError, match=match):
                decoder.cut_clip(*wrong)
        with pytest.raises(VideoError, match=r"^b\.mp4: no such file"):
            decoder.cut_clip("b.mp4", "c.mp4", 0.0, 1.0)
        assert len(decoder._idle) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "ours.mp4", "theirs.mp4"]


def test_a_clip_that_cannot_be_written_is_an_error_of_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(
        monkeypatch,
        "import mova.video.isolated_child as child, errno\n"
        "def fail(*a, **k): raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "child.write_clip = fail\n",
    )
    source = write_clip(tmp_path / "a.mp4")
    with Isolated() as decoder, pytest.raises(VideoError, match=r"c\.mp4: cannot be written \(No space left on device"):
        decoder.cut_clip(source, tmp_path / "c.mp4", 0.0, 0.2)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("stream_times", lambda decoder, path: decoder.read_times(path, [0.1])),
        ("stream_count", lambda decoder, path: decoder.read_count(path, 2)),
        ("write_clip", lambda decoder, path: decoder.cut_clip(path, path.with_name("c.mp4"), 0.0, 0.3)),
    ],
)
def test_every_kind_of_decoding_is_stopped_when_it_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, read: Callable[[Isolated, Path], object]
) -> None:
    broken(monkeypatch, hang(name))
    source = write_clip(tmp_path / "a.mp4")
    began = time.monotonic()
    with Isolated(time_limit=0.7) as decoder, pytest.raises(VideoError, match=r"a\.mp4: decoding stood still for 0\.7"):
        read(decoder, source)
    assert time.monotonic() - began < 20
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_process_is_kept_for_the_next_file_also_after_errors(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "odd \udce9.mp4").write_text("no video")
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:-200])
    with Isolated() as decoder:
        decoder.probe(clip)
        process = decoder._idle[0]._process.pid
        for name in ("text.mp4", "odd \udce9.mp4", "missing.mp4", "cut.mp4"):
            with pytest.raises(VideoError) as ours:
                list(decoder.stream(tmp_path / name, fps=1.0))
            with pytest.raises(VideoError) as theirs:
                list(stream(tmp_path / name, fps=1.0))
            assert (type(ours.value), str(ours.value)) == (type(theirs.value), str(theirs.value))
        with pytest.raises(UsageError, match="fps"):
            decoder.stream(clip, fps=-1.0)
        assert len(list(decoder.stream(clip, fps=1.0))) == 1
        assert [child._process.pid for child in decoder._idle] == [process]
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_files_without_video_keep_their_kind_of_error(tmp_path: Path) -> None:
    (tmp_path / "words.mp4").write_text("1\n00:00:01,000 --> 00:00:02,000\nwords\n")
    with Isolated() as decoder, pytest.raises(NoVideoError):
        decoder.probe(tmp_path / "words.mp4")


def test_a_stream_that_is_left_early_ends_its_process(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", frames=30)
    with Isolated() as decoder:
        frames = decoder.stream(clip, fps=None, chunk=1)
        next(frames)
        frames.close()  # type: ignore[attr-defined]
        assert decoder._idle == []
        assert sum(map(len, decoder.stream(clip, fps=None))) == 30


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (HANG, r"stood still for 0\.7 s"),
        (CRASH, r"crashed \(signal 6\)"),
        (NOISE, r"crashed|stood still"),
        pytest.param(
            EAT,
            "do not fit into memory|MemoryError",
            marks=pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system has no such limit"),
        ),
    ],
)
def test_a_decoder_that_fails_costs_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, cause: str
) -> None:
    broken(monkeypatch, code)
    clip = write_clip(tmp_path / "a.mp4")
    with Isolated(time_limit=0.7) as decoder:
        began = time.monotonic()
        with pytest.raises(VideoError, match=cause):
            list(decoder.stream(clip, fps=1.0))
        assert decoder.probe(clip).width == 64
        assert time.monotonic() - began < 20


@pytest.mark.parametrize(("code", "cause"), [(HANG, r"stood still for 0\.7 s"), (CRASH, r"crashed \(signal 6\)")])
def test_the_same_where_a_pipe_cannot_be_polled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, cause: str
) -> None:
    monkeypatch.setattr(isolated, "POLLS", False)
    test_a_decoder_that_fails_costs_one_file(tmp_path, monkeypatch, code, cause)


def test_where_the_system_has_no_limit_a_process_watches_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import mova.video.isolated_child as child, time; child._limit_memory = lambda memory: False; "
        "child.stream = lambda *a, **k: [(b'x' * (1 << 26), time.sleep(0.05)) for _ in range(40)]; "
    )
    broken(monkeypatch, code)
    clip = write_clip(tmp_path / "a.mp4")
    with Isolated(memory=300 << 20) as decoder:
        assert decoder.probe(clip).width == 64
        with pytest.raises(VideoError, match="do not fit into memory"):
            list(decoder.stream(clip, fps=1.0))
        assert decoder.probe(clip).width == 64


def test_threads_share_the_processes(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", frames=30)
    with Isolated() as decoder, ThreadPoolExecutor(2) as pool:
        lengths = pool.map(lambda _: sum(map(len, decoder.stream(clip, fps=None, chunk=7))), range(6))
        assert list(lengths) == [30] * 6
        assert 1 <= len(decoder._idle) <= 2


def test_no_process_without_files_and_no_wrong_limit() -> None:
    with Isolated() as decoder:
        assert decoder._idle == []
    with pytest.raises(UsageError, match="time limit"):
        Isolated(time_limit=0)


def test_a_time_limit_of_zero_is_refused(tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = call("data", "check", write_clip(tmp_path / "a.mp4"), "--time-limit", 0)
    assert (code, "time limit must be a positive number" in err) == (2, True)


SUSPENDED = """
import sys
from mova.video import isolated
path, call = isolated.START.split("from mova.video", 1)
isolated.START = path + sys.argv[1] + "from mova.video" + call
print(sum(map(len, isolated.Isolated(time_limit=1.0).stream(sys.argv[2], fps=1.0))))
"""
WAITS = (
    "import mova.video.isolated_child as child, os, time; read = child.stream; child.stream = lambda path, **options: "
    "os.mkdir(path + '-begun') or all(time.sleep(0.02) is None for _ in iter(lambda: os.path.exists(path + '-go'), True"
    ")) and read(path, **options); "
)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="the system cannot stop a process")
def test_time_in_which_the_run_was_stopped_does_not_count(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    command = [sys.executable, "-c", SUSPENDED, WAITS, str(clip)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        while not Path(f"{clip}-begun").exists():
            assert run.poll() is None
            time.sleep(0.02)
        os.killpg(run.pid, signal.SIGSTOP)
        time.sleep(1.6)
        os.killpg(run.pid, signal.SIGCONT)
        time.sleep(0.1)
        Path(f"{clip}-go").mkdir()
        assert (run.communicate(timeout=60)[0], run.returncode) == ("1\n", 0)


def test_a_time_limit_of_many_days_is_no_error(tmp_path: Path) -> None:
    with Isolated(time_limit=1e9) as decoder:
        assert decoder.probe(write_clip(tmp_path / "a.mp4")).width == 64


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not report memory this way")
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_8k_is_decoded_in_less_than_a_gigabyte(tmp_path: Path, codec: str) -> None:
    clip = write_clip(tmp_path / "8k.mp4", 7680, 4320, codec, frames=8)
    with Isolated() as decoder:
        sizes = {chunk.pixels.shape[1:] for chunk in decoder.stream(clip, fps=5.0, short_side=2160)}
        status = Path(f"/proc/{decoder._idle[0]._process.pid}/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0])
    assert sizes == {(2160, 3840, 3)}
    assert peak < 1_000_000, f"{peak} KB"


def test_closing_ends_a_file_that_another_thread_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, HANG)
    clip = write_clip(tmp_path / "a.mp4")
    decoder = Isolated(time_limit=100)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: list(decoder.stream(clip, fps=1.0)))
        while not decoder._busy:
            time.sleep(0.01)
        began = time.monotonic()
        decoder.close()
        with pytest.raises(VideoError, match="crashed"):
            reading.result(timeout=20)
    assert time.monotonic() - began < 20
    with pytest.raises(MovaError, match="decoding was stopped"):
        decoder.probe(clip)


def test_a_process_that_cannot_start_is_no_failure_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, "sys.exit(3); ")
    with Isolated() as decoder, pytest.raises(MovaError, match="cannot start a process for decoding") as error:
        decoder.probe(write_clip(tmp_path / "a.mp4"))
    assert not isinstance(error.value, VideoError)


def test_relative_paths_follow_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, color in (("a", "red"), ("b", "blue")):
        (tmp_path / name).mkdir()
        write_colours(tmp_path / name / "film.mp4", [(color, 1.0 if name == "a" else 2.0)])
    with Isolated() as decoder:
        durations = []
        for name in ("a", "b"):
            monkeypatch.chdir(tmp_path / name)
            info = decoder.probe("film.mp4")
            assert info.path == "film.mp4"
            durations.append(info.duration)
    assert durations == pytest.approx([1.0, 2.0])
