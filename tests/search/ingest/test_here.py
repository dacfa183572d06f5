"""Adding files to an index: which are read, skipped, shared or forgotten, and what a killed run leaves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from mova.errors import MovaError, UsageError
from mova.search.index import Index
from mova.search.ingest.plan import make_plan
from mova.search.ingest.run import run
from mova.search.storage.records import Meta, VideoRecord
from mova.search.storage.store import Store
from mova.video import container as decoder
from mova.video import isolated
from mova.video import packet_plan as packets
from mova.video.isolated import Isolated
from mova.video.probe import probe
from mova.video.reader import stream
from tests.support.fakes import ColourEncoder, draw_parts, write_colours

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Three short videos in a folder and a folder below it."""
    folder = tmp_path / "films"
    write_colours(folder / "a.mp4", [("red", 2), ("blue", 3)])
    write_colours(folder / "b.mp4", [("green", 1.5), ("white", 2)])
    write_colours(folder / "deep" / "c.mp4", [("cyan", 4)])
    return folder


def names(paths: list[str]) -> list[str]:
    return [Path(path).name for path in paths]


def contents(index: Index) -> dict[str, tuple[list[float], np.ndarray]]:
    """Return the times and vectors of an index, by path."""
    store = index._store
    frames_by_path = {}
    for path, record in store.records().items():
        frames = store.fetch([record.content])[record.content]
        assert len(frames.times) == record.frames
        frames_by_path[path] = (frames.times.tolist(), frames.vectors)
    return frames_by_path


def stored_contents(index: Index) -> set[str]:
    """Hashes of all frames on disk, claimed or not."""
    return set(index._store._frames.to_arrow()["video"].to_pylist())


def assert_equal(first: Index, second: Index) -> None:
    first_contents, second_contents = contents(first), contents(second)
    assert first_contents.keys() == second_contents.keys()
    for path in first_contents:
        assert first_contents[path][0] == second_contents[path][0]
        assert np.array_equal(first_contents[path][1], second_contents[path][1])
    assert stored_contents(first) == stored_contents(second)


def test_all_frames_at_their_times(films: Path, tmp_path: Path) -> None:
    index = Index(tmp_path / "index", ColourEncoder(rate=4))
    report = index.add([films])
    assert names(report.indexed) == ["a.mp4", "b.mp4", "c.mp4"]
    assert report.frames == 20 + 14 + 16
    assert report.worked
    assert report.seconds > 0
    times, vectors = contents(index)[str(films / "a.mp4")]
    assert times == (np.arange(20) / 4).tolist()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert vectors[:8].argmax(axis=1).tolist() == [0] * 8
    assert vectors[8:].argmax(axis=1).tolist() == [2] * 12
    record = index.videos()[0]
    assert record.duration == pytest.approx(5.0, abs=0.01)
    assert np.allclose(record.mean, vectors.mean(axis=0), atol=1e-3)


def test_unchanged_files_are_not_read_again(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ColourEncoder()
    index = Index(tmp_path / "index", model)
    index.add([films])
    frames_before = model.frames_seen

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"{arguments} was read")

    monkeypatch.setattr("mova.video.isolated.Isolated.probe", refuse)
    monkeypatch.setattr("mova.search.ingest.file_reader.content_hash", refuse)
    report = Index(tmp_path / "index", model).add([films])
    assert len(report.unchanged) == 3
    assert (report.indexed, report.moved, report.removed, report.failed) == ([], [], [], [])
    assert model.frames_seen == frames_before


def test_a_touched_file_is_hashed_but_not_encoded(films: Path, tmp_path: Path) -> None:
    model = ColourEncoder()
    index = Index(tmp_path / "index", model)
    index.add([films])
    frames_before = model.frames_seen
    os.utime(films / "a.mp4", ns=(1, 1))
    report = index.add([films])
    assert len(report.unchanged) == 3
    assert not report.moved
    assert model.frames_seen == frames_before
    assert index.videos()[0].mtime_ns == 1


