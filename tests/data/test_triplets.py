"""Triplets of a manifest: which synthetic video belongs to which negative, draws, weights, what is broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mova.data.dataset import BrokenVideo, Draw
from mova.data.manifest import Caption, Row, write_manifest
from mova.data.synthetic import Synthetic
from mova.data.triplets import SyntheticChoice, TripletItem, TripletVideos
from mova.errors import DataError, UsageError, VideoError


def synthetic(negative: int, index: int, role: str = "negative") -> dict[str, Any]:
    video = f"s{negative}-{index}-{role}.mp4"
    return {
        "video": video,
        "text": f"false {negative}",
        "role": role,
        "place": negative,
        "index": index,
        "duration": 2.0,
    }


def see(path: Path, start: float, end: float | None) -> tuple[str, float, float | None]:
    if "broken" in path.name:
        raise VideoError(path, "no frames")
    return path.name, start, end


def weigh(videos: Sequence[Synthetic]) -> np.ndarray:
    return np.array([0.25 * video.index for video in videos])


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        negatives = [{"text": f" false {i} ", "misalignment": "object"} for i in range(2)]
        videos = [synthetic(1, 0), synthetic(1, 1), synthetic(1, 2), synthetic(0, 3, "positive")]
        meta = {"negatives": negatives, "synthetic": videos} | changes.pop("meta", {})
        plain = {"video": "real.mp4", "start": 1.0, "end": 3.0, "meta": meta}
        row = Row("a", duration=9.0, split="train", captions=(Caption("true"),), **plain | changes)
        return write_manifest(tmp_path / "manifest.jsonl", [row, Row("b", "b.mp4", 9.0, "test", (Caption("b"),))])

    return write


def test_each_negative_has_its_own_synthetic_videos_and_epochs_draw_among_them(written: Callable[..., Path]) -> None:
    dataset = TripletVideos(written(), split="train", read_clip=see, weigh=weigh, seed=5)
    assert len(dataset) == 2
    first = dataset[0]
    assert isinstance(first, TripletItem)
    assert (first.positive, first.negative, first.real) == ("true", " false 0 ", ("real.mp4", 1.0, 3.0))
    assert (first.synthetic, first.weight) == (None, 0.0)
    drawn: dict[Any, float] = {}
    for epoch in range(40):
        item = dataset[Draw(1, epoch)]
        assert isinstance(item, TripletItem)
        drawn[item.synthetic] = item.weight
    assert drawn == {None: 0.0, ("s1-1-negative.mp4", 0.0, None): 0.25, ("s1-2-negative.mp4", 0.0, None): 0.5}
    again = TripletVideos(written(), split="train", read_clip=see, weigh=weigh, seed=5)
    assert [again[Draw(1, e)].weight for e in range(9)] == [dataset[Draw(1, e)].weight for e in range(9)]
    summary = dataset.to_json()
    assert [summary[key] for key in ("triplets", "without_synthetic", "synthetic", "of_weight_0")] == [2, 1, 3, 1]
    assert summary["mean_weight"] == pytest.approx(0.25)


def test_without_weights_synthetic_videos_are_not_opened(written: Callable[..., Path]) -> None:
    dataset = TripletVideos(written(), split="train", read_clip=see)
    assert all(dataset[Draw(1, epoch)].synthetic is None for epoch in range(9))


def test_broken_files_are_named(written: Callable[..., Path]) -> None:
    item = TripletVideos(written(video="broken.mp4"), split="train", read_clip=see)[0]
    assert isinstance(item, BrokenVideo)
    assert item.cause == "no frames"
    videos = [synthetic(0, 1) | {"video": "broken.mp4"}]
    triplet = TripletVideos(written(meta={"synthetic": videos}), split="train", read_clip=see, weigh=weigh)[0]
    assert isinstance(triplet, TripletItem)
    assert (triplet.synthetic, triplet.weight, len(triplet.broken)) == (None, 0.0, 1)


def test_wrong_manifests_are_refused(written: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="split 'test' has no negatives"):
        TripletVideos(written(), split="test", read_clip=see)
    mismatched = [synthetic(0, 0) | {"text": "something else"}]
    with pytest.raises(DataError, match="is not that of negative 0"):
        TripletVideos(written(meta={"synthetic": mismatched}), split="train", read_clip=see, weigh=weigh)
    with pytest.raises(DataError, match="missing or unknown keys: duration"):
        TripletVideos(written(meta={"synthetic": [{"video": "x.mp4"}]}), split="train", read_clip=see, weigh=weigh)


def test_a_kind_of_misalignment_keeps_the_real_video_of_all(written: Callable[..., Path]) -> None:
    videos = [synthetic(0, 0), synthetic(1, 1)]
    negatives = [{"text": " false 0 ", "misalignment": "object"}, {"text": " false 1 ", "misalignment": "Counting"}]
    manifest = written(meta={"negatives": negatives, "synthetic": videos})
    chosen = TripletVideos(
        manifest,
        split="train",
        read_clip=see,
        weigh=lambda v: np.ones(len(v)),
        choice=SyntheticChoice(kinds=("count",)),
    )
    first, second = chosen[0], chosen[1]
    assert isinstance(first, TripletItem)
    assert isinstance(second, TripletItem)
    assert (first.real, first.synthetic, first.weight) == (("real.mp4", 1.0, 3.0), None, 0.0)
    assert (second.synthetic, second.weight) == (("s1-1-negative.mp4", 0.0, None), 1.0)
    with pytest.raises(DataError, match=r"is of the chosen kinds \(flip\) and generators \(all\); it has 2"):
        TripletVideos(manifest, split="train", read_clip=see, weigh=weigh, choice=SyntheticChoice(kinds=("flip",)))
    with pytest.raises(UsageError, match="'verb' is not a kind of hard negative"):
        SyntheticChoice(kinds=("verb",))


def test_all_synthetic_videos_count_and_the_real_one_once(written: Callable[..., Path]) -> None:
    videos = [
        {**synthetic(1, i), "generator": {"model": name}} for i, name in enumerate(("LaVie", "CogVideoX", "LaVie"))
    ]
    manifest = written(meta={"synthetic": videos})
    ones = {"split": "train", "read_clip": see, "weigh": lambda v: np.ones(len(v))}
    every = TripletVideos(manifest, **ones, choice=SyntheticChoice(every=True))
    items = [every[Draw(i, 3)] for i in range(len(every))]
    assert [item.synthetic and item.synthetic[0] for item in items if isinstance(item, TripletItem)] == [
        None,
        *(f"s1-{i}-negative.mp4" for i in range(3)),
    ]
    assert [item.real_share for item in items if isinstance(item, TripletItem)] == [1.0, *[1 / 3] * 3]
    assert (every.to_json()["triplets"], every.to_json()["items"]) == (2, 4)
    one = TripletVideos(manifest, **ones, choice=SyntheticChoice(generators=("CogVideoX",), every=True))
    assert [one[i].synthetic for i in range(len(one))] == [None, ("s1-1-negative.mp4", 0.0, None)]  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"generators \(Sora\); it has 3, of None, by CogVideoX, LaVie"):
        TripletVideos(manifest, **ones, choice=SyntheticChoice(generators=("Sora",)))
