"""A page of moments: nothing is loaded from elsewhere, every text is text, and videos are found where they are."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from mova.plots.page.content import Card, Section, answer_section
from mova.plots.page.document import address_of, write_page
from mova.scoring.false_alarm import FalseAlarms
from mova.search.evidence import Answer
from mova.types import Moment, MomentSentence
from mova.worlds.slideshow import write_slideshow

NAMES = ("red", "blue")


class Reader(HTMLParser):
    """Collects elements with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def cards(self) -> list[dict[str, str]]:
        return [values for tag, values in self.elements if tag == "a" and "card" in values.get("class", "").split()]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / 'a "<b>" #1%.mp4'
    colors = np.array([[220, 20, 20], [20, 20, 220]], dtype=np.uint8)
    write_slideshow(path, [np.broadcast_to(c, (36, 64, 3)).copy() for c in colors], seconds=2, fps=5, size=(64, 36))
    return path


def page(path: Path, *sections: Section, **options: object) -> Reader:
    write_page(path, sections, **options)  # type: ignore[arg-type]
    return Reader(path.read_text(encoding="utf-8"))


def alarms() -> FalseAlarms:
    return FalseAlarms(10, 10, 0.0, np.linspace(1, 0, 200))


def test_every_text_is_text_and_nothing_is_loaded_from_elsewhere(film: Path, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>\"' onload=x & </style>"
    row = MomentSentence(evil, 0.5, 1.0, 0.9)
    card = Card(str(film), 0.5, 3.0, "strong", evil, (row,))
    read = page(tmp_path / "page.html", Section(evil, (card,), evil, evil), title=evil, source=evil)
    assert [tag for tag, _ in read.elements].count("script") == 1
    assert not any(name.startswith("on") for _, values in read.elements for name in values)
    for _, values in read.elements:
        for name in ("src", "href", "poster", "action"):
            assert urlsplit(values.get(name, "")).scheme in ("", "data", "file")
    assert read.text.count("alert(1)") >= 4
    assert json.loads(read.cards()[0]["data-sentences"]) == [[evil, "0:00", 0.5, 1.0]]


def test_the_policy_allows_this_script_alone(film: Path, tmp_path: Path) -> None:
    text_path = tmp_path / "page.html"
    read = page(text_path, Section("red", (Card(str(film), 0, 2),)))
    policy = next(values["content"] for tag, values in read.elements if values.get("http-equiv"))
    script = re.search(r"<script>(.*)</script>", text_path.read_text(encoding="utf-8"), re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_cards_link_to_the_file_at_the_moment_even_without_scripts(film: Path, tmp_path: Path) -> None:
    read = page(tmp_path / "page.html", Section("red", (Card(str(film), 0.25, 2),)), durations={str(film): 4.0})
    (card,) = read.cards()
    address = urlsplit(card["href"])
    assert (address.scheme, unquote(address.path), address.fragment) == ("file", str(film), "t=0.250,2.000")
    assert card["data-duration"] == "4.000"
    assert card["data-example"] == f"{film}@0:00.2"
    beside = page(film.parent / "page.html", Section("red", (Card(str(film), 0.25, 2),)))
    address = urlsplit(beside.cards()[0]["href"])
    assert (address.scheme, unquote(address.path)) == ("", film.name), "the folder may be moved with its page"


def test_names_that_are_not_utf_8_have_an_address() -> None:
    name = os.fsdecode(b"/films/\xff.mp4")
    assert address_of(name, Path("/films")) == "%FF.mp4"
    assert address_of(name, Path("/pages")) == "file:///films/%FF.mp4"


def test_pictures_are_those_of_the_middle_and_missing_files_cost_their_own_alone(film: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone.mp4"
    cards = (Card(str(film), 2, 4), Card(str(gone), 0, 2), Card(str(film), 0, 2), Card(str(film), 8, 9))
    read = page(tmp_path / "page.html", Section("colors", cards))
    pictures = [values["src"].split(",", 1)[1] for tag, values in read.elements if tag == "img"]
    means = [np.asarray(Image.open(io.BytesIO(base64.b64decode(p)))).mean(axis=(0, 1)).argmax() for p in pictures]
    assert means == [2, 0]
    assert [("none" in v["class"].split()) for t, v in read.elements if "thumb" in v.get("class", "").split()] == [
        False,
        True,
        False,
        True,
    ]
    assert "not found" in read.cards()[1]["data-foreign"]
    assert "file not found" in read.cards()[1]["data-facts"]
    assert "file not found" not in read.cards()[0]["data-facts"]


def test_an_answer_that_is_no_evidence_says_so_before_the_nearest(film: Path, tmp_path: Path) -> None:
    moment = Moment(str(film), 0, 2, 0.5, false_alarm=0.42, evidence="none")
    section = answer_section("a volcano", Answer([moment], alarms()))
    read = page(tmp_path / "page.html", section, searched=3)
    assert "Nothing here shows that." in read.text
    assert "in 42 % of cases" in read.text
    assert "No evidence in 3 videos; 1 nearest moment" in read.text
    assert "faint" in read.cards()[0]["class"].split()
    assert not any("divider" in values.get("class", "") for _, values in read.elements)


def test_a_line_is_drawn_where_evidence_ends(film: Path, tmp_path: Path) -> None:
    words = ("strong", "weak", "none", "none")
    cards = tuple(Card(str(film), at, at + 0.5, word) for at, word in enumerate(words))
    read = page(tmp_path / "page.html", Section("red", cards), searched=3)
    order = [v["class"] for _, v in read.elements if {"card", "divider"} & set(v.get("class", "").split())]
    assert order == ["card", "card", "divider", "card faint", "card faint"]
    assert "2 moments in 1 video, of 3 searched" in read.text


def test_no_moment_at_all_is_a_page_too(tmp_path: Path) -> None:
    read = page(tmp_path / "page.html", answer_section("red", []), searched=0)
    assert read.cards() == []
    assert "No moments." in read.text
    assert "No moment in 0 videos" in read.text
    assert "nearest moment" not in read.text


def test_a_model_that_seldom_has_evidence_is_named() -> None:
    moments = Answer([Moment("film.mp4", 1.0, 2.0, 0.3, false_alarm=0.4, evidence="none")], alarms())
    section = answer_section("a dog", moments, "mova-natural")
    assert section.verdict == "No evidence that anything here shows that."
    assert "mova-natural has evidence for only 10% of what videos show" in section.reason
    assert answer_section("a dog", moments, "another").verdict == "Nothing here shows that."
