"""`mova search` and `mova align` say whether videos show a text at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mova.models import registry
from mova.search.index import Index
from tests.support.fakes import NAMES, ColourEncoder, write_colours

Call = Callable[..., tuple[int, str, str]]


class Described(ColourEncoder):
    """A colour encoder with background sentences about green and another colour, in several proportions."""

    background = tuple(f"{'green ' * n}and {name}" for name in NAMES if name != "green" for n in range(1, 6))


@pytest.fixture(autouse=True)
def described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda *_, **__: Described())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of one film. No test changes it; what they add is beside it."""
    place = tmp_path_factory.mktemp("library")
    write_colours(place / "films" / "a.mp4", [("red", 2), ("blue", 2)])
    Index(place / "index", Described()).add(place / "films")
    return place / "index"


def test_indexing_measures_the_background_once(folder: Path, call: Call) -> None:
    measured = (folder / "false_alarms.json").read_bytes()
    assert json.loads(measured)["alarms"]["frames"] == 16
    assert call("index", folder.parent / "films", "--index", folder)[0] == 0
    assert (folder / "false_alarms.json").read_bytes() == measured


def test_a_text_that_is_shown_has_evidence(folder: Path, call: Call) -> None:
    code, out, err = call("search", "red", "--index", folder, "-k", 1)
    assert code == 0
    assert "nothing here" not in out + err
    assert "strong" in out
    document = json.loads(call("search", "red", "--index", folder, "-k", 1, "--json")[1])
    assert document["evidence"] == document["results"][0]["evidence"] == "strong"
    assert document["false_alarm"] == document["results"][0]["false_alarm"] < 0.01


def test_a_text_that_is_not_shown_gets_the_nearest_and_the_word(folder: Path, call: Call) -> None:
    code, out, _ = call("search", "green", "--index", folder, "-k", 1)
    assert code == 0, "the exit code is that of a search that worked"
    assert out.startswith("nothing here shows that: texts about something else score as high in ")
    assert "nearest, not evidence" in out
    assert "a.mp4" in out
    document = json.loads(call("search", "green", "--index", folder, "-k", 1, "--json")[1])
    assert document["evidence"] == "none"
    assert document["false_alarm"] > 0.5
    lenient = json.loads(call("search", "green", "--index", folder, "--false-alarm", "0.999", "--json")[1])
    assert lenient["false_alarm_bar"] == 0.999


def test_a_model_that_seldom_detects_is_named_instead_of_the_videos(
    folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mova.models.known.seldom_detects", lambda name: 0.098)
    out = call("search", "green", "--index", folder, "-k", 1)[1]
    assert out.startswith("no evidence that anything here shows that: ")
    assert "recognizes only 10%" in out


def test_an_edit_list_has_the_rate_of_a_video_that_can_be_read_or_says_that_there_is_none(
    tmp_path: Path, call: Call
) -> None:
    first = write_colours(tmp_path / "films" / "a.mp4", [("red", 2.5)], fps=30)
    second = write_colours(tmp_path / "films" / "b.mp4", [("red", 1.5), ("blue", 1)], fps=30)
    index, edl = tmp_path / "index", tmp_path / "found.edl"
    assert call("index", tmp_path / "films", "--index", index)[0] == 0
    written = []
    for gone in (None, first, second):
        if gone is not None:
            gone.unlink()
        code, _, err = call("search", "red", "--index", index, "--edl", edl)
        assert code == 0
        assert ("no video can be read" in err) == (gone == second)
        written.append(edl.read_text())
    assert ":15 " in written[0], "half a second at 30 frames per second"
    assert written[0] == written[1]
    assert ":15 " not in written[2]


@pytest.mark.parametrize("bar", ["0", "1", "5", "nan"])
def test_a_bar_that_is_no_rate_is_an_error(folder: Path, call: Call, bar: str) -> None:
    code, _, err = call("search", "red", "--index", folder, "--false-alarm", bar)
    assert code != 0
    assert "between 0 and 1" in err


def test_align_reports_the_evidence_for_each_sentence(folder: Path, call: Call) -> None:
    film = folder.parent / "films" / "a.mp4"
    code, out, _ = call("align", film, "--text", "It is red. It is green.", "--json", "--no-curves")
    red, green = json.loads(out)["sentences"]
    assert code == 0
    assert red["false_alarm"] < 0.01
    assert green["false_alarm"] > 0.5
    _, out, _ = call("align", film, "--text", "It is red. It is green.")
    rows = [line for line in out.splitlines() if "It is" in line]
    assert ["strong" in rows[0], "strong" in rows[1]] == [True, False]


def test_a_page_of_the_answer_and_its_folder_is_checked_before_anything_is_searched(folder: Path, call: Call) -> None:
    page = folder.parent / "found.html"
    code, _, err = call("search", "green", "--index", folder, "--html", page)
    assert code == 0
    assert f"wrote {page}" in err
    text = page.read_text(encoding="utf-8")
    assert "Nothing here shows that." in text
    assert 'href="films/a.mp4#t=' in text
    assert text.count("data:image/jpeg") == text.count('<span class="thumb">') > 0
    for missing in (folder.parent / "no" / "found.html", folder):
        code, out, err = call("search", "green", "--index", "no-index", "--html", missing)
        assert (code, out) == (2, "")
        assert f"--html {missing}: " in err


def test_options_narrow_the_search(tmp_path: Path, call: Call) -> None:
    write_colours(tmp_path / "films" / "a.mp4", [("red", 2), ("blue", 2)])
    write_colours(tmp_path / "films" / "deep" / "b.mp4", [("blue", 3), ("red", 3)])
    folder = tmp_path / "index"
    assert call("index", tmp_path / "films", "--index", folder)[0] == 0

    def found(*options: object) -> list[str]:
        code, out, err = call("search", "red", "--index", folder, "--json", *options)
        assert code == 0, err
        return [Path(row["video"]).name for row in json.loads(out)["results"]]

    assert found("--folder", folder.parent / "films" / "deep", "--one-per-video") == ["b.mp4"]
    assert found("--folder", "deep", "--top", 1) == ["b.mp4"]
    assert found("--shorter", "0:05", "--one-per-video") == ["a.mp4"]
    assert found("--longer", 5, "--after", "2001", "--one-per-video") == ["b.mp4"]
    whole = found()
    assert found("-k", 1, "--page", 1) + found("-k", 1, "--page", 2) == whole[:2]
    assert found("--skip", 1) == whole[1:]
    for options, message in (
        (("--page", 2), "moments 2 to 2; the next: --page 3\n"),
        (("--page", 99), "the answer ends before moment 99; take an earlier page\n"),
    ):
        assert call("search", "red", "--index", folder, "-k", 1, *options)[2] == message
    document = json.loads(call("search", "red", "--index", folder, "--json", "--folder", "deep", "--skip", 1)[1])
    assert (document["filter"], document["skip"]) == ({"folders": ["deep"]}, 1)
    assert document["evidence"] == "strong", "of the moments before this page too"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--folder", "nowhere"), "the filter leaves no video: none is below nowhere"),
        (("--before", "1999"), "none are dated before 1999"),
        (("--longer", "soon"), "longer 'soon': is not a duration such as 90"),
        (("--page", 2, "--skip", 1), "--page and --skip both say where the answer begins"),
    ],
)
def test_a_filter_that_leaves_nothing_is_refused_before_the_model_is_loaded(
    options: tuple[object, ...], message: str, folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "load", lambda *_, **__: pytest.fail("loaded"))
    code, out, err = call("search", "red", "--index", folder, *options)
    assert (code, out) == (2, "")
    assert message in err


