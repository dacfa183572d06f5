"""Align over HTTP: the timeline of the model, corrections as rows of a manifest, exports."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

import numpy as np
from PIL import Image

from mova.data.manifest import read_manifest
from mova.search.index import Index
from tests.serve.conftest import API, Site
from tests.support.fakes import ColourEncoder

CAPTION = "A red wall. Then a blue one. Everything is green."


def align(site: Site, text: str = CAPTION, **more: Any) -> dict[str, Any]:
    answer = site.client.post(f"{site.video('a.mp4')}/align", json={"text": text, **more})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def export(site: Site, alignment: dict[str, Any], kind: str, spans: Any = None) -> bytes:
    answer = site.client.post(f"{API}/alignments/{alignment['id']}/export", json={"format": kind, "spans": spans})
    assert answer.status_code == 200, answer.text
    assert "filename*=UTF-8''a." in answer.headers["content-disposition"]
    return answer.content


def test_the_timeline_is_that_of_the_model(site: Site) -> None:
    found = align(site)
    index = Index(site.settings.index, ColourEncoder())
    stored = index.stored(site.films / "a.mp4")
    assert stored is not None
    expected = index.model.align(stored, CAPTION)
    assert [row["text"] for row in found["sentences"]] == [row.text for row in expected.sentences]
    for row, true in zip(found["sentences"], expected.sentences, strict=True):
        assert row["spans"] == [span.to_json() for span in true.spans]
        assert true.posterior is not None
        assert row["posterior"] == pytest.approx(true.posterior.tolist(), abs=1e-4)
    assert found["times"] == pytest.approx(stored.times.tolist(), abs=1e-3)
    assert [(s["start"], s["end"]) for s in found["uncovered"]] == [(s.start, s.end) for s in expected.irrelevant]
    first = found["sentences"][0]["spans"]
    assert [(span["start"], span["end"]) for span in first] == [(0.0, 2.0)]


def test_corrections_become_rows_of_a_manifest(site: Site) -> None:
    found = align(site)
    spans = [[[span["start"], span["end"]] for span in row["spans"]] for row in found["sentences"]]
    spans[0] = [[0.25, 1.75]]
    spans[2] = []
    url = f"{API}/alignments/{found['id']}/corrections"
    saved = site.client.post(url, json={"spans": spans}).json()
    assert saved["rows"] == 1
    (row,) = read_manifest(saved["manifest"])
    assert row.video == str(site.films / "a.mp4")
    (caption,) = row.captions
    assert caption.text == CAPTION
    times = {sentence.text: (sentence.start, sentence.end) for sentence in caption.sentences}
    assert times["A red wall."] == (0.25, 1.75)
    assert times["Everything is green."] == (None, None)
    assert row.meta["corrected"] == ([0, 2] if found["sentences"][2]["spans"] else [0])
    spans[0] = [[0.5, 1.5]]
    assert site.client.post(url, json={"spans": spans}).json()["rows"] == 1  # the same video and caption
    (again,) = read_manifest(saved["manifest"])
    assert again.captions[0].sentences[0].start == 0.5
    other = align(site, "Only red.")
    site.client.post(f"{API}/alignments/{other['id']}/corrections", json={"spans": [[[0, 1]]]})
    download = site.client.get(f"{API}/corrections")
    assert len(download.text.splitlines()) == 2


@pytest.mark.parametrize(
    "spans",
    [
        [],
        [[], []],
        [[[1, 1]], [], []],
        [[[2, 1]], [], []],
        [[[-1, 1]], [], []],
        [[[0, 60]], [], []],
        [[[0]], [], []],
        [[["a", "b"]], [], []],
        [[[0, 1e300]], [], []],
        None,
        "x",
    ],
)
def test_spans_that_are_not_possible_are_refused(site: Site, spans: object) -> None:
    found = align(site)
    answer = site.client.post(f"{API}/alignments/{found['id']}/corrections", json={"spans": spans})
    assert answer.status_code == 400
    assert not (site.settings.state / "corrections.jsonl").exists()


def test_exports_hold_the_corrected_spans(site: Site) -> None:
    found = align(site)
    spans = [[[0.25, 1.75]], [[2.0, 5.0]], []]
    subtitles = export(site, found, "srt", spans).decode()
    assert subtitles.startswith("1\n00:00:00,250 --> 00:00:01,750\nA red wall.\n")
    assert "green" not in subtitles
    document = json.loads(export(site, found, "json", spans))
    assert document["video"] == "a.mp4"
    assert [(s["start"], s["end"]) for s in document["irrelevant"]] == [(0.0, 0.25), (1.75, 2.0), (5.0, 6.0)]
    rows = list(csv.DictReader(io.StringIO(export(site, found, "csv", spans).decode())))
    assert [row["start"] for row in rows] == ["0.250", "2.000", ""]
    unchanged = json.loads(export(site, found, "json"))
    assert unchanged["sentences"][0]["spans"] == found["sentences"][0]["spans"]
    assert export(site, found, "vtt").startswith(b"WEBVTT")
    assert export(site, found, "chapters").startswith(b";FFMETADATA1")


def test_an_editor_opens_the_timeline(site: Site) -> None:
    otio = pytest.importorskip("opentimelineio")
    timeline = otio.adapters.read_from_string(export(site, align(site), "otio").decode(), "otio_json")
    (clip,) = timeline.find_clips()
    assert clip.markers[0].name == "A red wall."


def test_a_picture_is_drawn(site: Site) -> None:
    image = Image.open(io.BytesIO(export(site, align(site), "png")))
    assert image.format == "PNG"
    assert image.width > 600
    assert np.asarray(image.convert("L")).std() > 5


def test_alignments_that_are_not_known_are_not_found(site: Site) -> None:
    for name in ("0" * 16, "..", "x"):
        answer = site.client.post(f"{API}/alignments/{name}/export", json={"format": "srt"})
        assert answer.status_code == 404
    assert site.client.get(f"{API}/corrections").status_code == 404


@pytest.mark.parametrize("text", ["", "...", "x" * 60_000, "One. " * 500])
def test_captions_that_cannot_be_aligned_are_refused(site: Site, text: str) -> None:
    answer = site.client.post(f"{site.video('a.mp4')}/align", json={"text": text})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_subtitles_are_read_as_captions(site: Site) -> None:
    content = "1\n00:00:01,000 --> 00:00:02,000\n<i>A red wall.</i>\n\n2\n00:00:03,000 --> 00:00:04,000\nA blue one.\n"
    answer = site.client.post(f"{API}/captions", json={"name": "film.srt", "content": content})
    assert answer.json()["text"] == "A red wall.\nA blue one."
    plain = site.client.post(f"{API}/captions", json={"name": "film.txt", "content": "As it is."})
    assert plain.json()["text"] == "As it is."
    broken = site.client.post(f"{API}/captions", json={"name": "film.srt", "content": "1\nnonsense --> 2\nx"})
    assert broken.status_code == 400
    assert broken.json()["error"]["message"].startswith("film.srt")
    assert "/tmp" not in broken.text
