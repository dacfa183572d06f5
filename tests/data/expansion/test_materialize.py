"""Materialized rows, still frames, and the report on compressed texts, with rendered videos."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from mova.data.concat import VideoConcat
from mova.data.dataset import PairDataset
from mova.data.expansion.expand import CompressedPair, expand
from mova.data.expansion.materialize import materialize
from mova.data.expansion.operations import parse_operations
from mova.data.expansion.still_frames import keyframe, middle
from mova.data.manifest import Caption, Row, Segment, TimedSentence, read_manifest, write_manifest
from mova.errors import UsageError, VideoError
from mova.eval.summary_agreement import agreements
from mova.plots.expansion import draw_expansion
from mova.types import Frames
from mova.video.probe import probe
from mova.video.reader import FrameRule, read_times, stream
from mova.video.writer import join_clips, write_mp4


@pytest.fixture(scope="module")
def manifest(worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips of two seconds of two files, and what an expansion makes of them."""
    folder = tmp_path_factory.mktemp("expanded")
    videos = [worlds_manifest.parent / row.video for row in read_manifest(worlds_manifest)[:2]]
    rows = [
        Row(f"{v}-{k}", str(video), 10.0, "train", (Caption(f"Thing {k}."),), 2.25 * k, 2.25 * k + 2.0)
        for v, video in enumerate(videos)
        for k in range(4)
    ]
    words = "integrate:source,min=4 compress:extractive,words=2 image:middle"
    return expand(write_manifest(folder / "clips.jsonl", rows), folder / "out", parse_operations([words])).manifest


def test_frames_of_a_virtual_row_are_those_of_its_parts(manifest: Path) -> None:
    rows = read_manifest(manifest)
    long = next(row for row in rows if row.meta["granularity"] == "LVLT")
    members = [next(row for row in rows if row.id == member) for member in long.meta["members"]]
    parts = [
        Frames.concatenate(list(stream(manifest.parent / m.video, fps=None, start=m.start or 0.0, end=m.end)))
        for m in members
    ]
    concat = VideoConcat.of(long.parts, manifest.parent)
    frames = concat.read(concat.times())
    assert np.array_equal(frames.pixels, np.concatenate([part.pixels for part in parts]))
    assert len(np.unique(frames.pixels.reshape(len(frames), -1), axis=0)) > 8


def test_written_videos_have_the_same_frames(manifest: Path, tmp_path: Path) -> None:
    done = materialize(manifest, tmp_path / "real")
    rows, real = read_manifest(manifest), read_manifest(done.manifest)
    assert [row.id for row in real] == [row.id for row in rows]
    assert (done.rows, done.videos, done.existing) == (14, 12, 2)
    for old, new in zip(rows, real, strict=True):
        assert not new.parts
        assert new.start is None
        virtual = VideoConcat.of(old.segments, manifest.parent).select(FrameRule(4, rule="segment_midpoint"))
        written = FrameRule(4, rule="segment_midpoint").read(tmp_path / "real" / new.video)
        difference = virtual.pixels.astype(int) - written.pixels.astype(int)
        assert np.abs(difference).mean() < 6
        if old.meta["granularity"] == "LVLT":
            assert new.duration == pytest.approx(8.0, abs=1e-3)
            assert [(s.start, s.end) for s in new.captions[0].sentences] == [(2.0 * k, 2.0 * k + 2.0) for k in range(4)]
    again = materialize(manifest, tmp_path / "real")
    assert (again.videos, again.existing) == (0, 14)
    assert read_manifest(again.manifest) == real
    data = PairDataset(done.manifest, split="train", sampling=FrameRule(2, rule="head"), captions="caption")
    assert len(data[len(data) - 1].frames) == 2


def test_written_clips_keep_their_position_in_the_source(manifest: Path, tmp_path: Path) -> None:
    rows = [
        replace(row, meta={"synthetic": [{"video": "fake.mp4"}], "granularity": "SVST"})
        for row in read_manifest(manifest)
        if row.meta["granularity"] == "SVST"
    ]
    virtual = write_manifest(manifest.parent / "backwards.jsonl", rows[::-1])
    written = materialize(virtual, tmp_path / "real").manifest
    assert read_manifest(written)[0].meta["synthetic"] == [{"video": str(manifest.parent / "fake.mp4")}]
    positions = [
        read_manifest(expand(source, tmp_path / name, parse_operations(["integrate:adjacent,min=2"])).manifest)[8:]
        for name, source in (("a", virtual), ("b", written))
    ]
    assert [row.meta["members"] for row in positions[0]] == [[f"{v}-{k}" for k in range(4)] for v in (0, 1)]
    assert [row.meta["members"] for row in positions[1]] == [row.meta["members"] for row in positions[0]]
    assert [row.meta["source_video"] for row in positions[1]] == [row.meta["source_video"] for row in positions[0]]


