"""Rows of several segments: their frames are the frames of the segments, on one clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mova.data.concat import VideoConcat
from mova.data.dataset import BrokenVideo, PairDataset
from mova.data.manifest import Caption, Row, Segment, TimedSentence, fingerprint, read_manifest, write_manifest
from mova.errors import DataError, VideoError
from mova.types import Frames
from mova.video.isolated import Isolated
from mova.video.reader import FrameRule, stream
from mova.video.sampling import RULES
from tests.support.odd_videos import numbers, write_numbered


@pytest.fixture(scope="module")
def folder(worlds_manifest: Path) -> Path:
    return worlds_manifest.parent


@pytest.fixture(scope="module")
def parts(worlds_manifest: Path) -> tuple[Segment, ...]:
    """Two files of 4 frames per second: [1.1, 3) and [8.5, its end at 10) of the first, [0, 2.25) of another."""
    first, second = (row.video for row in read_manifest(worlds_manifest)[:2])
    return Segment(first, 1.1, 3.0), Segment(first, 8.5, None), Segment(second, 0.0, 2.25)


@pytest.fixture(scope="module")
def reference(folder: Path, parts: tuple[Segment, ...]) -> Frames:
    """The concatenation made by decoding everything and joining it by hand."""
    pixels, pts, offset = [], [], 0.0
    for part in parts:
        end = 10.0 if part.end is None else part.end
        frames = Frames.concatenate(list(stream(folder / part.video, fps=None)))
        for picture, begin, until in zip(frames.pixels, frames.pts, [*frames.pts[1:], 10.0], strict=True):
            if begin < end and until > part.start:
                pixels.append(picture)
                pts.append(offset + max(float(begin), part.start) - part.start)
        offset += end - part.start
    return Frames(np.stack(pixels), np.array(pts))


def test_the_clock_is_continuous_and_pixels_come_from_the_segments(
    folder: Path, parts: tuple[Segment, ...], reference: Frames
) -> None:
    concat = VideoConcat.of(parts, folder)
    assert concat.end == pytest.approx(1.9 + 1.5 + 2.25)
    assert concat.times() == pytest.approx(reference.pts)
    frames = concat.read(concat.times())
    assert np.array_equal(frames.pixels, reference.pixels)
    assert len(np.unique(frames.pixels.reshape(len(frames), -1), axis=0)) > 10


@pytest.mark.parametrize("rule", sorted(RULES))
def test_rules_see_one_clip(folder: Path, parts: tuple[Segment, ...], reference: Frames, rule: str) -> None:
    frames = VideoConcat.of(parts, folder).select(FrameRule(7, rule=rule))
    expected = RULES[rule](reference.pts, 7)
    assert np.array_equal(frames.pixels, reference.pixels[expected])


def test_a_rate_continues_across_segments(folder: Path, parts: tuple[Segment, ...], reference: Frames) -> None:
    concat = VideoConcat.of(parts, folder)
    frames = concat.select(FrameRule(99, fps=2.0))
    assert frames.pts.tolist() == [k / 2 for k in range(12)]
    indices = [int(np.searchsorted(reference.pts, time + 1e-6, side="right")) - 1 for time in frames.pts]
    assert np.array_equal(frames.pixels, reference.pixels[indices])
    few = concat.window(1.0, 4.0).select(FrameRule(3, fps=2.0))
    assert few.pts.tolist() == [1.0, 2.0, 3.5]
    assert np.array_equal(few.pixels, frames.pixels[[2, 4, 7]])


def test_a_window_keeps_the_clock(folder: Path, parts: tuple[Segment, ...]) -> None:
    window = VideoConcat.of(parts, folder).window(1.5, 3.5)
    assert [(round(s.start, 6), round(s.end, 6), round(s.offset, 6)) for s in window.segments] == [
        (2.6, 3.0, 1.5),
        (8.5, 10.0, 1.9),
        (0.0, 0.1, 3.4),
    ]
    with pytest.raises(DataError, match="does not overlap"):
        window.window(9.0, 12.0)


def test_the_data_set_reads_rows_with_parts(folder: Path, parts: tuple[Segment, ...], reference: Frames) -> None:
    sentences = (TimedSentence("A.", 0.0, 1.9), TimedSentence("B.", 3.4, 5.65))
    row = Row("long", "", None, "train", (Caption("A. B.", sentences),), parts=parts)
    broken = Row("gone", "", 1.0, "train", (Caption("C."),), parts=(Segment("no.mp4", 0.0, 1.0),))
    manifest = write_manifest(folder / "parts.jsonl", [row, broken])
    assert read_manifest(manifest) == [row, broken]
    rule = FrameRule(5, rule="linspace")
    data = PairDataset(manifest, split="train", sampling=rule, prepare=lambda pixels: pixels[:, ::2])
    assert np.array_equal(data[0].frames.pixels, reference.pixels[RULES["linspace"](reference.pts, 5), ::2])
    assert isinstance(data[1], BrokenVideo)
    clips = PairDataset(manifest, split="train", sampling=rule, captions="clip")
    assert [pair.text for pair in (clips[0], clips[1])] == ["A.", "B."]
    inside = (reference.pts >= 3.4 - 1e-9) & (reference.pts < 5.65)
    indices = np.flatnonzero(inside)[RULES["linspace"](reference.pts[inside], 5)]
    assert np.array_equal(clips[1].frames.pixels, reference.pixels[indices])


def test_errors_of_spans_and_sizes(folder: Path, parts: tuple[Segment, ...]) -> None:
    for late in (Segment(parts[0].video, 50.0, None), Segment(parts[0].video, 50.0, 60.0)):
        with pytest.raises(VideoError, match=r"there is no frame at 50\.00 s"):
            VideoConcat.of([late], folder).select(FrameRule(2, fps=1.0))
    concat = VideoConcat.of(parts, folder)
    widths = iter([4, 6, 8])
    with pytest.raises(DataError, match=r"48 x 4, 48 x 6"):
        concat.read(concat.times(), lambda pixels: pixels[:, :, : next(widths)])


def test_validation_of_rows_with_parts() -> None:
    part = Segment("a.mp4", 1.0, 3.0)
    row = Row("x", "", 2.0, "train", (), parts=(part,))
    assert Row.from_json(row.to_json()) == row
    assert (row.segments, row.length) == ((part,), 2.0)
    assert Row("y", "a.mp4", 9.0, "t", (), start=1.0, end=3.0).segments == (part,)
    assert Row("y", "a.mp4", None, "t", ()).length is None
    assert fingerprint([row]) != fingerprint([Row("x", "", 2.0, "train", (), parts=(Segment("a.mp4", 2.0, 4.0),))])
    for wrong, message in [
        ({"video": "b.mp4"}, "'video'"),
        ({"parts": []}, "at least one"),
        ({"parts": [{"video": "a", "start": 3, "end": 2}]}, "start < end"),
        ({"parts": [{"video": "a", "speed": 2}]}, "unknown keys 'speed'"),
        ({"duration": 5.0}, "all parts together"),
    ]:
        with pytest.raises(DataError, match=message):
            Row.from_json({**row.to_json(), **wrong})


def test_samples_of_several_segments_are_never_within_a_gap(tmp_path: Path) -> None:
    write_numbered(tmp_path / "gap.mkv", [*range(100), *range(250, 350)])  # nothing from 4 to 10 s
    write_numbered(tmp_path / "whole.mkv", range(100))
    concat = VideoConcat.of(
        [Segment("gap.mkv", 2.0, 11.0), Segment("whole.mkv", 1.0, 3.0), Segment("gap.mkv", 6.0, 10.5)], tmp_path
    )
    present = [*range(4), 16, 17, 18, 19, 20, 21, 30]  # in half seconds: 2 to 4 s and 10 to 11 s, all, 10 s on
    frames = Frames.concatenate(list(concat.stream(2.0, 5)))
    assert (frames.pts * 2).tolist() == present
    assert numbers(frames.pixels) == [50, 62, 75, 87, 100, 112, 25, 37, 50, 62, 100]
    with Isolated() as decoder:
        isolated = Frames.concatenate(list(concat.stream(2.0, 5, decoder)))
    assert np.array_equal(isolated.pixels, frames.pixels)
    selected = concat.select(FrameRule(99, fps=2.0))
    assert (selected.pts * 2).tolist() == present
    assert np.array_equal(selected.pixels, frames.pixels)
    for rule in sorted(set(RULES) - {"linspace_fps"}):
        times = concat.select(FrameRule(9, rule=rule)).pts
        assert not np.any((times > 2) & (times < 8)), rule
        assert not np.any((times >= 11) & (times < 15)), rule
    with pytest.raises(VideoError, match="pictures are missing there"):
        concat.read([1.0, 3.0])
    with pytest.raises(VideoError, match="shows no picture in its segments"):
        VideoConcat.of([Segment("gap.mkv", 5.0, 9.0)], tmp_path).select(FrameRule(4, fps=2.0))


def test_samples_of_a_clip_at_a_rate_are_never_within_a_gap(tmp_path: Path) -> None:
    film = write_numbered(tmp_path / "gap.mkv", [*range(100), *range(250, 350)])
    frames = FrameRule(99, fps=1.0).read(film)
    assert frames.pts.tolist() == [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0]
    with pytest.raises(VideoError, match=r"shows no picture from 5\.00 s on"):
        FrameRule(4, fps=1.0).read(film, 5.0, 9.0)
