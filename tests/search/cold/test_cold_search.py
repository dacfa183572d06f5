"""Searches from the snapshot and the exported text tower equal those of the model and the tables, and load neither."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mova.search.cold.snapshot import Snapshot
from mova.search.evidence import Answer
from mova.search.index import Index
from mova.search.storage.store import Store
from mova.types import Moment

Call = Callable[..., tuple[int, str, str]]
HEAVY = [
    "torch",
    "transformers",
    "lancedb",
    "pyarrow",
    "scipy",
    "sklearn",
    "matplotlib",
    "av",
    "PIL",
    "huggingface_hub",
]
PARAGRAPH = "A red star moves left. Then a blue square grows. A green circle stands still."
WINDOWS = "red star blue square green circle moves left and then grows and turns around"
QUERIES = ("a red star moves left", PARAGRAPH, WINDOWS)


@pytest.fixture(scope="module")
def folder(worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("cold") / "index"
    Index(target, "mova-worlds-tiny").add([worlds_manifest.parent])
    return target


def slow(folder: Path, text: str, **options: object) -> list[Moment]:
    """The answer of the model and the tables."""
    index = Index(folder)
    _ = index.model
    index._reader = lambda: Store(folder)  # type: ignore[method-assign]
    return index.search(text, **options)  # type: ignore[arg-type]


def assert_equal(fast: list[Moment], other: list[Moment]) -> None:
    assert [(m.video, m.start, m.end) for m in fast] == [(m.video, m.start, m.end) for m in other]
    assert [m.score for m in fast] == pytest.approx([m.score for m in other], abs=2e-5)
    assert [m.evidence for m in fast] == [m.evidence for m in other]
    assert [m.false_alarm for m in fast] == pytest.approx([m.false_alarm for m in other], rel=1e-3)
    assert isinstance(fast, Answer)
    assert isinstance(other, Answer)
    assert fast.background is not None
    assert other.background is not None
    assert fast.background.to_json() == other.background.to_json()
    assert (fast.evidence, fast.bar) == (other.evidence, other.bar)


@pytest.mark.parametrize("text", QUERIES)
@pytest.mark.parametrize("options", [{}, {"k": 1000}, {"rescore": "none"}, {"rescore": "rule"}, {"min_score": 0.3}])
@pytest.mark.parametrize("order", ["no", "auto"])
def test_answers_equal_those_of_the_model_and_the_tables(
    text: str, order: str, options: dict[str, object], folder: Path
) -> None:
    index = Index(folder)
    fast = index.search(text, order=order, **options)  # type: ignore[arg-type]
    by_model = text == PARAGRAPH and order == "auto"  # its sentences are aligned
    assert ("model" in index.__dict__) == by_model
    assert "_store" not in index.__dict__
    assert fast or "min_score" in options
    assert_equal(fast, slow(folder, text, order=order, **options))


def test_masks_are_refused_as_by_the_model(folder: Path) -> None:
    with pytest.raises(ValueError, match="mova-worlds-tiny has no frame masks"):
        Index(folder).search("a star", rescore="masks")


def run(*words: object) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print('LOADED', *[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr))\n"
        "from mova.cli.main import run\nrun()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_cold_search_loads_no_heavy_library(folder: Path, worlds_manifest: Path) -> None:
    done = run("search", "a", "red", "star", "--index", folder, "--json")
    assert done.returncode == 0
    assert done.stderr.strip() == "LOADED"
    assert json.loads(done.stdout)["query"] == "a red star"
    assert json.loads(done.stdout)["results"]
    for words in (
        ("search", PARAGRAPH, "--index", folder, "--order", "no"),
        ("search", "a star", "--folder", worlds_manifest.parent, "--after", "2001", "--page", "2", "--index", folder),
        ("index", worlds_manifest.parent, "--index", folder),
        ("status", "--index", folder),
        ("list", "--index", folder),
        ("models",),
        ("--help",),
    ):
        done = run(*words)
        assert done.returncode == 0, done.stderr
        assert done.stderr.strip().splitlines()[-1] == "LOADED", words


def test_a_missing_index_loads_no_heavy_library(tmp_path: Path) -> None:
    done = run("search", "a star", "--index", tmp_path / "nowhere")
    assert done.returncode == 2
    assert "no index here; create one with" in done.stderr
    assert done.stderr.strip().splitlines()[-1] == "LOADED"


def test_the_prompt_answers_until_an_empty_line(folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = iter(["a red star", "...", "a blue square", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(queries))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    code, out, err = call("search", "--index", folder, "-k", "2", "--json")
    assert code == 0
    decoder, documents = json.JSONDecoder(), []
    while out.strip():
        document, end = decoder.raw_decode(out.strip())
        documents.append(document)
        out = out.strip()[end:]
    assert [document["query"] for document in documents] == ["a red star", "a blue square"]
    assert "has no words" in err or "no letter" in err or "contains no" in err


def test_the_prompt_needs_an_index_and_overwrites_no_file(
    folder: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: pytest.fail("asked"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    code, _, err = call("search", "--index", tmp_path / "nowhere")
    assert (code, "no index here" in err) == (2, True)
    code, _, err = call("search", "--index", folder, "--csv", tmp_path / "a.csv")
    assert code == 2
    assert "--csv is for one query" in err


def test_without_a_text_and_a_terminal_it_is_an_error(folder: Path, call: Call) -> None:
    code, _, err = call("search", "--index", folder)
    assert code == 2
    assert "either as TEXT or with --text-file" in err


def test_a_removed_video_is_not_found_any_more(worlds_manifest: Path, tmp_path: Path) -> None:
    index = Index(tmp_path / "index", "mova-worlds-tiny")
    index.add([worlds_manifest.parent])
    videos = [video.path for video in index.videos()]
    index.remove(videos[:9])
    assert Snapshot.open(tmp_path / "index") is not None
    assert {moment.video for moment in Index(tmp_path / "index").search("a star", k=50)} == {videos[9]}


def test_the_rates_of_the_first_process_are_those_of_the_next(worlds_manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    index = Index(folder, "mova-worlds-tiny")
    index.add([worlds_manifest.parent])
    (folder / "false_alarms.json").unlink()
    first = Index(folder).search("a red star", order="no")
    assert (folder / "false_alarms.json").exists()
    second = Index(folder).search("a red star", order="no")
    assert [m.false_alarm for m in first] == [m.false_alarm for m in second]
    assert first.background is not None
    assert second.background is not None
    np.testing.assert_array_equal(first.background.maxima, second.background.maxima)
    assert first.background.growth == second.background.growth


def test_a_tower_that_cannot_be_opened_is_reported_and_the_model_answers(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "index"
    shutil.copytree(folder, copy, copy_function=shutil.copy2)
    expected = Index(copy).search("a red star", order="no")
    for pattern in ("model-*", "tokenizer-*", "table-*"):
        path = next((copy / "text_tower").glob(pattern))
        sound = path.read_bytes()
        path.write_bytes(b"x" * len(sound))
        caplog.clear()
        index = Index(copy)
        assert_equal(index.search("a red star", order="no"), expected)
        assert "model" in index.__dict__, pattern
        assert "cannot be opened" in caplog.text
        path.write_bytes(sound)


def test_a_refresh_with_nothing_to_write_takes_no_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, locks = Index(folder), []
    _ = index.model
    real = Store.lock
    monkeypatch.setattr(Store, "lock", lambda store: (locks.append(store), real(store))[1])
    index.search("a red star")
    index.refresh()
    assert locks == []
    store = Store(folder)
    store.append(["e" * 32], [next(iter(store.fetch([index.videos()[0].content]).values()))])
    locks.clear()
    index.refresh()
    assert len(locks) == 1
    store.sweep()
    Index(folder).refresh()
    assert Snapshot.open(folder) is not None


def test_a_search_after_a_killed_run_reads_the_tables(folder: Path, tmp_path: Path) -> None:
    expected = Index(folder).search("a red star")
    store = Store(folder)
    store.append(["f" * 32], [next(iter(store.fetch([Index(folder).videos()[0].content]).values()))])
    assert Snapshot.open(folder) is None
    index = Index(folder)
    assert_equal(index.search("a red star"), expected)
    index.refresh()
    assert Snapshot.open(folder) is not None
    store.sweep()
    Index(folder).refresh()
    assert_equal(Index(folder).search("a red star"), expected)
