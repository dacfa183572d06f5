"""A model measured on rows of a manifest: ranks as written out by hand, and nothing left out without a word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakes import ColourEncoder, write_colours
from mova.data.dataset import FrameRule
from mova.data.manifest import Caption, Row, fingerprint
from mova.errors import DataError
from mova.eval.protocols import find_protocol
from mova.eval.retrieval import measure_retrieval

RULE = FrameRule(8, fps=4.0)
PAIRS, EACH = find_protocol("pairs"), find_protocol("captions")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("colours")
    write_colours(folder / "a.mp4", [("red", 1.0), ("blue", 1.0)])
    write_colours(folder / "b.mp4", [("green", 1.0)])
    (folder / "broken.mp4").write_bytes(b"nothing")
    return folder


def row(id: str, video: str, *texts: str, clip: tuple[float, float] | None = None) -> Row:
    start, end = clip or (None, None)
    return Row(id, f"{video}.mp4", None, "test", tuple(Caption(text) for text in texts), start, end)


@pytest.fixture
def rows() -> list[Row]:
    """Two clips of one file, and another file."""
    return [
        row("first", "a", "Red.", "Blue.", clip=(0.0, 1.0)),
        row("second", "a", "Blue.", clip=(1.0, 2.0)),
        row("third", "b", "Green.", "Red."),
    ]


def test_a_clip_is_measured_by_its_own_frames(folder: Path, rows: list[Row]) -> None:
    counts = list[int]()
    report = measure_retrieval(ColourEncoder(), rows, folder, RULE, PAIRS, counts.append)
    assert (report["protocol"], report["queries"], report["candidates"]) == ("pairs", 3, 3)
    assert report["t2v"]["R@1"] == report["v2t"]["R@1"] == 100.0
    assert report["fingerprint"] == fingerprint(rows)
    assert report["broken"] == []
    assert counts == [1, 2, 3]


def test_every_caption_is_a_query_where_the_protocol_says_so(folder: Path, rows: list[Row]) -> None:
    report = measure_retrieval(ColourEncoder(), rows, folder, RULE, EACH)
    assert report["queries"] == 5
    assert report["t2v"]["R@1"] == pytest.approx(100 * 3 / 5)
    ranks = 1 + np.array(report["places"]["t2v"]["better"])
    assert (ranks[[0, 2, 3]] == 1).all()
    assert (ranks[[1, 4]] > 1).all()


def test_another_gallery_than_the_protocols_says_so(folder: Path, rows: list[Row]) -> None:
    assert measure_retrieval(ColourEncoder(), rows, folder, RULE, find_protocol("didemo"))["protocol"] == "pairs"
    assert measure_retrieval(ColourEncoder(), rows, folder, RULE, find_protocol("msvd"))["protocol"] == "captions"


def test_broken_videos_are_named_and_their_texts_left_out(folder: Path, rows: list[Row]) -> None:
    lost = [row("x", "broken", "White."), row("y", "gone", "Black.")]
    silent = replace(rows[0], id="silent", captions=())
    report = measure_retrieval(ColourEncoder(), [*lost, *rows, silent], folder, RULE, PAIRS)
    assert [each["id"] for each in report["broken"]] == ["x", "y"]
    assert (report["rows"], report["candidates"], report["captionless"]) == (6, 3, 1)
    assert report["fingerprint"] == fingerprint(rows)
    with pytest.raises(DataError, match="none of the 2 videos can be read; the first: "):
        measure_retrieval(ColourEncoder(), lost, folder, RULE, PAIRS)
    with pytest.raises(DataError, match="has a caption"):
        measure_retrieval(ColourEncoder(), [silent], folder, RULE, PAIRS)