def test_unreadable_videos_are_counted(manifest: Path, tmp_path: Path) -> None:
    good = read_manifest(manifest)[0]
    left_out = (Caption("A. B.", (TimedSentence("A.", 0.5, 1.0), TimedSentence("B.", 1.5, 99.0))),)
    rows = [
        replace(good, captions=left_out, start=1.0, end=3.0, duration=None),
        replace(good, id="gone", video="gone.mp4"),
        replace(good, id="late", start=50.0, end=60.0, duration=None),
        replace(good, id="whole", start=None, end=None),
    ]
    done = materialize(write_manifest(tmp_path / "m.jsonl", rows), tmp_path / "real")
    assert (done.rows, done.videos) == (2, 1)
    assert done.left_out.to_json()["video cannot be read"]["count"] == 2
    first, second = read_manifest(done.manifest)
    assert [(s.start, s.end) for s in first.captions[0].sentences] == [(None, None), (0.5, 2.0)]
    assert second.video == good.video
    with pytest.raises(VideoError, match="of no row"):
        materialize(write_manifest(tmp_path / "n.jsonl", rows[1:2]), tmp_path / "other")
    with pytest.raises(UsageError, match="another folder"):
        materialize(done.manifest, tmp_path / "real")


def test_joined_files_of_other_sizes_are_fitted(tmp_path: Path) -> None:
    red, blue = np.zeros((4, 32, 64, 3), np.uint8), np.zeros((4, 64, 32, 3), np.uint8)
    red[..., 0], blue[..., 2] = 200, 200
    write_mp4(tmp_path / "red.mp4", [red], fps=4)
    write_mp4(tmp_path / "blue.mp4", [blue], fps=4)
    spans = [(tmp_path / "red.mp4", 0.25, None), (tmp_path / "blue.mp4", 0.0, 0.5)]
    info = probe(join_clips(spans, tmp_path / "both.mp4"))
    assert (info.width, info.height, info.has_audio) == (64, 32, False)
    assert info.duration == pytest.approx(1.25, abs=1e-3)
    pixels = read_times(tmp_path / "both.mp4", [0.5, 0.8]).pixels.astype(int)
    assert pixels[0, 16, 32, 0] > 150
    assert pixels[1, 16, 32, 2] > 150
    assert pixels[1, 16, 2].max() < 40
    for wrong in ([], [(tmp_path / "red.mp4", 3.0, None)]):
        with pytest.raises(UsageError):
            join_clips(wrong, tmp_path / "no.mp4")
    assert not (tmp_path / "no.mp4").exists()


def test_middle_frames_and_keyframes(worlds_manifest: Path, tmp_path: Path) -> None:
    video = read_manifest(worlds_manifest)[0].video
    folder = worlds_manifest.parent
    assert middle([Segment(video, 0.0, 4.0), Segment(video, 6.0, 7.0)], folder) == Segment(video, 2.5, 2.501)
    assert middle([Segment(video, 0.0, 1.0), Segment(video, 6.0, None)], folder) == Segment(video, 7.5, 7.501)
    with av.open(str(folder / video)) as container:
        track = container.streams.video[0]
        keys = [float(p.pts * track.time_base) for p in container.demux(track) if p.pts is not None and p.is_keyframe]
    frame = keyframe([Segment(video, 0.0, None)], folder)
    assert frame is not None
    assert frame.start == pytest.approx(min(keys, key=lambda key: abs(key - 5.0)))
    assert keyframe([Segment(video, keys[0] + 0.3, keys[0] + 0.6)], folder) is None


