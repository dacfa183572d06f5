"""`mova highlights`: a table, JSON, a page; wrong words before anything is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mova.models import registry
from tests.search.test_highlights import film
from tests.support.fakes import ColourEncoder

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(registry, "load", lambda *_, **__: ColourEncoder(rate=2.0))
    film(tmp_path / "films" / "a.mp4", [("red", 8), ("green", 2), ("red", 8)])
    film(tmp_path / "films" / "b.mp4", [("red", 12)])
    assert call("index", tmp_path / "films", "--index", tmp_path / "index")[0] == 0
    return tmp_path / "index"


def test_the_least_typical_moment_in_all_forms(folder: Path, call: Call) -> None:
    page, table, clips = (folder.parent / name for name in ("odd.html", "odd.csv", "clips"))
    code, out, err = call(
        "highlights", "--index", folder, "--top", 1, "--html", page, "--csv", table, "--export", clips
    )
    assert code == 0, err
    assert "0:08.0" in out
    assert "0:10.0" in out
    assert "Least typical moments" in page.read_text(encoding="utf-8")
    assert table.read_text(encoding="utf-8").splitlines()[1].endswith(",8.000,10.000,least typical")
    assert len(list(clips.glob("*.mp4"))) == 1
    document = json.loads(call("highlights", "--index", folder, "--top", 1, "--json")[1])
    assert document["query"] is None
    assert document["method"] == "distance"
    assert [(row["start"], row["end"]) for row in document["results"]] == [(8.0, 10.0)]


def test_among_the_answers_to_a_query(folder: Path, call: Call) -> None:
    code, out, _ = call("highlights", "a", "red", "thing", "--index", folder, "--json")
    assert code == 0
    assert json.loads(out)["query"] == "a red thing"


def test_among_some_videos_and_after_the_first_page(folder: Path, call: Call) -> None:
    films = folder.parent / "films"
    for words, starts in ((("--folder", films / "a.mp4"), [8.0]), (("--page", 2), None)):
        document = json.loads(call("highlights", "--index", folder, "--top", 1, "--json", *words)[1])
        found = [row["start"] for row in document["results"]]
        assert found == starts if starts else found != [8.0]


def test_wrong_words_are_refused(folder: Path, call: Call) -> None:
    code, _, err = call("highlights", "--index", folder, "--method", "odd")
    assert (code, "unknown method" in err) == (2, True)
    code, _, err = call("highlights", "--index", folder.parent / "none")
    assert (code, "no index here" in err) == (2, True)
