"""Kept versions: going back gives the same answers, whatever happened since, and a stop at any step loses nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mova.errors import UsageError
from mova.models import registry
from mova.search.index import Index
from mova.search.storage import versions as module
from mova.search.storage.records import Meta
from mova.search.storage.store import Store
from mova.search.storage.versions import Versions
from tests.search.storage.test_upkeep import add, data_files, filled
from tests.support.fakes import ColourEncoder, write_colours

Call = Callable[..., tuple[int, str, str]]


def state(store: Store) -> dict[str, Any]:
    """Return every record with its stored vectors."""
    records = store.records()
    frames = store.fetch([record.content for record in records.values()])
    return {path: (r.content, r.frames, frames[r.content].vectors.tobytes()) for path, r in records.items()}


def test_a_version_outlives_removal_upkeep_and_new_files(tmp_path: Path) -> None:
    store = filled(tmp_path, 3)
    versions = Versions(store)
    assert versions.all() == []
    kept = state(store)
    assert versions.keep("before").frames == 15
    store.drop(["/0", "/1"])
    store.sweep()
    add(store, 7)
    store.tidy(last=True)
    assert set(state(store)) == {"/2", "/7"}
    assert [(v.name, v.videos) for v in Versions(Store(tmp_path)).all()] == [("before", 3)]
    again = versions.restore("before")
    assert (again.videos, again.frames) == (3, 15)
    assert state(Store(tmp_path)) == kept
    assert sum(store.counts().values()) == 15  # the frames of /7 are gone, too


def test_what_only_a_dropped_version_needed_leaves_the_disk(tmp_path: Path) -> None:
    store = filled(tmp_path, 4)
    store.tidy(last=True)
    Versions(store).keep("all")
    store.drop(["/0", "/1", "/2"])
    store.sweep()
    store.tidy(last=True)
    size = sum(path.stat().st_size for path in (tmp_path / "frames.lance" / "data").iterdir())
    Versions(store).drop("all")
    assert Versions(store).all() == []
    assert data_files(tmp_path) == 1
    assert sum(path.stat().st_size for path in (tmp_path / "frames.lance" / "data").iterdir()) < size
    assert set(state(store)) == {"/3"}


@pytest.mark.parametrize("step", ["discard", "add", "restore", "sweep", "tidy"])
def test_a_restore_that_is_stopped_loses_nothing_and_can_be_repeated(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, 2)
    kept = state(store)
    Versions(store).keep("old")
    store.drop(["/0"])
    store.sweep()
    add(store, 5)
    present = state(store)

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    table = type(store.connection.open_table("frames"))
    with monkeypatch.context() as patch:
        patch.setattr(table if step in ("add", "restore") else Store, step, stop)
        with pytest.raises(KeyboardInterrupt):
            Versions(store).restore("old")
    fresh = Store(tmp_path)
    assert state(fresh) == (present if step in ("discard", "add", "restore") else kept)
    Versions(fresh).restore("old")
    assert state(Store(tmp_path)) == kept


def test_a_keep_that_is_stopped_between_the_tables_is_no_version(tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    store.connection.open_table("frames").tags.create("half", 1)
    assert Versions(store).all() == []
    assert Versions(store).keep("half").videos == 1
    assert Versions(store).restore("half").frames == 5


@pytest.mark.parametrize("name", ["", "a b", "../up", "-x", "x" * 65])
def test_wrong_names_are_one_message(name: str, tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    with pytest.raises(UsageError, match="name a version with at most 64"):
        Versions(store).keep(name)


def test_missing_and_taken_names_are_one_message(tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    with pytest.raises(UsageError, match="no version a; none was kept"):
        Versions(store).restore("a")
    Versions(store).keep("a")
    with pytest.raises(UsageError, match="a version a is there already"):
        Versions(store).keep("a")
    with pytest.raises(UsageError, match="no version b; there are a"):
        Versions(store).drop("b")
    with pytest.raises(UsageError, match="no index here"):
        Versions(Store(tmp_path / "none")).all()


def test_a_new_index_in_the_folder_has_no_versions(tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    Versions(store).keep("a")
    store.create(Meta("m", "f", 8, 1.0))
    assert Versions(Store(tmp_path)).all() == []


def test_the_command(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda name: ColourEncoder())
    films, folder = tmp_path / "films", tmp_path / "index"
    write_colours(films / "a.mp4", [("red", 2)])
    write_colours(films / "b.mp4", [("blue", 2)])
    at = ("--index", str(folder))
    assert call("index", films, *at)[0] == 0
    assert call("versions", "keep", "first", *at)[:2] == (0, f"{folder}: version first kept with 2 videos\n")
    before = [m.video for m in Index(folder).search("red")]
    assert call("forget", films / "a.mp4", *at)[0] == 0
    assert [Path(m.video).name for m in Index(folder).search("red")] == ["b.mp4"]
    code, out, _ = call("versions", "--json", *at)
    assert code == 0
    [row] = json.loads(out)["versions"]
    assert (row["name"], row["videos"], row["frames"]) == ("first", 2, 16)
    code, out, _ = call("versions", "restore", "first", *at)
    assert (code, out) == (0, f"{folder}: version first is the present state again: 2 videos\n")
    assert [m.video for m in Index(folder).search("red")] == before
    assert call("index", "--verify", *at)[0] == 0
    assert call("versions", "drop", "first", *at)[0] == 0
    assert "no version was kept" in call("versions", *at)[2]
    code, _, err = call("versions", "throw", "first", *at)
    assert code == 2
    assert "write `mova versions`" in err
    assert module.NAME.fullmatch("2026-11-29")
