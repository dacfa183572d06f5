"""`mova search`: by example, and moments written to files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mova.models import registry
from tests.support.fakes import ColourEncoder, write_colours

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def films(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(registry, "load", lambda name: ColourEncoder())
    write_colours(tmp_path / "films" / "a.mp4", [("red", 2), ("blue", 2)])
    write_colours(tmp_path / "films" / "=b.mp4", [("green", 2), ("red", 2)])
    assert call("index", tmp_path / "films", "--index", tmp_path / "index")[0] == 0
    return tmp_path / "films"


def test_a_moment_finds_others_like_it(films: Path, tmp_path: Path, call: Call) -> None:
    code, out, _ = call("search", "--like", films / "a.mp4@0:01", "-k", 1, "--json", "--index", tmp_path / "index")
    assert code == 0
    (moment,) = json.loads(out)["results"]
    assert (Path(moment["video"]).name, moment["start"], moment["end"]) == ("=b.mp4", 2.0, 4.0)
    words = ("green", "--like", films / "a.mp4@0:01", "-k", 2, "--json", "--index", tmp_path / "index")
    code, out, _ = call("search", *words)
    assert json.loads(out)["query"] == f"green like {films}/a.mp4@0:01"
    assert {Path(moment["video"]).name for moment in json.loads(out)["results"]} == {"=b.mp4"}


def test_wrong_examples_are_one_message(films: Path, tmp_path: Path, call: Call) -> None:
    for words, message in (
        (["--like", films / "a.mp4"], "name the moment of the video"),
        (["--like", films / "gone.mp4@3"], "no such file"),
        (["red", "--by", "the place"], "--by needs --like"),
        (["--like", films / "a.mp4@1", "--min-score", "0.5"], "--min-score is for the sentences of a text"),
        (["--like", films / "a.mp4@1", "--order", "no"], "--order is for the sentences of a text"),
    ):
        code, _, err = call("search", *words, "--index", tmp_path / "index")
        assert code == 2
        assert message in err


def test_moments_are_written_for_spreadsheets_and_editors(films: Path, tmp_path: Path, call: Call) -> None:
    files = {name: tmp_path / f"moments.{name}" for name in ("csv", "edl", "srt")}
    options = [word for name, path in files.items() for word in (f"--{name}", path)]
    code, _, err = call("search", "red", "-k", 2, *options, "--index", tmp_path / "index")
    assert code == 0
    assert err.count("wrote ") == 3
    rows = list(csv.DictReader(files["csv"].open(encoding="utf-8", newline="")))
    assert sorted((Path(row["video"]).name, row["start"], row["end"], row["query"]) for row in rows) == [
        ("=b.mp4", "2.000", "4.000", "red"),
        ("a.mp4", "0.000", "2.000", "red"),
    ]
    assert all(Path(row["video"]).is_file() for row in rows)
    edit_list = files["edl"].read_text()
    assert "00:00:02:00 00:00:04:00" in edit_list
    assert "* FROM CLIP NAME: a.mp4\n" in edit_list
    assert files["srt"].read_text().count("-->") == 2
    code, _, err = call("search", "red", "--csv", tmp_path / "no" / "x.csv", "--index", tmp_path / "index")
    assert code == 2, "found before the search"
    assert "--csv" in err
