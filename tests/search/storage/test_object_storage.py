"""An index on object storage by URI, on a real S3-compatible server on this machine: the answers of a local index."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mova.models.worlds_tiny.model import shipped_folder
from mova.search.index import Index
from mova.search.storage import lease
from mova.search.storage.lease import Lease
from mova.search.storage.store import Store
from mova.serve.copies import Copier
from mova.utils.file_lock import LockedError
from mova.worlds.writer import write_worlds
from tests.support.fakes import ColourEncoder, write_colours
from tests.support.object_storage import serving

ROOT = Path(__file__).resolve().parents[3]
FILMS = {"a.mp4": [("red", 3.0), ("green", 2.0)], "b.mp4": [("blue", 2.0), ("red", 2.0)], "c.mp4": [("cyan", 4.0)]}
KILLED = """
import os, signal, sys
from mova.search.index import Index
from mova.search.ingest import writer
from tests.support.fakes import ColourEncoder
writer.FLUSH_ROWS, writer.FLUSH_SECONDS = 8, 0.0
def die(path, done, total):
    if path.endswith("c.mp4"):
        os.kill(os.getpid(), signal.SIGKILL)
Index(sys.argv[1], ColourEncoder()).add([sys.argv[2]], progress=die)
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of an empty bucket; the variables of its server are set."""
    with serving("films") as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(lease, "BEAT", 0.4)
        patch.setattr(lease, "SILENCE", 1.0)
        yield "s3://films"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, parts in FILMS.items():
        write_colours(folder / name, parts)
    return folder


@pytest.fixture(scope="module")
def both(bucket: str, films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An index on the server, and one of the same films in a folder. The last test changes them."""
    uri, folder = f"{bucket}/both", tmp_path_factory.mktemp("both") / "index"
    assert not Index(uri, ColourEncoder()).exists
    reports = [Index(place, ColourEncoder()).add([films], novelty=0.05) for place in (uri, folder)]
    assert reports[0].indexed == reports[1].indexed
    return uri, folder


def assert_same(uri: str, folder: Path) -> None:
    remote, local = Store(uri), Store(folder)
    assert remote.records().keys() == local.records().keys()
    for path, record in local.records().items():
        assert remote.records()[path].frames == record.frames
        ours, theirs = (side.fetch([record.content])[record.content] for side in (remote, local))
        np.testing.assert_array_equal(ours.times, theirs.times)
        np.testing.assert_array_equal(ours.vectors, theirs.vectors)
    assert Index(uri, ColourEncoder()).verify().problems == ()


def test_answers_are_those_of_a_local_index(both: tuple[str, Path], films: Path) -> None:
    assert_same(*both)
    remote, local = (Index(place, ColourEncoder()) for place in both)
    for text in ("red", "cyan", "It is blue. It is red."):
        ours, theirs = (index.search(text, k=3) for index in (remote, local))
        assert [(m.video, m.start, m.end) for m in ours] == [(m.video, m.start, m.end) for m in theirs]
        np.testing.assert_allclose([m.score for m in ours], [m.score for m in theirs], atol=1e-5)
    assert Index(both[0], ColourEncoder()).add([films]).unchanged == [str(films / name) for name in FILMS]


