"""Results in notebooks: what the HTML says, that texts in it are escaped, data frames, and pictures."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mova.errors import UsageError
from mova.eval.protocols import find_protocol
from mova.eval.report import Report
from mova.eval.score_files import ScoreMatrix
from mova.eval.score_reports import report_matrix
from mova.plots.notebook import MOST_ROWS
from mova.search.narrow.answer import Answer
from mova.types import Moment, MomentSentence, OrderChoice, ScoredSpan, SentenceTimeline, Span, Timeline

EVIL = "<script>alert('x')</script>\"&\udcff"
VOID = {"rect"}


class Strict(HTMLParser):
    """Collects texts and tags, and fails if tags are not balanced."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def timeline(text: str = "A dog runs.", video: str = "films/a.mp4") -> Timeline:
    curve = np.linspace(0, 1, 10, dtype=np.float32)
    spans = (ScoredSpan(Span(2.0, 4.0), 0.7, 0.9), ScoredSpan(Span(6.0, 7.0), 0.4, 0.3))
    rows = (
        SentenceTimeline(text, curve, spans, curve, shown=0.95, false_alarm=0.01),
        SentenceTimeline("It sleeps.", curve, (), curve, shown=0.1),
    )
    return Timeline(video, 10.0, np.arange(10.0), rows, (Span(0.0, 2.0),), OrderChoice("ordered"), 1.0)


def answer(evidence: str | None = "strong") -> Answer:
    inside = (MomentSentence("It barks.", 2.0, 3.0, 0.8),)
    return Answer([Moment("films/a.mp4", 1.0, 3.5, 0.25, inside, 0.01, evidence), Moment("b.mp4", 61.0, 62.0, 0.2)])


@pytest.fixture(scope="module")
def report() -> Report:
    scores = np.random.default_rng(0).normal(size=(30, 30)) + 2 * np.eye(30)
    return report_matrix(ScoreMatrix(scores), find_protocol("pairs"))


def test_a_timeline_shows_sentences_spans_and_what_is_not_covered() -> None:
    page = Strict(timeline()._repr_html_())
    for text in ("a.mp4 (0:10)", "A dog runs.", "0:02.0 to 0:04.0, 90%", "probably not shown", "0:00.0 to 0:02.0"):
        assert text in page.text
    assert "in temporal order" in page.text
    widths = [float(value or 0) for name, value in page.attributes if name == "width"]
    assert 52.0 in widths, "two of ten seconds of 260 pixels"


def test_moments_and_answers_show_what_was_found() -> None:
    page = Strict(answer()._repr_html_())
    for text in ("a.mp4", "0:01.0 to 0:03.5", "0.250", "strong", "It barks.", "1:01.0 to 1:02.0"):
        assert text in page.text
    assert "0.750" in Strict(Moment("a.mp4", 0.0, 1.0, 0.75)._repr_html_()).text
    assert "No moments." in Strict(Answer()._repr_html_()).text
    nothing = answer()
    nothing.evidence = "none"
    assert "Nothing here shows that" in Strict(nothing._repr_html_()).text


def test_a_report_shows_its_figures(report: Report) -> None:
    page = Strict(report._repr_html_())
    assert "30 queries" in page.text
    assert f"{report.directions['t2v'].figures['R@1']:.2f}" in page.text


def test_every_text_is_escaped(report: Report) -> None:
    moments = Answer([Moment(EVIL, 0.0, 1.0, 0.5, (MomentSentence(EVIL, 0.0, 1.0, 0.5),), 0.1, "weak")])
    for value in (timeline(EVIL, EVIL), moments, moments[0]):
        html = value._repr_html_()
        page = Strict(html)
        assert "script" not in page.tags
        assert "alert('x')" in page.text
        html.encode("utf-8")


def test_long_tables_are_cut_and_say_so() -> None:
    moments = Answer([Moment("a.mp4", float(i), i + 1.0, 0.5) for i in range(MOST_ROWS + 7)])
    page = Strict(moments._repr_html_())
    assert page.tags.count("tr") == MOST_ROWS + 1
    assert "7 more rows are not shown" in page.text


def test_data_frames_have_one_row_per_span_moment_and_figure(report: Report) -> None:
    pandas = pytest.importorskip("pandas")
    frame = timeline().to_pandas()
    assert frame["start"].tolist()[:2] == [2.0, 6.0]
    assert pandas.isna(frame["start"][2])
    assert frame["sentence"].tolist() == [1, 1, 2]
    assert answer().to_pandas()["score"].tolist() == [0.25, 0.2]
    figures = report.to_pandas().set_index(["part", "metric"])
    assert figures.loc[("t2v", "R@1"), "value"] == report.directions["t2v"].figures["R@1"]
    assert figures.loc[("v2t", "MdR"), "low"] == report.directions["v2t"].intervals["MdR"].low
    assert set(figures["queries"]) == {30}


def test_without_pandas_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        answer().to_pandas()


def test_plots_are_pictures_that_can_be_saved(report: Report, worlds_manifest: Path, tmp_path: Path) -> None:
    video = str(next(worlds_manifest.parent.glob("*.mp4")))
    found = Answer([Moment(video, 1.0, 3.0, 0.5)])
    values: dict[str, Any] = {
        "timeline": timeline(video=video),
        "frames": timeline(video=""),
        "moments": found,
        "moment": found[0],
        "report": report,
    }
    for name, value in values.items():
        path = tmp_path / f"{name}.png"
        picture = value.plot(path)
        assert Image.open(path).size == Image.open(io.BytesIO(picture._repr_png_())).size
        assert value.plot().save(tmp_path / "again.png").read_bytes() == path.read_bytes()
    assert "<html" in (values["timeline"].plot(tmp_path / "line.html") and (tmp_path / "line.html").read_text())
    for value in values.values():
        with pytest.raises(UsageError, match="extension"):
            value.plot(tmp_path / "picture.gif")
    with pytest.raises(UsageError, match=r"must be .png"):
        report.plot().save(tmp_path / "report.jpg")