def test_a_changed_file_replaces_its_frames(films: Path, tmp_path: Path) -> None:
    index = Index(tmp_path / "index", ColourEncoder())
    index.add([films])
    write_colours(films / "a.mp4", [("yellow", 1)])
    assert names(index.add([films]).indexed) == ["a.mp4"]
    fresh = Index(tmp_path / "fresh", ColourEncoder())
    fresh.add([films])
    assert_equal(index, fresh)


def test_moved_and_copied_files_share_frames(films: Path, tmp_path: Path) -> None:
    model = ColourEncoder()
    index = Index(tmp_path / "index", model)
    index.add([films])
    frames_before = model.frames_seen
    (films / "a.mp4").rename(films / "deep" / "moved.mp4")
    shutil.copy(films / "b.mp4", films / "copy.mp4")
    report = index.add([films])
    assert names(report.moved) == ["copy.mp4", "moved.mp4"]
    assert (report.indexed, report.removed) == ([], [])
    assert model.frames_seen == frames_before
    assert names([v.path for v in index.videos()]) == ["b.mp4", "copy.mp4", "c.mp4", "moved.mp4"]
    assert len(stored_contents(index)) == 3
    (films / "copy.mp4").unlink()
    assert names(index.add([films]).removed) == ["copy.mp4"]
    assert len(stored_contents(index)) == 3


def test_equal_files_in_one_run_are_encoded_once(tmp_path: Path) -> None:
    write_colours(tmp_path / "v" / "a.mp4", [("red", 0.25), ("blue", 0.25)] * 4)
    shutil.copy(tmp_path / "v" / "a.mp4", tmp_path / "v" / "b.mp4")
    model = ColourEncoder()
    index = Index(tmp_path / "index", model)
    report = index.add([tmp_path / "v"])
    assert (names(report.indexed), names(report.moved)) == (["a.mp4"], ["b.mp4"])
    assert model.frames_seen == report.frames == 8
    assert len(index) == 2


def test_deleted_files_are_dropped_only_below_the_folder(films: Path, tmp_path: Path) -> None:
    outside = write_colours(tmp_path / "other" / "d.mp4", [("black", 1)])
    index = Index(tmp_path / "index", ColourEncoder())
    index.add([films, outside])
    outside.unlink()
    (films / "b.mp4").unlink()
    assert names(index.add([films], prune=False).removed) == []
    report = index.add([films])
    assert names(report.removed) == ["b.mp4"]
    assert names([v.path for v in index.videos()]) == ["a.mp4", "c.mp4", "d.mp4"]
    assert len(stored_contents(index)) == 3


def test_a_folder_that_is_gone_or_empty_is_an_error_not_a_mass_delete(films: Path, tmp_path: Path) -> None:
    index = Index(tmp_path / "index", ColourEncoder())
    index.add([films])
    films.rename(tmp_path / "unplugged")
    with pytest.raises(UsageError, match="films"):
        index.add([films])
    films.mkdir()
    with pytest.raises(UsageError, match="mounted"):
        index.add([films])
    assert len(index) == 3
    assert names(index.remove([films])) == ["a.mp4", "b.mp4", "c.mp4"]
    assert len(index) == 0
    assert stored_contents(index) == set()


