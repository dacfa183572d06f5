"""Files of timelines: subtitles, chapters, tables and editing timelines."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mova.exports.editing import write_otio
from mova.exports.subtitles import write_chapters, write_srt, write_vtt
from mova.exports.table import write_csv
from mova.types import ScoredSpan, SentenceTimeline, Span, Timeline

CURVE = np.zeros(3, dtype=np.float32)


@pytest.fixture
def timeline() -> Timeline:
    rows = (
        SentenceTimeline(
            "Tea --> cup;\n\nhot & <b>", CURVE, (ScoredSpan(Span(3599.9996, 3601.5), 0.5, 0.9),), CURVE, 0.95
        ),
        SentenceTimeline("A door, open.", CURVE, (ScoredSpan(Span(0.5, 2.0), 0.25, 0.4),), CURVE, 0.5),
        SentenceTimeline("Rain.", CURVE, (), CURVE, 0.125),
        SentenceTimeline("Snow.", CURVE, (ScoredSpan(Span(1.0, 3.0), 0.75, 0.6),), CURVE, 0.8),
    )
    return Timeline("film.mp4", 4000.0, np.array([0.0, 1.0, 2.0]), rows, ())


def test_srt_cues_are_numbered_and_in_order_of_time(timeline: Timeline, tmp_path: Path) -> None:
    write_srt(timeline, tmp_path / "a.srt")
    assert (tmp_path / "a.srt").read_text() == (
        "1\n00:00:00,500 --> 00:00:02,000\nA door, open.\n\n"
        "2\n00:00:01,000 --> 00:00:03,000\nSnow.\n\n"
        "3\n01:00:00,000 --> 01:00:01,500\nTea -> cup; hot & <b>\n"
    )


def test_vtt_escapes_markup_and_notes_the_posterior(timeline: Timeline, tmp_path: Path) -> None:
    write_vtt(timeline, tmp_path / "a.vtt")
    text = (tmp_path / "a.vtt").read_text()
    assert text.startswith("WEBVTT\n\nNOTE posterior 0.400\n\n00:00:00.500 --> 00:00:02.000\nA door, open.\n\n")
    assert text.endswith("01:00:00.000 --> 01:00:01.500\nTea -&gt; cup; hot &amp; &lt;b&gt;\n")


def test_chapters_do_not_overlap(timeline: Timeline, tmp_path: Path) -> None:
    write_chapters(timeline, tmp_path / "a.txt")
    lines = (tmp_path / "a.txt").read_text().splitlines()
    assert lines[0] == ";FFMETADATA1"
    bounds = [(int(a[6:]), int(b[4:])) for a, b in zip(lines[3::5], lines[4::5], strict=True)]
    assert bounds == [(500, 1000), (1000, 3000), (3600000, 3601500)]
    assert lines[-1] == "title=Tea -> cup\\; hot & <b>"


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe")
def test_ffmpeg_reads_the_chapters(timeline: Timeline, tmp_path: Path) -> None:
    write_chapters(timeline, tmp_path / "a.txt")
    command = ["ffprobe", "-v", "error", "-f", "ffmetadata", "-show_chapters", "-of", "json", str(tmp_path / "a.txt")]
    chapters = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["chapters"]
    assert [chapter["tags"]["title"] for chapter in chapters] == ["A door, open.", "Snow.", "Tea -> cup; hot & <b>"]


def test_csv_has_a_row_for_every_span_and_every_absent_sentence(timeline: Timeline, tmp_path: Path) -> None:
    write_csv(timeline, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["sentence"] for row in rows] == ["1", "2", "3", "4"]
    assert rows[0]["text"] == "Tea --> cup;\n\nhot & <b>"
    assert (rows[1]["start"], rows[1]["end"], rows[1]["posterior"]) == ("0.500", "2.000", "0.400000")
    assert (rows[2]["start"], rows[2]["shown"]) == ("", "0.125000")


def test_an_editing_timeline_has_a_marker_for_every_span(timeline: Timeline, tmp_path: Path) -> None:
    otio = pytest.importorskip("opentimelineio")
    write_otio(timeline, tmp_path / "a.otio")
    clip = otio.adapters.read_from_file(str(tmp_path / "a.otio")).tracks[0][0]
    assert clip.source_range.duration.to_seconds() == 4000.0
    assert [marker.name for marker in clip.markers] == ["A door, open.", "Snow.", "Tea --> cup;\n\nhot & <b>"]
    first = clip.markers[0]
    assert first.marked_range.start_time.to_seconds() == 0.5
    assert first.marked_range.duration.to_seconds() == 1.5
    assert first.metadata["mova"]["posterior"] == 0.4
    assert [marker.color for marker in clip.markers] == ["RED", "YELLOW", "GREEN"]