def test_an_update_knows_what_was_added_failed_and_forgotten(bucket: str, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    write_colours(folder / "a.mp4", [("red", 2.0)])
    write_colours(folder / "b.mp4", [("blue", 2.0)])
    (folder / "broken.mp4").write_bytes(b"no film" * 100)
    uri = f"{bucket}/update"
    Index(uri, ColourEncoder()).add([folder])
    status = Index(uri).status()
    assert status.roots == (str(folder),)
    assert list(status.failed) == [str(folder / "broken.mp4")]
    assert status.updated
    write_colours(folder / "c.mp4", [("green", 2.0)])
    index = Index(uri, ColourEncoder())
    assert index.remove(folder / "a.mp4") == [str(folder / "a.mp4")]
    report = Index(uri, ColourEncoder()).update()
    assert report.indexed == [str(folder / "c.mp4")]
    assert [Path(record.path).name for record in Index(uri).videos()] == ["b.mp4", "c.mp4"]


@pytest.mark.slow
def test_a_killed_run_is_continued_and_nothing_is_lost_or_twice(bucket: str, films: Path, tmp_path: Path) -> None:
    uri = f"{bucket}/killed"
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", KILLED, uri, str(films)]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=False).returncode == -signal.SIGKILL
    assert Index(uri, ColourEncoder()).verify().problems == ()
    report = Index(uri, ColourEncoder()).add([films])
    assert str(films / "c.mp4") in report.indexed
    Index(tmp_path / "index", ColourEncoder()).add([films])
    assert_same(uri, tmp_path / "index")


def test_beside_a_writer_readers_see_whole_videos_and_another_writer_is_refused(
    bucket: str, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mova.search.ingest.writer.FLUSH_SECONDS", 0.0)
    uri, seen = f"{bucket}/readers", []
    reader = Index(uri, ColourEncoder())

    def read(path: str, done: float, total: float) -> None:
        if not seen:
            with pytest.raises(LockedError, match="is writing here; wait until it has finished"):
                Index(uri, ColourEncoder()).add([films])
        if reader.exists:
            found = reader.search("red", k=5)
            seen.append({Path(moment.video).name for moment in found})
            assert all(moment.score > 0.0 for moment in found)

    Index(uri, ColourEncoder()).add([films], progress=read)
    assert set() in seen
    assert {"a.mp4"} in seen
    assert len(reader.videos()) == 3
    assert reader.verify().problems == ()


def test_a_writer_that_was_taken_for_dead_stops_and_nothing_is_lost(
    bucket: str, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, others = f"{bucket}/silent", []

    def take_over(path: str, done: float, total: float) -> None:
        if not others:
            monkeypatch.setattr(Lease, "_beat", beat)
            others.append(Index(uri, ColourEncoder()).add([films]))

    beat = Lease._beat
    monkeypatch.setattr(Lease, "_beat", lambda self: None)
    with pytest.raises(LockedError, match=r"another one .* writes to this index now"):
        Index(uri, ColourEncoder()).add([films], progress=take_over)
    assert len(others[0].indexed) == len(FILMS)
    Index(tmp_path / "index", ColourEncoder()).add([films])
    assert_same(uri, tmp_path / "index")


def test_a_search_needs_the_model_only_until_its_text_tower_is_in_the_cache(bucket: str, tmp_path: Path) -> None:
    write_worlds(tmp_path, 2, 10, "flat", 3, size=48)
    Index(f"{bucket}/tower", "mova-worlds-tiny").add(tmp_path)
    index, loaded = Index(f"{bucket}/tower"), Index(f"{bucket}/tower")
    assert not index.needs_model("a red star")
    found = index.search("a red star", k=2)
    assert "model" not in vars(index)
    assert loaded.model.name == "mova-worlds-tiny"
    expected = loaded.search("a red star", k=2)
    assert [(m.video, m.start, m.end) for m in found] == [(m.video, m.start, m.end) for m in expected]
    np.testing.assert_allclose([m.score for m in found], [m.score for m in expected], atol=1e-4)


def test_a_moved_model_is_adopted(bucket: str, tmp_path: Path) -> None:
    write_worlds(tmp_path / "films", 2, 10, "flat", 3, size=48)
    shutil.copytree(shipped_folder("mova-worlds-tiny"), tmp_path / "model")
    Index(f"{bucket}/moved", str(tmp_path / "model")).add(tmp_path / "films")
    expected = Index(f"{bucket}/moved").search("a red star", k=2)
    (tmp_path / "model").rename(tmp_path / "new")
    assert Index(f"{bucket}/moved").search("a red star", k=2) == expected
    assert Index(f"{bucket}/moved", str(tmp_path / "new")).adopt()
    assert Store(f"{bucket}/moved").meta.model == str(tmp_path / "new")
    assert Index(f"{bucket}/moved").search("a red star", k=2) == expected


def test_a_service_copies_the_index_beside_its_searches(
    both: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    index, copier = Index(both[0], ColourEncoder()), Copier(both[0])
    assert not index._reader().mapped
    copier.start()
    deadline = time.monotonic() + 30
    while not index._reader().mapped and time.monotonic() < deadline:
        time.sleep(0.05)
    copier.close()
    assert index._reader().mapped


def test_the_commands_take_a_uri(
    both: tuple[str, Path], films: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = call("status", "--index", both[0], "--json")
    assert code == 0, err
    status = json.loads(out)
    assert (status["videos"], status["roots"], status["bytes"]) == (3, [str(films)], None)
    code, out, _ = call("list", "--index", both[0], "--json")
    assert code == 0
    assert len(json.loads(out)["videos"]) == 3
    code, out, _ = call("index", "--verify", "--index", both[0])
    assert code == 0
    assert "sound (3 videos" in out


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_one_message(bucket: str, call: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = call("search", "red", "--index", "s3://nothing-here/films")
    assert code == 1
    assert "s3://nothing-here/films: cannot be read or written" in err


def test_a_new_index_prints_no_warnings_of_the_library(bucket: str, films: Path) -> None:
    words = ("index", str(min(films.glob("*.mp4"))), "--index", f"{bucket}/quiet", "--model", "mova-worlds-tiny")
    done = subprocess.run([sys.executable, "-m", "mova", *words], capture_output=True, text=True, check=True)
    assert "WARN" not in done.stdout + done.stderr


def test_a_second_search_reads_a_copy_until_the_tables_change(
    both: tuple[str, Path], films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, texts = both[0], ("red", "It is blue. It is red.")
    local = Index(both[1], ColourEncoder())

    def no_tables(*_: object, **__: object) -> None:
        raise AssertionError("the tables are read")

    def answers(*, copied: bool) -> list[list[tuple[str, float, float]]]:
        """Return answers of another process, which has nothing open."""
        with monkeypatch.context() as patch:
            for name in ("nearest", "fetch", "records", "_scan"):
                if copied:
                    patch.setattr(Store, name, no_tables)
            index = Index(uri, ColourEncoder())
            found = [index.search(text, k=3) for text in texts]
            assert index.status().roots == (str(films),)
        expected = [local.search(text, k=3) for text in texts]
        np.testing.assert_allclose(*[[m.score for part in side for m in part] for side in (found, expected)], atol=1e-5)
        moments = [[[(m.video, m.start, m.end) for m in part] for part in side] for side in (found, expected)]
        assert moments[0] == moments[1]
        return moments[0]

    before = answers(copied=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    assert answers(copied=False) == before
    Index(uri, ColourEncoder()).refresh()
    assert answers(copied=True) == before
    monkeypatch.undo()
    for index in (Index(uri, ColourEncoder()), local):
        index.remove([films / "a.mp4"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))  # its copy is that of the first state
    assert answers(copied=False) != before
    Index(uri, ColourEncoder()).refresh()
    answers(copied=True)
