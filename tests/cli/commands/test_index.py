"""`mova index` and `mova search` on the command line: suffixes passed over, forgotten paths, moved files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mova.models import registry
from mova.search.index import Index
from mova.utils.files import find_videos
from tests.support.fakes import ColourEncoder, write_colours

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda name: ColourEncoder())


@pytest.fixture
def films(tmp_path: Path) -> Path:
    write_colours(tmp_path / "films" / "a.mp4", [("red", 2), ("blue", 2)])
    return tmp_path / "films"


def test_suffixes_passed_over_are_counted_and_named_once(films: Path, tmp_path: Path, call: Call) -> None:
    for name in ("one.txt", "two.TXT", "noise", ".hidden.txt"):
        (films / name).write_text("no video")
    write_colours(films / "odd.mp4", [("green", 1)]).rename(films / "odd.xyz")
    code, out, err = call("index", films, "--index", tmp_path / "index")
    assert code == 0
    assert "1 indexed" in out
    assert (
        err.count("passed over: 2 .txt, 1 without a suffix, 1 .xyz; not known as videos, `mova index --all` tries them")
        == 1
    )
    code, out, err = call("index", films, "--index", tmp_path / "index", "--json")
    assert json.loads(out)["passed_over"] == {".txt": 2, "": 1, ".xyz": 1}
    code, out, err = call("index", films, "--index", tmp_path / "index", "--json", "--all")
    report = json.loads(out)
    assert report["passed_over"] == {}
    assert [Path(path).name for path in report["indexed"]] == ["odd.xyz"]
    assert {Path(row["path"]).name for row in report["failed"]} == {"one.txt", "two.TXT", "noise"}


def test_files_of_cameras_are_known(tmp_path: Path) -> None:
    suffixes = "264 265 3GP 3gpp MTS dav h265 insv lrv m2t m2ts mod mp4v nut qt tod trp"
    for suffix in suffixes.split():
        (tmp_path / f"clip.{suffix}").touch()
    assert [path.suffix[1:] for path in find_videos([tmp_path])] == suffixes.split()


def test_no_known_suffix_at_all_is_an_error_that_names_the_others(tmp_path: Path, call: Call) -> None:
    (tmp_path / "notes.txt").touch()
    code, _, err = call("index", tmp_path, "--index", tmp_path / "index")
    assert code == 2
    assert "passed over: 1 .txt; not known as videos, `mova index --all` tries them" in err


def test_a_moved_file_is_named_and_can_be_forgotten(films: Path, tmp_path: Path, call: Call) -> None:
    index = tmp_path / "index"
    Index(index, ColourEncoder()).add([films])
    films.rename(tmp_path / "moved")
    code, out, err = call("search", "red", "--index", index, "--export", tmp_path / "out")
    assert code == 1
    assert str(films / "a.mp4") in out
    assert "of these videos no longer exist" in err
    assert "moved or deleted since it was indexed" in err
    code, out, err = call("index", "--forget", tmp_path / "elsewhere", "--index", index)
    assert code == 2
    assert "has no files at" in err
    code, out, err = call("index", "--forget", films, "--index", index, "--json")
    assert json.loads(out) == {"index": str(index), "forgotten": [str(films / "a.mp4")]}
    assert Index(index).videos() == []


def test_verify_reads_everything_and_names_what_is_damaged(films: Path, tmp_path: Path, call: Call) -> None:
    index = tmp_path / "index"
    code, _, err = call("index", "--verify", "--index", index)
    assert code == 2
    assert "no index here" in err
    code, _, err = call("index", "--index", index)
    assert code == 2
    assert "at least one PATH" in err
    call("index", films, "--index", index)
    code, out, _ = call("index", "--verify", "--index", index)
    assert code == 0
    assert "sound (1 videos, 16 frames, " in out
    cached = next((index / "snapshot").glob("codes-*"))
    cached.write_bytes(bytes(cached.stat().st_size))
    code, out, err = call("index", "--verify", "--index", index, "--json")
    assert code == 1
    report = json.loads(out)
    assert (report["sound"], report["problems"]) == (False, [])
    assert report["caches"] == [
        f"snapshot/{cached.name} was changed: delete its folder, the next search or `mova index` makes it again"
    ]
    assert "the stored videos are sound (1 videos, 16 frames)" in err
    assert "Delete this folder" not in err
    next(index.glob("frames.lance/data/*.lance")).write_bytes(b"x" * 100)
    code, out, err = call("index", "--verify", "--index", index, "--json")
    assert code == 1
    report = json.loads(out)
    assert not report["sound"]
    assert "was changed" in report["problems"][0]
    assert err.count("Delete this folder and make it again with") == 1
    for words in (("search", "red"), ("index", films)):
        code, _, err = call(*words, "--index", index)
        assert code in (0, 1)  # `mova index` may find that nothing has to be read
        if code:
            assert err.count("the index is damaged") == 1


def test_the_name_of_a_missing_file_stays_on_one_line(films: Path, tmp_path: Path, call: Call) -> None:
    odd = (films / "a.mp4").rename(films / "a\nb.mp4")
    Index(tmp_path / "index", ColourEncoder()).add([films])
    odd.unlink()
    _, _, err = call("search", "red", "--index", tmp_path / "index")
    assert r"a\nb.mp4)" in err
    assert "a\nb" not in err


def test_a_file_that_is_not_read_to_its_end_is_a_warning(films: Path, tmp_path: Path, call: Call) -> None:
    first = next(path for path in sorted(films.rglob("*.mp4")))
    joined = tmp_path / "joined.mp4"
    joined.write_bytes(first.read_bytes() * 2)
    words = ("index", joined, "--model", "mova-worlds-tiny", "--index", tmp_path / "i")
    code, _, err = call(*words)
    assert code == 0
    assert f"joined.mp4: {first.stat().st_size} bytes after the end of the video are not read" in err
    code, out, _ = call(*words[:-1], tmp_path / "j", "--json")
    assert [row["path"] for row in json.loads(out)["warnings"]] == [str(joined)]


def test_a_query_may_be_a_file_of_subtitles(films: Path, tmp_path: Path, call: Call) -> None:
    assert call("index", films, "--index", tmp_path / "i")[0] == 0
    cues = tmp_path / "film.srt"
    cues.write_text("1\n00:00:00,000 --> 00:00:01,000\nIt is red.\n\n2\n00:00:02,000 --> 00:00:03,000\nIt is blue.\n")
    words = ("--index", tmp_path / "i", "--json")
    code, out, _ = call("search", "--text-file", cues, *words)
    assert code == 0
    assert json.loads(out)["query"] == "It is red.\nIt is blue."
    assert json.loads(out)["results"] == json.loads(call("search", "It is red.\nIt is blue.", *words)[1])["results"]
    for wrong in (("red", "--text-file", cues), ()):
        code, _, err = call("search", *wrong, *words)
        assert (code, "either as TEXT or with --text-file" in err) == (2, True)
    code, _, err = call("search", "--text-file", tmp_path / "gone.txt", *words)
    assert (code, "gone.txt" in err) == (2, True)
