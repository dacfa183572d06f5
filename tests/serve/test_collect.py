"""Chosen moments as one file: clips in an archive, times for editors."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from mova.exports.moments import Clip, to_edl
from mova.video.probe import probe
from tests.serve.conftest import API, Site


def moment(site: Site, name: str, start: float, end: float, label: str = "") -> dict[str, Any]:
    return {"video": site.video(name).rsplit("/", 1)[1], "start": start, "end": end, "label": label}


def export(site: Site, kind: str, *moments: dict[str, Any]) -> bytes:
    answer = site.client.post(f"{API}/exports", json={"format": kind, "moments": list(moments)})
    assert answer.status_code == 200, answer.text
    assert "attachment" in answer.headers["content-disposition"]
    return answer.content


def test_an_archive_holds_the_clips_in_their_order(site: Site, tmp_path: Path) -> None:
    chosen = [moment(site, "b.mp4", 2, 3, "red"), moment(site, "a.mp4", 2, 5, "blue")]
    archive = zipfile.ZipFile(io.BytesIO(export(site, "zip", *chosen)))
    assert archive.testzip() is None
    names = archive.namelist()
    assert names == ["01_b_0002.00-0003.00.mp4", "02_a_0002.00-0005.00.mp4", "moments.csv"]
    archive.extractall(tmp_path)
    assert probe(tmp_path / names[0]).duration == pytest.approx(1.0, abs=0.01)
    assert probe(tmp_path / names[1]).duration == pytest.approx(3.0, abs=0.01)


def test_a_clip_that_cannot_be_cut_is_named(site: Site) -> None:
    chosen = [moment(site, "b.mp4", 2, 3), moment(site, "a.mp4", 2, 5)]
    (site.films / "b.mp4").unlink()
    archive = zipfile.ZipFile(io.BytesIO(export(site, "zip", *chosen)))
    assert "b.mp4 2.00-3.00" in archive.read("not_exported.txt").decode()
    (site.films / "a.mp4").unlink()
    none = [moment(site, "b.mp4", 2, 3), moment(site, "a.mp4", 1, 2)]  # the clip above is still in the cache
    answer = site.client.post(f"{API}/exports", json={"format": "zip", "moments": none})
    assert answer.status_code == 400
    assert "none of the clips" in answer.json()["error"]["message"]


def test_times_for_tables_and_editors(site: Site) -> None:
    chosen = [moment(site, "b.mp4", 2, 3, "red, then"), moment(site, "a.mp4", 2, 99, "blue")]
    rows = list(csv.DictReader(io.StringIO(export(site, "csv", *chosen).decode())))
    assert [(row["video"], row["start"], row["end"], row["label"]) for row in rows] == [
        ("b.mp4", "2.000", "3.000", "red, then"),
        ("a.mp4", "2.000", "6.000", "blue"),
    ]
    edl = export(site, "edl", *chosen).decode()
    assert "002  AX       V     C        00:00:02:00 00:00:06:00 00:00:01:00 00:00:05:00" in edl
    assert "* FROM CLIP NAME: a.mp4" in edl
    assert export(site, "srt", *chosen).decode().startswith("1\n00:00:00,000 --> 00:00:01,000\nred, then\n")


def test_an_editor_reads_the_timeline(site: Site) -> None:
    otio = pytest.importorskip("opentimelineio")
    text = export(site, "otio", moment(site, "b.mp4", 2, 3), moment(site, "a.mp4", 2, 5)).decode()
    clips = list(otio.adapters.read_from_string(text, "otio_json").find_clips())
    assert [clip.source_range.duration.to_seconds() for clip in clips] == [1.0, 3.0]


@pytest.mark.parametrize(
    ("rate", "code"),
    [
        (24, "01:00:00:00"),
        (30000 / 1001, "00:59:56:12"),  # frame 107892 of 30 a second
        (29.97, "00:59:56:12"),
        (24000 / 1001, "00:59:56:10"),  # frame 86314 of 24
        (60000 / 1001, "00:59:56:24"),  # frame 215784 of 60
        (29.9, "01:00:00:00"),  # no rate of television: counted by the clock
    ],
)
def test_time_codes_of_ntsc_rates_number_the_frames(rate: float, code: str) -> None:
    """Without dropped numbers, as the list says, so that an editor finds the frame."""
    assert f" {code} " in to_edl([Clip("a", 3600.0, 3601.0)], rate)


def test_time_codes_count_frames_of_the_nearest_rate() -> None:
    assert "00:00:01:15 " in to_edl([Clip("a", 1.5, 2.0)], 29.97)
    assert "01:00:00:00" in to_edl([Clip("a", 3600.0, 3601.0)], 25)
    with pytest.raises(ValueError, match="999"):
        to_edl([Clip("a", 0, 1)] * 1000, 25)


@pytest.mark.parametrize("change", [{"start": 5.0, "end": 2.0}, {"start": -1}, {"video": "0" * 20}, {"video": "../x"}])
def test_moments_that_are_not_possible_are_refused(site: Site, change: dict[str, Any]) -> None:
    chosen = {**moment(site, "a.mp4", 2, 5), **change}
    answer = site.client.post(f"{API}/exports", json={"format": "csv", "moments": [chosen]})
    assert answer.status_code in {400, 404}
    assert site.client.post(f"{API}/exports", json={"format": "csv", "moments": []}).status_code == 400
    assert site.client.post(f"{API}/exports", json={"format": "exe", "moments": [chosen]}).status_code == 400
