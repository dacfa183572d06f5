"""`mova status`, `list`, `update` and `forget` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mova.models import registry
from tests.support.fakes import ColourEncoder, write_colours

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda name: ColourEncoder())


@pytest.fixture
def films(tmp_path: Path, call: Call) -> Path:
    films = tmp_path / "films"
    write_colours(films / "a.mp4", [("red", 2), ("blue", 2)])
    write_colours(films / "deep" / "b.mp4", [("green", 1)])
    (films / "copy.mp4").write_bytes((films / "a.mp4").read_bytes())
    (films / "broken.mp4").write_bytes(b"no video")
    assert call("index", films, "--index", tmp_path / "index")[0] == 0
    return films


def test_status_counts_copies_once_and_names_what_failed(films: Path, tmp_path: Path, call: Call) -> None:
    (films / "deep" / "b.mp4").unlink()
    code, out, err = call("status", "--index", tmp_path / "index", "--json")
    report = json.loads(out)
    assert code == 0
    assert {key: report[key] for key in ("videos", "contents", "frames", "seconds", "roots")} == {
        "videos": 3,
        "contents": 2,
        "frames": 20,  # 4 s and 1 s at 4 frames per second
        "seconds": 5.0,
        "roots": [str(films)],
    }
    assert report["missing"] == [str(films / "deep" / "b.mp4")]
    assert list(report["failed"]) == [str(films / "broken.mp4")]
    assert report["bytes"] == sum(path.stat().st_size for path in (tmp_path / "index").rglob("*") if path.is_file())
    code, out, err = call("status", "--index", tmp_path / "index")
    assert "3 (1 of them copies)" in out
    assert "0:05, 20 frames" in out
    assert f"missing: {films}/deep/b.mp4" in err
    assert f"failed: {films}/broken.mp4: " in err


def test_list_names_the_videos_below_a_folder(films: Path, tmp_path: Path, call: Call) -> None:
    _, out, _ = call("list", "--index", tmp_path / "index", "--json")
    rows = json.loads(out)["videos"]
    assert [(Path(row["path"]).name, row["frames"], row["seconds"], row["missing"]) for row in rows] == [
        ("a.mp4", 16, 4.0, False),
        ("copy.mp4", 16, 4.0, False),
        ("b.mp4", 4, 1.0, False),
    ]
    _, out, _ = call("list", films / "deep", "--index", tmp_path / "index", "--json")
    assert [Path(row["path"]).name for row in json.loads(out)["videos"]] == ["b.mp4"]
    (films / "a.mp4").unlink()
    _, out, _ = call("list", "--index", tmp_path / "index")
    assert f"{films}/a.mp4 (missing)" in out


def test_update_needs_no_paths(films: Path, tmp_path: Path, call: Call) -> None:
    write_colours(films / "new.mp4", [("white", 1)])
    code, out, _ = call("update", "--index", tmp_path / "index")
    assert code == 0
    assert "1 indexed, 3 unchanged, 1 skipped" in out


def test_forget_keeps_the_files(films: Path, tmp_path: Path, call: Call) -> None:
    code, out, _ = call("forget", films / "deep", "--index", tmp_path / "index")
    assert code == 0
    assert "1 forgotten" in out
    assert (films / "deep" / "b.mp4").exists()
    code, _, err = call("forget", films / "deep", "--index", tmp_path / "index")
    assert code == 2
    assert "`mova list` prints the stored paths" in err
    code, out, _ = call("update", "--index", tmp_path / "index")
    assert "2 unchanged, 1 skipped" in out
    assert " indexed" not in out


def test_a_file_that_failed_is_forgotten_without_an_error(films: Path, tmp_path: Path, call: Call) -> None:
    code, out, _ = call("forget", films / "broken.mp4", "--index", tmp_path / "index", "--json")
    assert code == 0
    assert json.loads(out)["forgotten"] == []
    assert json.loads(call("status", "--index", tmp_path / "index", "--json")[1])["failed"] == {}
    code, _, err = call("forget", films / "broken.mp4", "--index", tmp_path / "index")
    assert code == 2
    assert "has no files at" in err


@pytest.mark.parametrize("command", ["status", "list", "update", "forget"])
def test_a_missing_index_is_one_message(command: str, tmp_path: Path, call: Call) -> None:
    words = [command, "x"] if command == "forget" else [command]
    code, out, err = call(*words, "--index", tmp_path / "nowhere")
    assert code == 2
    assert out == ""
    assert "no index here; create one with `mova index PATH...` first" in err
    assert not (tmp_path / "nowhere").exists()
