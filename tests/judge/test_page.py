"""The page and the table of verdicts, and the command that writes them."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mova.cli.main import run
from mova.data.negatives.interchange import Counterfactual
from mova.judge.page import write_page
from mova.judge.table import write_csv
from mova.judge.verdict import Contradiction, OrderFault, SentenceVerdict, Verdict
from mova.types import ScoredSpan, Span
from mova.worlds.writer import write_worlds

EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_worlds(tmp_path_factory.mktemp("judge") / "films", 1, 10, "flat", seed=1, size=64).parent


class Tags(HTMLParser):
    """Counts tags and keeps all text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def verdict(video: str) -> Verdict:
    change = Counterfactual("object", EVIL, EVIL, "=" + EVIL)
    rows = (
        SentenceVerdict(EVIL, 0.1, (ScoredSpan(Span(1, 4), 0.5, 0.8),), 0.9, None, Contradiction(change, 0.9)),
        SentenceVerdict("It ends.", 0.9, (), 0.9, 0.8),
    )
    return Verdict(video, "x", 10.0, rows, (OrderFault(0, 1, 0.9),), (Span(4, 10),))


def test_everything_on_the_page_is_escaped_and_nothing_is_fetched(films: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_page([verdict(str(films / "world-flat-1-00000.mp4"))], page)
    content = page.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(content)
    assert tags.tags.count("script") == 1
    assert EVIL not in content
    assert "http://" not in content
    assert "https://" not in content
    assert "sentence 2 is shown before sentence 1" in tags.text
    assert "contradicted" in tags.text
    assert tags.tags.count("video") == 1
    assert tags.tags.count("img") > 3


def test_a_moved_video_still_has_its_verdict(tmp_path: Path) -> None:
    write_page([verdict("gone.mp4")], tmp_path / "page.html")
    assert "no picture" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_cells_that_look_like_formulas_are_guarded(tmp_path: Path) -> None:
    write_csv([verdict("a.mp4")], tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["finding"] for row in rows] == ["contradicted", "shown"]
    assert rows[0]["instead"].startswith("'=")
    assert (rows[0]["start"], rows[1]["start"]) == ("1.000", "")


def mova(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the command line, and return its exit code."""
    monkeypatch.setattr("sys.argv", ["mova", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run()
    return int(stopped.value.code or 0)


def test_the_command_writes_what_it_prints(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    video, prompts, page = films / "world-flat-1-00000.mp4", films / "prompts.csv", tmp_path / "page.html"
    prompts.write_text(
        "video,prompt,generator\nworld-flat-1-00000.mp4,Two white discs shrink.,one\nno.mp4,A.,one\n", encoding="utf-8"
    )
    options = ["--model", "mova-worlds-tiny", "--json"]
    assert (
        mova("judge", str(video), "Two white discs shrink.", "--html", str(page), *options, monkeypatch=monkeypatch)
        == 0
    )
    assert page.is_file()
    document = json.loads(capsys.readouterr().out)
    assert document["sentences"][0]["contradiction"]["instead"] == "black"
    assert mova("judge", "--prompts", str(prompts), *options, monkeypatch=monkeypatch) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["verdicts"]) == 1
    assert document["broken"][0]["video"] == "no.mp4"


@pytest.mark.parametrize(
    "arguments",
    [
        ["judge"],
        ["judge", "no.mp4"],
        ["judge", "no.mp4", "x"],
        ["judge", "--prompts", "no.csv"],
        ["judge", "--words", "n"],
    ],
)
def test_wrong_use_is_one_message_without_a_model(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mova.judge.judges.load_any", lambda *a, **k: pytest.fail("a model was loaded"))
    assert mova(*arguments, monkeypatch=monkeypatch) in (1, 2)
    assert "Traceback" not in capsys.readouterr().err
