"""A model whose folder was moved: the index is searched by its text tower, and takes the new folder if it is named."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mova
from mova.errors import IndexMismatchError, ModelError, UsageError
from mova.models.worlds_tiny.model import shipped_folder
from mova.search.cold.snapshot import Snapshot
from mova.search.cold.text_tower import TextTower
from mova.search.index import Index
from mova.search.shards.index import ShardedIndex
from mova.search.storage.store import Store

Call = Callable[..., tuple[int, str, str]]
PARAGRAPH = "A red star moves left. Then a blue square grows."


@pytest.fixture(scope="module")
def made(worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index of two films and the model that it was made with."""
    folder = tmp_path_factory.mktemp("made")
    films = folder / "films"
    films.mkdir()
    for path in sorted(worlds_manifest.parent.glob("*.mp4"))[:2]:
        shutil.copy2(path, films)
    shutil.copytree(shipped_folder("mova-worlds-tiny"), folder / "model")
    Index(folder / "index", str(folder / "model")).add(films)
    return folder


@pytest.fixture
def moved(made: Path, tmp_path: Path) -> Iterator[Path]:
    """The index, in a folder `index` beside the model's new folder `new`; the stored folder is gone."""
    shutil.copytree(made / "index", tmp_path / "index", copy_function=shutil.copy2)
    shutil.move(made / "model", tmp_path / "new")
    yield tmp_path
    shutil.move(tmp_path / "new", made / "model")


def stored_name(folder: Path) -> str:
    return Store(folder).meta.model


def test_an_index_whose_model_is_gone_is_searched_by_its_text_tower(moved: Path) -> None:
    index = Index(moved / "index")
    assert index.search("a red star")
    assert "model" not in index.__dict__
    assert TextTower.open(moved / "index", index.meta) is not None


def test_a_text_tower_is_refused_if_the_files_are_there_and_have_changed(
    made: Path, moved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="mova")
    shutil.copytree(moved / "new", made / "model")
    os.utime(made / "model" / "config.json", (1, 1))
    try:
        assert TextTower.open(moved / "index", Index(moved / "index").meta) is None
        assert "have changed" in caplog.text
    finally:
        shutil.rmtree(made / "model")


def test_what_needs_the_model_says_how_to_name_its_new_folder(made: Path, moved: Path, call: Call) -> None:
    film = next((made / "films").glob("*.mp4"))
    for words in (
        ("search", PARAGRAPH),
        ("align", film, "--text", "A star moves."),
        ("highlights", PARAGRAPH),
        ("search", "star", "--like", f"{film}@1"),
    ):
        code, _, err = call(*words, "--index", moved / "index")
        assert code == 1, words
        assert f"its model is not at {made / 'model'} any more" in err
        assert "--model NEW_FOLDER" in err
        assert "Hub" not in err
    with pytest.raises(ModelError, match=r"Index\(path, NEW_FOLDER\)"):
        _ = Index(moved / "index").model


def test_files_that_are_all_indexed_need_no_model(made: Path, moved: Path, call: Call) -> None:
    code, out, _ = call("index", made / "films", "--index", moved / "index", "--json")
    assert (code, len(json.loads(out)["unchanged"])) == (0, 2)


@pytest.mark.parametrize(
    "words",
    [
        ("search", "a red star"),
        ("search", PARAGRAPH),
        ("search", "--like", "FILM@1"),
        ("search", "--queries", "QUERIES"),
        ("highlights",),
        ("highlights", "a star"),
        ("align", "FILM", "--text", "A star moves."),
        ("index", "FILMS"),
        ("update",),
    ],
)
def test_a_command_with_the_new_folder_stores_it(words: tuple[str, ...], made: Path, moved: Path, call: Call) -> None:
    queries = moved / "queries.txt"
    queries.write_text("a star\na square\n")
    film = next((made / "films").glob("*.mp4"))
    places = {"FILMS": str(made / "films"), "FILM@1": f"{film}@1", "FILM": str(film), "QUERIES": str(queries)}
    index, before = moved / "index", Index(moved / "index").search("a red star")
    code, _, err = call(*(places.get(word, word) for word in words), "--index", index, "--model", moved / "new")
    assert code == 0, err
    assert err.count(f"its model is now {moved / 'new'}") == 1
    assert stored_name(index) == Index(index).meta.model == str(moved / "new")
    assert Snapshot.open(index) is not None
    assert TextTower.open(index, Index(index).meta) is not None
    assert Index(index).search("a red star") == before
    assert not Index(index).verify().problems
    code, _, err = call("search", PARAGRAPH, "--index", index)
    assert (code, "its model" in err) == (0, False)
    code, _, err = call("search", "a red star", "--index", index, "--model", moved / "new")
    assert (code, "its model" in err) == (0, False)


