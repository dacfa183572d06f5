"""`mova highlights`: a table, JSON, a page; wrong words before anything is read."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mova.models import registry
from mova.scoring.false_alarm import FalseAlarms
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
    row = next(csv.DictReader(table.open(encoding="utf-8")))
    assert (row["query"], row["start"], row["end"]) == ("least typical", "8.000", "10.000")
    assert 0 < float(row["distance"]) < 2
    assert len(list(clips.glob("*.mp4"))) == 1
    document = json.loads(call("highlights", "--index", folder, "--top", 1, "--json")[1])
    assert document["query"] is None
    assert document["method"] == "distance"
    assert [(row["start"], row["end"]) for row in document["results"]] == [(8.0, 10.0)]


def test_among_the_answers_to_a_query(folder: Path, call: Call) -> None:
    code, out, _ = call("highlights", "a", "red", "thing", "--index", folder, "--json")
    assert code == 0
    assert json.loads(out)["query"] == "a red thing"


@pytest.mark.parametrize(("bar", "evidence"), [(0.0001, "none"), (0.9999, "weak")])
def test_whether_anything_shows_the_query_is_said_and_the_scores_are_distances(
    folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch, bar: float, evidence: str
) -> None:
    alarms = FalseAlarms(1000, 1000, 0.0, np.linspace(1.2, 0.2, 40))
    monkeypatch.setattr("mova.search.evidence.Background.of_selection", lambda *_: alarms)
    monkeypatch.setattr("mova.search.evidence.Background.measured", lambda *_: alarms)
    words = ("highlights", "red", "--index", folder, "--false-alarm", bar, "--top", 2)
    code, out, err = call(*words, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert (document["evidence"], document["false_alarm_bar"], document["method"]) == (evidence, bar, "distance")
    scores = [row["score"] for row in document["results"]]
    assert scores == sorted(scores, reverse=True)
    assert document["compared"] >= 2
    assert scores[0] < 0.3, "distances of red moments, not cosines"
    page = folder.parent / "found.html"
    _, out, _ = call(*words, "--html", page)
    none = f"here shows that (--false-alarm {bar:g}); the least typical of the "
    said = none if evidence == "none" else "moments that show that"
    assert said in out
    assert said in page.read_text(encoding="utf-8")
    assert "distance" in out


def test_a_bar_needs_a_query(folder: Path, call: Call) -> None:
    code, _, err = call("highlights", "--index", folder, "--false-alarm", 0.1)
    assert (code, "give a TEXT" in err) == (2, True)
    code, _, err = call("highlights", "red", "--index", folder, "--false-alarm", 2)
    assert (code, "must be between 0 and 1" in err) == (2, True)


def test_an_empty_index_is_named_as_the_cause(folder: Path, call: Call) -> None:
    assert call("forget", folder.parent / "films", "--index", folder)[0] == 0
    for words in (("search", "red"), ("highlights",), ("highlights", "red"), ("versions",)):
        code, out, err = call(*words, "--index", folder)
        assert (code, out) == (0, ""), words
        assert "the index has no videos" in err, words


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