def test_a_page_after_the_last_says_so(folder: Path, call: Call) -> None:
    code, _, err = call("search", "red", "--index", folder, "--page", 9)
    assert code == 0
    assert "the answer ends before moment 81" in err


def test_several_indexes_are_searched_as_one_and_what_is_missing_is_named(folder: Path, call: Call) -> None:
    write_colours(folder.parent / "more" / "b.mp4", [("green", 2), ("red", 1)])
    other = folder.parent / "other"
    assert call("index", folder.parent / "more", "--index", other)[0] == 0
    both = ("--index", folder, "--index", other)
    assert call("index", folder.parent / "films", folder.parent / "more", "--index", folder.parent / "whole")[0] == 0
    for words in (("red",), ("green", "-k", 1), ("red", "--folder", "more"), ("red. Then green.", "--order", "no")):
        one = json.loads(call("search", *words, "--index", folder.parent / "whole", "--json")[1])
        several = json.loads(call("search", *words, *both, "--json")[1])
        assert several | {"elapsed_seconds": 0} == one | {"elapsed_seconds": 0}
    queries = folder.parent / "queries.txt"
    queries.write_text("red\ngreen\n", encoding="utf-8")
    single = ("--index", folder.parent / "whole")
    one, several = (json.loads(call("search", "--queries", queries, *where, "--json")[1]) for where in (single, both))
    assert several["queries"] == one["queries"]
    code, out, err = call("search", "red", *both, "--index", folder.parent / "none", "--json")
    assert code == 0
    assert list(json.loads(out)["unsearched"]) == [str(folder.parent / "none")]
    assert f"not searched: {folder.parent / 'none'}: no index here" in " ".join(err.split())
    code, _, err = call("search", "red", "--index", "none", "--index", "nothing")
    assert (code, "none of 2 indexes can be read" in " ".join(err.split())) == (2, True)
    assert call("search", "red", *both, "--html", folder.parent / "page.html")[0] == 0
    assert (folder.parent / "page.html").stat().st_size > 1000


def test_the_default_index_is_that_of_the_environment(
    folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "with a space").symlink_to(folder)
    monkeypatch.setenv("MOVA_INDEX", str(folder.parent / "with a space"))
    assert call("search", "red")[0] == 0


def test_a_wrong_length_is_named_by_its_option(tmp_path: Path, call: Call) -> None:
    for option, value in (("--min-length", "-1"), ("--pad", "x")):
        code, out, err = call("search", "red", "--index", tmp_path, f"{option}={value}")
        assert (code, out) == (2, "")
        assert f"{option} '{value}': is not a number of seconds" in err