def test_broken_files_are_reported_and_tried_again(films: Path, tmp_path: Path) -> None:
    good = (films / "a.mp4").read_bytes()
    (films / "empty.mp4").write_bytes(b"")
    (films / "text.mp4").write_text("not a video")
    (films / "cut.mp4").write_bytes(good[: len(good) // 2])
    index = Index(tmp_path / "index", ColourEncoder())
    report = index.add([films])
    assert len(report.indexed) == 3
    failed = dict(report.failed)
    assert sorted(names(list(failed))) == ["cut.mp4", "empty.mp4", "text.mp4"]
    assert all(failed.values())
    assert len(stored_contents(index)) == 3
    (films / "cut.mp4").write_bytes(good + b"")
    report = index.add([films])
    assert names(report.moved) == ["cut.mp4"]
    assert len(report.failed) == 2


def test_a_run_with_only_broken_files_fails(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    report = Index(tmp_path / "index", ColourEncoder()).add([tmp_path / "text.mp4"])
    assert not report.worked
    document = report.to_json()
    assert document["failed"] == [{"path": str(tmp_path / "text.mp4"), "cause": report.failed[0][1]}]


def test_a_truncated_file_leaves_no_frames(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames before the break were already written."""
    from mova.errors import VideoError
    from mova.search.ingest import writer

    real = Isolated.stream

    def breaking(decoder: Isolated, path: str, **options: object):
        chunks = real(decoder, path, **{**options, "chunk": 4})
        yield next(chunks)
        yield next(chunks)
        if path.endswith("a.mp4"):
            raise VideoError(path, "damaged")
        yield from chunks

    monkeypatch.setattr(Isolated, "stream", breaking)
    monkeypatch.setattr(writer, "FLUSH_ROWS", 4)
    index = Index(tmp_path / "index", ColourEncoder())
    report = index.add([films])
    assert report.failed == [(str(films / "a.mp4"), "damaged")]
    assert len(report.indexed) == 2
    assert stored_contents(index) == {video.content for video in index.videos()}


def test_a_file_that_changes_while_it_is_read_fails(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    real = Isolated.stream

    def growing(decoder: Isolated, path: str, **options: object):
        yield from real(decoder, path, **options)
        if path.endswith("a.mp4"):
            os.utime(path, ns=(5, 5))

    monkeypatch.setattr(Isolated, "stream", growing)
    report = Index(tmp_path / "index", ColourEncoder()).add([films])
    assert [(Path(path).name, "changed" in cause) for path, cause in report.failed] == [("a.mp4", True)]


def test_progress_counts_seconds_of_video(films: Path, tmp_path: Path) -> None:
    calls: list[tuple[str, float, float]] = []
    (films / "text.mp4").write_text("not a video")
    Index(tmp_path / "index", ColourEncoder()).add([films], progress=lambda *call: calls.append(call))
    done = [call[1] for call in calls]
    assert done == sorted(done)
    assert calls[-1][1] == pytest.approx(calls[-1][2])
    assert calls[-1][2] == pytest.approx(12.5, abs=0.05)


def test_two_writers_at_once_are_refused(films: Path, tmp_path: Path) -> None:
    index = Index(tmp_path / "index", ColourEncoder())
    with Store(tmp_path / "index").lock(new=True), pytest.raises(MovaError, match=str(os.getpid())):
        index.add([films])
    assert index.add([films]).worked


def test_leftovers_of_a_killed_run_are_invisible_and_removed(films: Path, tmp_path: Path) -> None:
    index = Index(tmp_path / "index", ColourEncoder())
    index.add([films])
    store = index._store
    vectors = store.fetch([index.videos()[0].content]).popitem()[1]
    store.append(["f" * 32], [vectors])
    assert {m.video for m in index.search("red", k=50)} == {v.path for v in index.videos()}
    index.add([films])
    assert stored_contents(index) == {v.content for v in index.videos()}


def test_many_small_writes_are_joined(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mova.search.ingest import file_reader, writer

    monkeypatch.setattr(writer, "FLUSH_ROWS", 1)
    monkeypatch.setattr(writer, "TIDY_EVERY", 1)
    monkeypatch.setattr(file_reader, "DECODE_CHUNK", 1)
    index = Index(tmp_path / "index", ColourEncoder(rate=8))
    report = index.add([films])
    fragments = index._store._frames.stats()["fragment_stats"]["num_fragments"]
    assert report.frames == 100
    assert fragments <= 33
    fresh = Index(tmp_path / "fresh", ColourEncoder(rate=8))
    monkeypatch.undo()
    fresh.add([films])
    assert_equal(index, fresh)


def test_a_file_uri_is_the_folder_and_has_its_lock(films: Path, tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/index"
    store = Store(uri)
    assert run(store, make_plan(store, [films], ColourEncoder)).worked
    assert len(Index(uri)) == len(Index(tmp_path / "index")) == 3
    with Store(tmp_path / "index").lock(), pytest.raises(MovaError, match=str(os.getpid())):
        Index(uri, ColourEncoder()).add([films])


def without_lock(folder: Path) -> Store:
    """A store as it is where nothing can be locked (object storage)."""
    store = Store(folder)
    store.folder = None
    return store


def test_a_second_writer_without_a_lock_is_reported_and_repaired(films: Path, tmp_path: Path) -> None:
    """The second sweeps what the first has not recorded yet: no record may stand without its frames."""
    folder, model = tmp_path / "index", ColourEncoder()
    run(without_lock(folder), make_plan(Store(folder), [films / "a.mp4"], lambda: model))
    first, second = without_lock(folder), without_lock(folder)
    record = first.records()[str(films / "a.mp4")]
    frames = first.fetch([record.content])[record.content]
    late = VideoRecord("/late.mp4", "e" * 32, 1, 1, record.duration, record.frames, record.mean)
    first.append([late.content], [frames])
    assert second.sweep() == 1
    with pytest.raises(MovaError, match="wrote to this index at the same time, and the frames of 1 files"):
        first.commit([late])
    assert list(second.records()) == [str(films / "a.mp4")]


def test_a_record_without_all_its_frames_is_dropped_and_read_again(
    films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = Index(tmp_path / "index", ColourEncoder())
    index.add([films])
    lost = index.videos()[0]
    index._store.discard([lost.content])
    (films / "b.mp4").touch()
    report = index.add([films])
    assert report.indexed == [lost.path]
    assert "not complete" in caplog.text
    fresh = Index(tmp_path / "fresh", ColourEncoder())
    fresh.add([films])
    assert_equal(index, fresh)


def test_a_changed_and_broken_file_loses_its_old_moments(films: Path, tmp_path: Path) -> None:
    index = Index(tmp_path / "index", ColourEncoder())
    index.add([films])
    good = (films / "a.mp4").read_bytes()
    (films / "a.mp4").write_bytes(b"broken now")
    report = index.add([films])
    assert names([path for path, _ in report.failed]) == ["a.mp4"]
    assert names([video.path for video in index.videos()]) == ["b.mp4", "c.mp4"]
    assert stored_contents(index) == {video.content for video in index.videos()}
    (films / "a.mp4").write_bytes(good)
    assert names(index.add([films]).indexed) == ["a.mp4"]


def test_missing_videos_are_reported_before_anything_is_created(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "readme.txt").write_text("nothing")
    with pytest.raises(UsageError, match=r"no videos in .*films"):
        Index(tmp_path / "index", ColourEncoder()).add([tmp_path / "films"])
    assert not (tmp_path / "index").exists()


def test_a_wrong_path_is_reported_before_the_model_loads(tmp_path: Path) -> None:
    def load() -> ColourEncoder:
        raise AssertionError("the model was loaded")

    with pytest.raises(UsageError, match="nowhere"):
        make_plan(Store(tmp_path / "index"), [tmp_path / "nowhere"], load)


def test_folders_are_walked_once_and_the_model_is_hashed_once(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mova.search.ingest import listing

    walks: list[object] = []
    real = listing.find_videos
    monkeypatch.setattr(listing, "find_videos", lambda paths, *rest: (walks.append(paths), real(paths, *rest))[1])
    model = ColourEncoder()
    hashes: list[str] = []
    fingerprint = model.fingerprint
    monkeypatch.setattr(model, "fingerprint", lambda: (hashes.append(""), fingerprint())[1])
    index = Index(tmp_path / "index", model)
    for runs in (1, 2):
        index.add([films])
        assert len(walks) == len(hashes) == runs


def test_a_file_system_without_locks_is_reported(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FileLock) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(MovaError, match="its file system has no locks"):
        Index(tmp_path / "index", ColourEncoder()).add([films])


def test_dangling_links_and_damaged_timestamps_do_not_stop_a_run(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of PyAV's own (a packet of an unknown stream) fails one file only."""
    (films / "link.mp4").symlink_to(tmp_path / "nowhere.mp4")
    real = decoder.read_packets

    class Confused:
        def __init__(self, container: object) -> None:
            self.container = container

        def demux(self, *tracks: object):
            yield next(self.container.demux(*tracks))  # type: ignore[attr-defined]
            raise IndexError("list index out of range")

    def confuse(container: object, *tracks: object):
        odd = "a.mp4" in str(getattr(container, "name", ""))
        return real(Confused(container) if odd else container, *tracks)

    for module in (decoder, packets):
        monkeypatch.setattr(module, "read_packets", confuse)
    monkeypatch.setattr(Isolated, "probe", lambda _, path: probe(path))  # in this process
    monkeypatch.setattr(Isolated, "stream", lambda _, path, **options: stream(path, **options))
    report = Index(tmp_path / "index", ColourEncoder()).add([films])
    failed = {Path(path).name: cause for path, cause in report.failed}
    assert names(report.indexed) == ["b.mp4", "c.mp4"]
    assert failed.keys() == {"a.mp4", "link.mp4"}
    assert "inconsistent" in failed["a.mp4"]


KILLED = """
import os, random, signal, sys, time
from mova.search.index import Index
from mova.search.ingest import file_reader, writer
from tests.support.fakes import ColourEncoder
file_reader.DECODE_CHUNK = 8
writer.FLUSH_ROWS, writer.FLUSH_SECONDS, writer.TIDY_EVERY = 16, 0.0, 3

def attempt(delay):
    child = os.fork()
    if child == 0:
        Index(sys.argv[1], ColourEncoder(seconds_per_frame=delay)).add([sys.argv[2]])
        os._exit(0)
    return child

moments = random.Random(0)
for _ in range(10):
    child = attempt(float(sys.argv[3]))
    time.sleep(moments.uniform(0, 0.6))
    os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1], flush=True)
print(os.waitpid(attempt(0.0), 0)[1])
"""


@pytest.mark.slow
def test_sigkill_at_ten_random_times_neither_loses_nor_duplicates_frames(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    films = tmp_path / "films"
    for i in range(12):
        write_colours(films / f"{i:02d}.mp4", draw_parts(rng, 4))
    fresh = Index(tmp_path / "fresh", ColourEncoder())
    total = fresh.add([films]).frames
    command = [sys.executable, "-c", KILLED, str(tmp_path / "index"), str(films), str(4.0 / total)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["9"] * 10 + ["0"]
    assert_equal(Index(tmp_path / "index"), fresh)


MEASURED = """
import sys
from pathlib import Path
from mova.search.index import Index
from tests.support.fakes import ColourEncoder
for film in sys.argv[2:]:
    report = Index(f"{sys.argv[1]}-{Path(film).stem}", ColourEncoder(rate=2, width=512)).add([film])
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(report.frames, int(peak.split()[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """Two hours after ten minutes. (`ru_maxrss` would carry over the peak of the test process itself.)"""
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "index")]
    for minutes in (10, 120):
        parts = [("red", 20.0), ("blue", 40.0)] * minutes
        command.append(str(write_colours(tmp_path / f"{minutes}.mp4", parts, fps=2.0, size=(32, 32))))
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    frames, peaks = zip(*(map(int, line.split()) for line in done.stdout.splitlines()), strict=True)
    assert frames == (10 * 120, 120 * 120)
    assert peaks[1] <= 1.15 * peaks[0]


def test_a_file_that_does_not_fit_into_memory_is_skipped(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ColourEncoder()
    real, calls = model.encode_frames, []

    def fail_once(frames: object):
        calls.append(frames)
        if len(calls) == 1:
            raise MemoryError
        return real(frames)

    monkeypatch.setattr(model, "encode_frames", fail_once)
    index = Index(tmp_path / "index", model)
    report = index.add([films])
    assert [(Path(path).name, "memory" in cause) for path, cause in report.failed] == [("a.mp4", True)]
    assert names(report.indexed) == ["b.mp4", "c.mp4"]
    assert stored_contents(index) == {video.content for video in index.videos()}


def test_a_decoder_that_crashes_costs_one_file(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import mova.video.isolated_child as child, os; real = child.stream; "
        "child.stream = lambda path, **options: os.abort() if 'a.mp4' in path else real(path, **options); "
    )
    path, call = isolated.START.split("from mova.video", 1)
    monkeypatch.setattr(isolated, "START", f"{path}{code}from mova.video{call}")
    report = Index(tmp_path / "index", ColourEncoder()).add([films])
    assert {Path(path).name for path, cause in report.failed if "crashed (signal 6)" in cause} == {"a.mp4"}
    assert names(report.indexed) == ["b.mp4", "c.mp4"]


def test_an_index_keeps_which_frames_it_samples(tmp_path: Path) -> None:
    """A new index takes frames that cost less to decode; `exact`, and an index without that property, do not."""
    film = write_colours(tmp_path / "a.mp4", [("red", 4.3), ("blue", 4.4)], fps=10)
    model = ColourEncoder(rate=1.0)
    near, exact = Index(tmp_path / "near", model), Index(tmp_path / "exact", model)
    near.add(film)
    exact.add(film, exact=True)
    assert (near.status().sampling, exact.status().sampling) == ("nearest", "exact")
    (times, vectors), (grid, expected) = contents(near)[str(film)], contents(exact)[str(film)]
    assert grid == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert np.round(times).tolist() == grid
    np.testing.assert_allclose(vectors, expected, atol=2e-2)
    near.add(film)
    with pytest.raises(MovaError, match="sampling 'nearest', not 'exact'"):
        near.add(film, exact=True)
    with pytest.raises(MovaError, match="sampling 'exact', not 'nearest'"):
        exact.add(film, exact=False)
    second = write_colours(tmp_path / "b.mp4", [("green", 4.3)], fps=10)
    exact.add(second)
    assert contents(exact)[str(second)][0] == [0, 1, 2, 3, 4]
    exact.update()


def test_an_index_without_the_property_samples_exactly(tmp_path: Path) -> None:
    film = write_colours(tmp_path / "a.mp4", [("red", 2), ("blue", 2)], fps=10)
    model = ColourEncoder(rate=1.0)
    index = Index(tmp_path / "index", model)
    old: dict[str, Any] = {"model": model.name, "fingerprint": model.fingerprint(), "dim": 8, "frame_rate": 1.0}
    index._store.create(Meta(**old))
    assert Meta(**old).sampling == "exact"
    index.add(film)
    assert contents(index)[str(film)][0] == [0, 1, 2, 3]


def test_a_model_that_reads_motion_gets_exact_frames(tmp_path: Path) -> None:
    film = write_colours(tmp_path / "a.mp4", [("red", 2), ("blue", 2)], fps=10)
    model = ColourEncoder(rate=1.0)
    model.context = 1
    index = Index(tmp_path / "index", model)
    index.add(film)
    assert index.status().sampling == "exact"


def test_progress_that_counts_files_gets_their_numbers(tmp_path: Path) -> None:
    class Counting:
        def __init__(self) -> None:
            self.calls: list[tuple[int, int]] = []
            self.seconds: list[tuple[float, float]] = []

        def at_file(self, number: int, total: int) -> None:
            self.calls.append((number, total))

        def __call__(self, path: str, done: float, total: float) -> None:
            self.seconds.append((done, total))

    films = tmp_path / "films"
    write_colours(films / "a.mp4", [("red", 2)])
    write_colours(films / "b.mp4", [("blue", 1)])
    (films / "c.mp4").write_bytes((films / "b.mp4").read_bytes())
    (films / "d.mp4").write_text("no video")
    counting = Counting()
    Index(tmp_path / "index", ColourEncoder()).add([films], progress=counting)
    numbers = [number for number, total in counting.calls if total]
    assert sorted(set(numbers)) == [1, 2, 3]
    assert numbers == sorted(numbers)
    assert {total for _, total in counting.calls} <= {0, 3}
    assert counting.seconds[-1] == pytest.approx((4.0, 4.0), abs=0.1)


def test_repeated_pictures_are_encoded_once(tmp_path: Path) -> None:
    film = write_colours(tmp_path / "a.mp4", [("red", 5), ("blue", 5)], fps=8)
    model = ColourEncoder(rate=2.0)
    report = Index(tmp_path / "index", model).add(film, threads=1)
    assert report.frames == 20
    assert model.frames_seen < 20
    with pytest.raises(UsageError, match="at least 1"):
        Index(tmp_path / "other", model).add(film, threads=0)