def test_another_model_is_refused_and_nothing_is_stored(made: Path, moved: Path, call: Call) -> None:
    before = stored_name(moved / "index")
    for words in (("search", "a red star"), ("highlights",), ("update",), ("index", made / "films")):
        code, _, err = call(*words, "--index", moved / "index", "--model", "mova-worlds-small")
        assert code == 1, words
        assert "fingerprint" in err
        assert "Nothing was changed" in err
    code, _, err = call("search", "a star", "--index", moved / "index", "--model", moved / "nowhere")
    assert (code, "no such folder" in err) == (1, True)
    with pytest.raises(IndexMismatchError):
        Index(moved / "index", "mova-worlds-small").adopt()
    assert stored_name(moved / "index") == before


def test_the_default_model_of_the_environment_renames_nothing(
    made: Path, moved: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOVA_MODEL", str(moved / "new"))
    before = stored_name(moved / "index")
    film = next((made / "films").glob("*.mp4"))
    for words in (("search", "a red star"), ("align", film, "--text", "A star moves.")):
        call(*words, "--index", moved / "index")
        assert stored_name(moved / "index") == before


def test_a_loaded_model_renames_only_one_that_is_gone(made: Path, moved: Path) -> None:
    model = mova.load(moved / "new")
    shutil.copytree(moved / "new", made / "model")
    try:
        assert not Index(moved / "index", model).adopt()
    finally:
        shutil.rmtree(made / "model")
    assert Index(moved / "index", model).adopt()
    assert stored_name(moved / "index") == str(moved / "new")


def test_the_name_lasts_through_writes_and_tidying(made: Path, moved: Path) -> None:
    index = Index(moved / "index", str(moved / "new"))
    assert index.adopt()
    index.versions.keep("adopted")
    index.remove(sorted((made / "films").glob("*.mp4"))[0])
    assert len(index.add(made / "films").indexed) == 1
    index._store.tidy(last=True)
    index.versions.restore("adopted")
    index.refresh()
    assert stored_name(moved / "index") == str(moved / "new")
    assert not Index(moved / "index").verify().problems


def test_an_index_that_cannot_be_written_is_searched_with_the_new_folder(
    moved: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def refused(folder: Path) -> Iterator[None]:
        raise UsageError(f"{folder}: cannot write to this folder (Read-only file system); choose another one")
        yield

    monkeypatch.setattr("mova.search.storage.tables.sole_writer", refused)
    before = stored_name(moved / "index")
    code, out, err = call("search", PARAGRAPH, "--index", moved / "index", "--model", moved / "new", "--json")
    assert code == 0, err
    assert json.loads(out)["results"]
    assert err.count(f"but it keeps {before} as its model: cannot write") == 1
    assert stored_name(moved / "index") == before


def test_several_indexes_take_the_new_folder_together(moved: Path) -> None:
    shutil.copytree(moved / "index", moved / "other", copy_function=shutil.copy2)
    together = ShardedIndex([moved / "index", moved / "other", moved / "missing"], str(moved / "new"))
    assert together.adopt()
    assert together.search(PARAGRAPH)
    assert stored_name(moved / "index") == stored_name(moved / "other") == str(moved / "new")
    assert not ShardedIndex([moved / "index"], str(moved / "new")).adopt()
