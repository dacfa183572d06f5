"""Manifest rows to pairs and batches: which frames, which texts, what happens to broken files."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from mova.data.dataset import Batch, BrokenVideo, Draw, Pair, PairDataset, PairSampler, collate
from mova.data.manifest import Caption, Row, TimedSentence, read_manifest, write_manifest
from mova.data.row_texts import CAPTIONS
from mova.errors import DataError, UsageError, VideoError
from mova.types import Frames
from mova.video.reader import FrameRule, read_count, stream
from mova.video.sampling import RULES

RULE = FrameRule(frames=3, rule="linspace")


@pytest.fixture(scope="module")
def video(worlds_manifest: Path) -> Path:
    return worlds_manifest.parent / read_manifest(worlds_manifest)[0].video


@pytest.fixture(scope="module")
def all_frames(video: Path) -> Frames:
    return Frames.concatenate(list(stream(video, fps=None)))


@pytest.fixture
def two_captions(tmp_path: Path, video: Path) -> Path:
    """One video with a paragraph of two timed sentences, two single sentences, and one sentence without times."""
    sentences = (TimedSentence("A cat runs.", 1.0, 3.0), TimedSentence("A dog sits.", 4.0, 6.5))
    captions = (
        Caption("A cat runs. A dog sits.", sentences),
        Caption("A bird.", (TimedSentence("A bird.", 1.0, 3.0),)),
        Caption("Rain falls.", (TimedSentence("Rain falls."),)),
    )
    row = Row("a", str(video), None, "train", captions)
    clip = replace(row, id="b", start=2.0, end=5.0, captions=(Caption("Only this."),))
    return write_manifest(tmp_path / "manifest.jsonl", [row, clip])


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize(("start", "end"), [(0.0, None), (2.6, 5.0), (2.6, 2.7), (8.0, 99.0)])
def test_a_rule_reads_the_frames_on_display_within_the_clip(
    video: Path, all_frames: Frames, rule: str, start: float, end: float | None
) -> None:
    ends = np.append(all_frames.pts[1:], np.inf)
    stop = np.inf if end is None else end
    inside = [
        i for i, (pts, until) in enumerate(zip(all_frames.pts, ends, strict=True)) if pts < stop and until > start
    ]
    expected = [inside[k] for k in RULES[rule](all_frames.pts[inside], 4)]
    frames = FrameRule(4, rule=rule).read(video, start, end)
    assert np.array_equal(frames.pixels, all_frames.pixels[expected])
    assert frames.pts.tolist() == all_frames.pts[expected].tolist()


@pytest.mark.parametrize(("frames", "times"), [(8, [2.0, 3.0, 4.0]), (2, [2.0, 4.0]), (1, [2.0])])
def test_a_rate_reads_at_most_the_given_frames_and_never_repeats(
    video: Path, all_frames: Frames, frames: int, times: list[float]
) -> None:
    clip = FrameRule(frames, fps=1.0).read(video, 2.0, 5.0)
    assert clip.pts.tolist() == times
    assert np.array_equal(clip.pixels, all_frames.pixels[[int(4 * time) for time in times]])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "either a 'rule' or an 'fps'"),
        ({"rule": "head", "fps": 1.0}, "either a 'rule' or an 'fps'"),
        ({"rule": "uniform"}, "unknown sampling rule"),
        ({"rule": "head", "frames": 0}, "positive"),
        ({"fps": -1.0}, "fps must be"),
    ],
)
def test_wrong_rules_are_refused(settings: dict, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        FrameRule(**settings)


@pytest.mark.parametrize("rule", [FrameRule(2, rule="head"), FrameRule(2, fps=1.0)])
def test_a_clip_after_the_end_of_its_file_is_an_error(video: Path, rule: FrameRule) -> None:
    with pytest.raises(VideoError, match="there is no frame at"):
        rule.read(video, 50.0, 60.0)
    with pytest.raises(UsageError, match="0 <= start < end"):
        read_count(video, 2, start=3.0, end=3.0)


def texts_of(manifest: Path, mode: str, epochs: int = 1) -> list[list[str]]:
    data = PairDataset(manifest, split="train", sampling=RULE, captions=mode)
    return [[data[Draw(i, epoch)].text for i in range(len(data))] for epoch in range(epochs)]


def test_caption_modes(two_captions: Path) -> None:
    assert texts_of(two_captions, "paragraph") == [["A cat runs. A dog sits.", "Only this."]]
    assert texts_of(two_captions, "first") == [["A cat runs. A dog sits.", "Only this."]]
    assert texts_of(two_captions, "caption") == [["A cat runs. A dog sits.", "A bird.", "Rain falls.", "Only this."]]
    assert texts_of(two_captions, "clip") == [["A cat runs.", "A dog sits.", "A bird."]]
    drawn = {epoch[0] for epoch in texts_of(two_captions, "sentence", 30)}
    assert drawn == {"A cat runs.", "A dog sits.", "A bird.", "Rain falls."}


def test_clips_hold_frames_of_their_span_and_equal_spans_are_one_group(two_captions: Path, all_frames: Frames) -> None:
    data = PairDataset(two_captions, split="train", sampling=FrameRule(9, fps=1.0), captions="clip")
    pairs = [data[i] for i in range(3)]
    assert [pair.frames.pts.tolist() for pair in pairs] == [[1, 2], [4, 5, 6], [1, 2]]
    assert [pair.group for pair in pairs] == [0, 1, 0]
    of_row = PairDataset(two_captions, split="train", sampling=FrameRule(9, fps=1.0), captions="caption")
    assert [of_row[i].group for i in range(4)] == [0, 0, 0, 1]
    assert of_row[3].frames.pts.tolist() == [2, 3, 4]


def test_units_and_preparation_are_defined_by_the_caller(two_captions: Path) -> None:
    data = PairDataset(
        two_captions, split="train", sampling=RULE, units=str.split, prepare=lambda pixels: pixels[:, ::2, ::4]
    )
    pair = data[1]
    assert pair.units == ("Only", "this.")
    assert pair.frames.pixels.shape == (3, 24, 12, 3)


def test_missing_parts_of_a_manifest_are_named(two_captions: Path, video: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split 'val'.*train"):
        PairDataset(two_captions, split="val", sampling=RULE)
    with pytest.raises(UsageError, match=r"captions: unknown mode 'poem'.*paragraph"):
        PairDataset(two_captions, split="train", sampling=RULE, captions="poem")
    rows = [Row("a", str(video), None, "train", (Caption("?!"),))]
    silent = PairDataset(write_manifest(tmp_path / "silent.jsonl", rows), split="train", sampling=RULE)
    with pytest.raises(DataError, match=r"row 'a'.*no words"):
        silent[0]
    with pytest.raises(DataError, match="no sentence of split 'train' has times"):
        PairDataset(tmp_path / "silent.jsonl", split="train", sampling=RULE, captions="clip")
    assert set(CAPTIONS) == {"paragraph", "first", "caption", "sentence", "clip", "answer", "action"}


def test_a_broken_file_is_reported_and_never_replaced(two_captions: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    rows = [*read_manifest(two_captions), Row("c", "broken.mp4", None, "train", (Caption("Gone."),))]
    data = PairDataset(write_manifest(tmp_path / "with.jsonl", rows), split="train", sampling=RULE)
    items = [data[i] for i in range(3)]
    assert isinstance(items[2], BrokenVideo)
    assert items[2].path.endswith("broken.mp4")
    batch = collate(items)
    assert len(batch) == 2
    assert batch.broken == (items[2],)
    with pytest.raises(DataError, match=r"none of the 1 videos.*broken\.mp4"):
        collate(items[2:])


def test_collate_pads_with_zeros_and_returns_masks(two_captions: Path) -> None:
    data = PairDataset(two_captions, split="train", sampling=FrameRule(9, fps=1.0), captions="clip")
    pairs = [data[0], data[1]]
    batch = collate(pairs)
    assert batch.frames.shape == (2, 3, 48, 48, 3)
    assert batch.frame_mask.tolist() == [[True, True, False], [True] * 3]
    assert not batch.frames[0, 2].any()
    assert np.array_equal(batch.frames[1], pairs[1].frames.pixels)
    assert batch.units == (("A cat runs.",), ("A dog sits.",))
    small = Pair("x", 7, Frames(np.zeros((1, 2, 2, 3), np.uint8), np.zeros(1)), "t", ("t",))
    with pytest.raises(DataError, match="differ in size"):
        collate([pairs[0], small])


def test_value_objects_check_themselves() -> None:
    frames = Frames(np.zeros((1, 2, 2, 3), np.uint8), np.zeros(1))
    with pytest.raises(ValueError, match="needs frames, a text and its units"):
        Pair("x", 0, frames, "t", ())
    pixels, groups = np.zeros((1, 2, 2, 2, 3), np.uint8), np.zeros(1, np.int64)
    with pytest.raises(ValueError, match="at least one real frame"):
        Batch(pixels, np.zeros((1, 2), bool), ("t",), (("t",),), groups)
    with pytest.raises(ValueError, match="do not agree"):
        Batch(pixels, np.ones((1, 3), bool), ("t",), (("t",),), groups)


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    sampler = PairSampler(50, seed=4)
    first, again = list(sampler), list(sampler)
    assert first == again
    assert sorted(draw.item for draw in first) == list(range(50))
    sampler.set_epoch(1)
    second = list(sampler)
    assert [draw.item for draw in second] != [draw.item for draw in first]
    assert {draw.epoch for draw in second} == {1}
    assert list(PairSampler(50, seed=5)) != first


def test_workers_change_nothing(worlds_manifest: Path) -> None:
    data = PairDataset(worlds_manifest, split="train", sampling=FrameRule(2, rule="head"), captions="sentence")
    data = pickle.loads(pickle.dumps(data))
    sampler = PairSampler(len(data), 0)
    sampler.set_epoch(3)
    serial, parallel = (
        list(DataLoader(data, 2, sampler=sampler, num_workers=workers, collate_fn=collate)) for workers in (0, 2)
    )
    assert [batch.texts for batch in serial] == [batch.texts for batch in parallel]
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(serial, parallel, strict=True))
