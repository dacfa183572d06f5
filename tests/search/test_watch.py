"""Watching folders: new, changed and removed files reach the index; an error does not end it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mova.errors import MovaError, UsageError
from mova.search.index import Index
from mova.search.watch import watch
from mova.utils.file_lock import sole_writer
from tests.support.fakes import ColourEncoder, write_colours

pytest.importorskip("watchfiles")


@pytest.fixture
def index(tmp_path: Path) -> Index:
    write_colours(tmp_path / "films" / "a.mp4", [("red", 1)])
    made = Index(tmp_path / "index", ColourEncoder())
    made.add(tmp_path / "films")
    return made


def names(paths: list[str]) -> list[str]:
    return [Path(path).name for path in paths]


def test_changes_reach_the_index(index: Index, tmp_path: Path) -> None:
    films, stop = tmp_path / "films", threading.Event()
    write_colours(films / "before.mp4", [("blue", 1)])
    made = write_colours(tmp_path / "elsewhere" / "new.mp4", [("green", 1)])
    reports = watch(index, settle=0.1, stop=stop)
    assert names(next(reports).indexed) == ["before.mp4"]
    timer = threading.Timer(0.5, lambda: made.rename(films / "new.mp4"))
    timer.start()
    assert names(next(reports).indexed) == ["new.mp4"]
    timer = threading.Timer(0.5, (films / "a.mp4").unlink)
    timer.start()
    assert names(next(reports).removed) == ["a.mp4"]
    stop.set()
    assert list(reports) == []
    assert names([record.path for record in index.videos()]) == ["before.mp4", "new.mp4"]


def test_every_run_has_the_limits_of_the_command(
    index: Index, monkeypatch: pytest.MonkeyPatch, call: Callable[..., tuple[int, str, str]]
) -> None:
    given: list[dict[str, object]] = []

    def update(_: Index, **options: object) -> None:
        given.append(options)
        raise UsageError("stop here")

    monkeypatch.setattr(Index, "update", update)
    with pytest.raises(UsageError, match="stop here"):
        next(watch(index, settle=0.1, time_limit=7, threads=3))
    assert (given[0]["time_limit"], given[0]["threads"]) == (7, 3)
    assert call("watch", "--index", index.uri, "--threads", "0")[0] == 2
    assert "--nice" in call("watch", "--help")[1]


def test_a_run_that_failed_is_tried_again_without_another_change(index: Index, tmp_path: Path) -> None:
    films, stop, errors = tmp_path / "films", threading.Event(), []
    locked = sole_writer(tmp_path / "index")

    def report(error: MovaError) -> None:
        errors.append(error)
        locked.__exit__(None, None, None)

    reports = watch(index, settle=0.1, stop=stop, error=report)
    write_colours(films / "first.mp4", [("green", 1)])
    locked.__enter__()
    assert names(next(reports).indexed) == ["first.mp4"]
    assert "is writing here" in str(errors[0])
    locked = sole_writer(tmp_path / "index")
    locked.__enter__()
    threading.Timer(0.5, lambda: write_colours(films / "b.mp4", [("blue", 1)])).start()
    assert names(next(reports).indexed) == ["b.mp4"]
    assert len(errors) == 2
    stop.set()


def test_without_a_callback_an_error_is_raised(index: Index, tmp_path: Path) -> None:
    with sole_writer(tmp_path / "index"), pytest.raises(MovaError, match="is writing here"):
        next(watch(index, settle=0.1))


def test_a_file_that_comes_while_the_first_run_reads_is_not_lost(index: Index, tmp_path: Path) -> None:
    films, stop = tmp_path / "films", threading.Event()
    made = write_colours(tmp_path / "elsewhere" / "late.mp4", [("green", 1)])
    write_colours(films / "b.mp4", [("blue", 1)])

    def progress(*_: object) -> None:
        if made.exists():
            made.rename(films / "late.mp4")

    reports = watch(index, settle=0.1, stop=stop, progress=progress)
    assert names(next(reports).indexed) == ["b.mp4"]
    assert names(next(reports).indexed) == ["late.mp4"]
    stop.set()


def test_an_index_below_a_watched_folder_does_not_wake_its_own_watcher(tmp_path: Path) -> None:
    films, stop = tmp_path / "films", threading.Event()
    write_colours(films / "a.mp4", [("red", 1)])
    inside = Index(films / "index", ColourEncoder())
    inside.add(films)
    reports = watch(inside, settle=0.1, stop=stop)
    next(reports)
    threading.Timer(1.0, stop.set).start()
    assert list(reports) == []
    stop.clear()
    reports = watch(inside, settle=0.1, stop=stop)
    next(reports)
    threading.Timer(0.3, lambda: write_colours(films / "index-2.mp4", [("blue", 1)])).start()
    assert names(next(reports).indexed) == ["index-2.mp4"]
    stop.set()


def test_without_folders_or_index_there_is_nothing_to_watch(index: Index, tmp_path: Path) -> None:
    index.remove(tmp_path / "films")
    with pytest.raises(UsageError, match="does not know which folders"):
        next(watch(index))
    with pytest.raises(UsageError, match="no index here"):
        next(watch(Index(tmp_path / "nowhere", ColourEncoder())))
