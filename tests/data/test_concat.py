"""Rows of several stretches: their frames are the frames of their parts, on one clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mova.data.batch import BrokenVideo
from mova.data.concat import Montage
from mova.data.dataset import PairDataset
from mova.data.frame_selection import FrameRule
from mova.data.manifest import Caption, Part, Row, TimedSentence, fingerprint, read_manifest, write_manifest
from mova.errors import DataError, VideoError
from mova.types import Frames
from mova.video.reader import stream
from mova.video.sampling import RULES


@pytest.fixture(scope="module")
def folder(worlds_manifest: Path) -> Path:
    return worlds_manifest.parent


@pytest.fixture(scope="module")
def parts(worlds_manifest: Path) -> tuple[Part, ...]:
    """Two files of 4 frames a second: [1.1, 3) and [8.5, its end at 10) of the first, [0, 2.25) of another."""
    first, second = (row.video for row in read_manifest(worlds_manifest)[:2])
    return Part(first, 1.1, 3.0), Part(first, 8.5, None), Part(second, 0.0, 2.25)


@pytest.fixture(scope="module")
def written_out(folder: Path, parts: tuple[Part, ...]) -> Frames:
    """The montage made by decoding everything and gluing it by hand."""
    pixels, pts, offset = [], [], 0.0
    for part in parts:
        end = 10.0 if part.end is None else part.end
        whole = Frames.concatenate(list(stream(folder / part.video, fps=None)))
        for picture, begin, until in zip(whole.pixels, whole.pts, [*whole.pts[1:], 10.0], strict=True):
            if begin < end and until > part.start:
                pixels.append(picture)
                pts.append(offset + max(float(begin), part.start) - part.start)
        offset += end - part.start
    return Frames(np.stack(pixels), np.array(pts))


def test_the_clock_runs_through_and_pixels_are_the_parts_own(
    folder: Path, parts: tuple[Part, ...], written_out: Frames
) -> None:
    montage = Montage.of(parts, folder)
    assert montage.end == pytest.approx(1.9 + 1.5 + 2.25)
    assert montage.times() == pytest.approx(written_out.pts)
    found = montage.read(montage.times())
    assert np.array_equal(found.pixels, written_out.pixels)
    assert len(np.unique(found.pixels.reshape(len(found), -1), axis=0)) > 10


@pytest.mark.parametrize("rule", sorted(RULES))
def test_rules_see_one_clip(folder: Path, parts: tuple[Part, ...], written_out: Frames, rule: str) -> None:
    found = FrameRule(7, rule=rule).read_montage(Montage.of(parts, folder))
    expected = RULES[rule](written_out.pts, 7)
    assert np.array_equal(found.pixels, written_out.pixels[expected])


def test_a_rate_goes_across_the_seams(folder: Path, parts: tuple[Part, ...], written_out: Frames) -> None:
    montage = Montage.of(parts, folder)
    found = FrameRule(99, fps=2.0).read_montage(montage)
    assert found.pts.tolist() == [k / 2 for k in range(12)]
    shown = [int(np.searchsorted(written_out.pts, time + 1e-6, side="right")) - 1 for time in found.pts]
    assert np.array_equal(found.pixels, written_out.pixels[shown])
    few = FrameRule(3, fps=2.0).read_montage(montage.within(1.0, 4.0))
    assert few.pts.tolist() == [1.0, 2.0, 3.5]
    assert np.array_equal(few.pixels, found.pixels[[2, 4, 7]])


def test_a_window_keeps_the_clock(folder: Path, parts: tuple[Part, ...]) -> None:
    window = Montage.of(parts, folder).within(1.5, 3.5)
    assert [(round(s.start, 6), round(s.end, 6), round(s.offset, 6)) for s in window.stretches] == [
        (2.6, 3.0, 1.5),
        (8.5, 10.0, 1.9),
        (0.0, 0.1, 3.4),
    ]
    with pytest.raises(DataError, match="nothing is shown"):
        window.within(9.0, 12.0)


def test_the_data_set_reads_such_rows(folder: Path, parts: tuple[Part, ...], written_out: Frames) -> None:
    told = (TimedSentence("A.", 0.0, 1.9), TimedSentence("B.", 3.4, 5.65))
    row = Row("long", "", None, "train", (Caption("A. B.", told),), parts=parts)
    broken = Row("gone", "", 1.0, "train", (Caption("C."),), parts=(Part("no.mp4", 0.0, 1.0),))
    manifest = write_manifest(folder / "parts.jsonl", [row, broken])
    assert read_manifest(manifest) == [row, broken]
    rule = FrameRule(5, rule="linspace")
    data = PairDataset(manifest, split="train", sampling=rule, prepare=lambda pixels: pixels[:, ::2])
    assert np.array_equal(data[0].frames.pixels, written_out.pixels[RULES["linspace"](written_out.pts, 5), ::2])
    assert isinstance(data[1], BrokenVideo)
    clips = PairDataset(manifest, split="train", sampling=rule, captions="clip")
    assert [pair.text for pair in (clips[0], clips[1])] == ["A.", "B."]
    inside = (written_out.pts >= 3.4 - 1e-9) & (written_out.pts < 5.65)
    shown = np.flatnonzero(inside)[RULES["linspace"](written_out.pts[inside], 5)]
    assert np.array_equal(clips[1].frames.pixels, written_out.pixels[shown])


def test_what_cannot_be_shown_is_told(folder: Path, parts: tuple[Part, ...]) -> None:
    for late in (Part(parts[0].video, 50.0, None), Part(parts[0].video, 50.0, 60.0)):
        with pytest.raises(VideoError, match="nothing is at"):
            FrameRule(2, fps=1.0).read_montage(Montage.of([late], folder))
    montage = Montage.of(parts, folder)
    widths = iter([4, 6, 8])
    with pytest.raises(DataError, match=r"48 x 4, 48 x 6"):
        montage.read(montage.times(), lambda pixels: pixels[:, :, : next(widths)])


def test_rows_of_parts_check_themselves() -> None:
    part = Part("a.mp4", 1.0, 3.0)
    row = Row("x", "", 2.0, "train", (), parts=(part,))
    assert Row.from_json(row.to_json()) == row
    assert (row.segments, row.length) == ((part,), 2.0)
    assert Row("y", "a.mp4", 9.0, "t", (), start=1.0, end=3.0).segments == (part,)
    assert Row("y", "a.mp4", None, "t", ()).length is None
    assert fingerprint([row]) != fingerprint([Row("x", "", 2.0, "train", (), parts=(Part("a.mp4", 2.0, 4.0),))])
    for wrong, says in [
        ({"video": "b.mp4"}, "'video'"),
        ({"parts": []}, "at least one"),
        ({"parts": [{"video": "a", "start": 3, "end": 2}]}, "start < end"),
        ({"parts": [{"video": "a", "speed": 2}]}, "unknown keys 'speed'"),
        ({"duration": 5.0}, "all parts together"),
    ]:
        with pytest.raises(DataError, match=says):
            Row.from_json({**row.to_json(), **wrong})