def test_packets_that_cannot_be_read_are_a_fault_of_the_video(
    worlds_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Iterator[Any]:
        raise av.InvalidDataError(0, "damaged")
        yield

    monkeypatch.setattr("mova.data.expansion.still_frames.read_packets", broken)
    video = read_manifest(worlds_manifest)[0].video
    with pytest.raises(VideoError, match="packets cannot be read to the end"):
        keyframe([Segment(video, 0.0, None)], worlds_manifest.parent)


def test_images_of_unreadable_videos_are_omitted_and_counted(worlds_manifest: Path, tmp_path: Path) -> None:
    video = str(worlds_manifest.parent / read_manifest(worlds_manifest)[0].video)
    late = Row("late", "", None, "t", (Caption("B."),), parts=(Segment(video, 500.0, None),))
    rows = [
        Row("a", video, 10.0, "t", (Caption("A."),), 0.3, 0.6),
        late,
        replace(late, id="gone", parts=(Segment("no"),)),
    ]
    done = expand(write_manifest(tmp_path / "m.jsonl", rows), tmp_path / "out", parse_operations(["image:keyframe"]))
    left_out = {reason: (entry["count"], entry["kept"]) for reason, entry in done.left_out["IT"].items()}
    assert left_out == {
        "clip without a keyframe; its middle frame is taken": (1, True),
        "video cannot be read": (2, False),
    }
    assert read_manifest(done.manifest)[-1].start == 0.45


def pair(long: str, short: str) -> CompressedPair:
    rows = [Row("x", "x.mp4", None, "t", (Caption(text),)) for text in (long, short)]
    return CompressedPair("LVST", *rows)


def test_similarity_is_the_cosine_and_is_reported_beside_that_of_other_pairs() -> None:
    vectors = {"a": [3.0, 0.0], "b": [1.0, 1.0], "c": [0.0, 2.0], "d": [0.0, -5.0]}
    sample = [pair("a", "b"), pair("c", "d")]
    (agreement,) = agreements(sample, lambda texts: np.array([vectors[text] for text in texts]), "towers")
    assert agreement.paired == pytest.approx([np.sqrt(0.5), -1.0])
    assert agreement.others == pytest.approx([0.0, np.sqrt(0.5)])
    assert agreement.to_json()["own"]["mean"] == pytest.approx((np.sqrt(0.5) - 1) / 2, abs=1e-4)
    (plain,) = agreements([pair("A dog runs home", "a DOG runs home."), pair("rain", "snow")])
    assert plain.paired == pytest.approx([1.0, 0.0])
    assert agreements([]) == []


def test_videos_are_compared_with_both_texts_and_unreadable_ones_counted() -> None:
    vectors = {"a": [3.0, 0.0], "b": [1.0, 1.0]}
    sample = [pair("a", "b") for _ in range(5)]
    answers = iter([np.array([0.0, 2.0]), None, np.array([1.0, 0.0]), None, None])
    (agreement,) = agreements(
        sample, lambda texts: np.array([vectors[t] for t in texts]), "m", lambda row: next(answers)
    )
    assert agreement.video_long == pytest.approx([0.0, 1.0])
    assert agreement.video_short == pytest.approx([np.sqrt(0.5)] * 2)
    assert agreement.unread == 3
    assert agreement.videos.shape == (2, 2)


def test_the_map_is_drawn_from_enough_pairs(tmp_path: Path) -> None:
    topics = ("a dog runs after a ball", "rain falls on the street", "she plays the violin", "a cake is baked")
    sample = [pair(f"{topic} number{n} and more", topic) for n in range(3) for topic in topics]
    (agreement,), (again,) = agreements(sample), agreements(sample)
    assert agreement.long is not None
    assert agreement.long.shape == agreement.short.shape == (12, 2)
    assert np.array_equal(agreement.long, again.long)
    json.dumps(agreement.to_json(), allow_nan=False)
    figures = {"count": 2, "mean": 3.0, "bounds": [0, 2, 5], "histogram": [1, 1, 0]}
    unknown = {"count": 0, "mean": None, "bounds": [0, 2, 5], "histogram": [0, 0, 0]}
    statistics = {"SVST": {"rows": 2, "seconds": unknown, "words": figures}}
    draw_expansion(statistics, [agreement], tmp_path / "new" / "report.png")
    with Image.open(tmp_path / "new" / "report.png") as picture:
        assert picture.width == 1728
        height = picture.height
    many = {f"GRANULARITY{n}$": {"rows": 10**6, "seconds": figures, "words": figures} for n in range(12)}
    draw_expansion(many, [agreement], tmp_path / "many.png")
    with Image.open(tmp_path / "many.png") as picture:
        pixels = np.asarray(picture.convert("L"))
        assert picture.height > height
    assert (pixels[:, -10:] == 255).all(), "the key runs off the page"


def test_the_command_compares_by_a_model_and_writes_videos(
    manifest: Path, tiny_clip: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    clips = manifest.parent.parent / "clips.jsonl"
    words = ("--ops", "integrate:source,min=4 compress:extractive,words=2", "--leave-out", "SVST")
    more = ("--materialize", tmp_path / "real", "--short-side", 32, "--model", tiny_clip)
    code, stdout, stderr = call("data", "expand", clips, tmp_path, *words, *more, "--json")
    assert code == 0, stderr
    report = json.loads(stdout)
    assert report["similarity"]["LVST"]["measure"] == str(tiny_clip)
    assert report["similarity"]["LVST"]["video_long"]["count"] == 2
    assert report["materialised"]["rows"] == 4
    assert report["materialised"]["videos"] == 2
    assert probe(next((tmp_path / "real").glob("*.mp4"))).height == 32
