"""Long videos joined from clips: truth and recalls against brute force, joined clips of a manifest, and the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from mova.data.manifest import read_manifest
from mova.errors import DataError, UsageError
from mova.eval.tasks.long_galleries import (
    LongGallery,
    LongVideo,
    clips_gallery,
    manifest_gallery,
    worlds_gallery,
)
from mova.eval.tasks.long_videos import bounds_of, evaluate_long, localization, recalls_of, thirds
from mova.eval.tasks.split import open_split
from mova.models.embeddings import VideoEmbedding
from tests.support.fakes import NAMES, ColourEncoder, ColourWindows


def clip(vector: torch.Tensor, frames: int = 2) -> VideoEmbedding:
    return VideoEmbedding(vector.repeat(frames, 1), np.arange(float(frames)), duration=float(frames))


def random_gallery(seed: int, videos: int = 12, pool: int = 9, statements: int = 7) -> LongGallery:
    """Draw videos of five clips with captions of one to three statements, of which any clip may show any."""
    rng = np.random.default_rng(seed)
    clips = [clip(torch.from_numpy(rng.normal(size=(1, 4))).float(), int(rng.integers(1, 4))) for _ in range(pool)]
    drawn = [
        LongVideo(
            tuple(rng.integers(0, pool, 5).tolist()),
            tuple(rng.integers(0, statements, int(rng.integers(1, 4))).tolist()),
            i // 3,
            "abc"[i % 3],
        )
        for i in range(videos)
    ]
    return LongGallery(clips, [f"s{i}" for i in range(statements)], rng.random((statements, pool)) < 0.3, drawn)


@pytest.mark.parametrize("seed", range(3))
def test_a_video_shows_a_caption_if_some_choice_of_later_and_later_clips_does(seed: int) -> None:
    gallery = random_gallery(seed)
    satisfied = gallery.satisfied()
    for v, video in enumerate(gallery.videos):
        for c, other in enumerate(gallery.videos):
            choices = combinations(video.clips, len(other.statements))
            expected = any(
                all(gallery.shown[s, p] for s, p in zip(other.statements, chosen, strict=True)) for chosen in choices
            )
            assert satisfied[v, c] == expected


def test_joined_vectors_follow_each_other_in_time() -> None:
    gallery = random_gallery(0)
    video, joined = gallery.videos[0], gallery.embedding(0)
    lengths = [len(gallery.pool[i].times) for i in video.clips]
    starts = np.cumsum([0, *lengths])
    for i, start in zip(video.clips, starts, strict=False):
        part = slice(start, start + len(gallery.pool[i].times))
        torch.testing.assert_close(joined.frames[part], gallery.pool[i].frames)
        assert (joined.times[part] == gallery.pool[i].times + start).all()
        assert (gallery.frame_clips(0)[part] == i).all()
    assert joined.duration == starts[-1]
    windows = ColourWindows().encode_video(np.zeros((16, 8, 8, 3), np.uint8), fps=4.0)
    twice = LongGallery([windows], ["a"], np.ones((1, 1), bool), [LongVideo((0, 0), (0,), 0, "base")]).embedding(0)
    assert windows.windows is not None
    assert twice.windows is not None
    assert (twice.windows == np.concatenate([windows.windows, windows.windows + windows.duration])).all()


def test_recalls_are_those_of_sorted_scores() -> None:
    gallery = random_gallery(1)
    scores = np.random.default_rng(2).normal(size=(12, 12))
    recalls = recalls_of(scores, gallery)
    best = [max(range(12), key=lambda v, c=c: scores[v, c]) for c in range(12)]
    hits = [best[c] == c for c in range(12)]
    assert recalls.t2v == pytest.approx(100 * np.mean(hits))
    assert recalls.v2t == pytest.approx(100 * np.mean([int(np.argmax(scores[v])) == v for v in range(12)]))
    assert recalls.group == pytest.approx(100 * np.mean([best[c] // 3 == c // 3 for c in range(12)]))
    assert recalls.members["b"] == pytest.approx(100 * np.mean(hits[1::3]))
    long = [hits[c] for c in range(12) if len(gallery.videos[c].statements) == 3]
    assert recalls.statements["3"] == pytest.approx(100 * np.mean(long))
    assert sum(len(part) for part in recalls.uncovered) > 0


def test_bounds_know_all_the_group_or_nothing() -> None:
    gallery = random_gallery(2)
    gallery.shown[:] = np.eye(7, 9, dtype=bool)  # every statement is that of one clip
    bounds = bounds_of(gallery)
    assert (bounds["chance"].t2v, bounds["group known"].t2v) == pytest.approx((100 / 12, 100 / 3))
    satisfied = gallery.satisfied()
    expected = [1 / satisfied[:, c].sum() if satisfied[c, c] else 0.0 for c in range(12) if satisfied[:, c].any()]
    whole = [1 / 12 for c in range(12) if not satisfied[:, c].any()]
    assert bounds["oracle"].t2v == pytest.approx(100 * (sum(expected) + sum(whole)) / 12)


def test_equal_values_are_in_one_third() -> None:
    names, order = thirds(np.array([0.5] * 5 + [0.9]))
    assert names == ["0.50-0.50"] * 5 + ["0.90-0.90"]
    assert order == ["0.50-0.50", "0.90-0.90"]
    assert thirds(np.array([0.25]))[1] == ["0.25-0.25"]


def colours(count: int) -> tuple[list[VideoEmbedding], list[str]]:
    """Clips of every pair of two different colours, and what they show."""
    pairs = list(combinations(range(len(NAMES)), 2))[:count]
    vectors = [torch.nn.functional.one_hot(torch.tensor(pair), 8).sum(dim=0, keepdim=True).float() for pair in pairs]
    return [clip(vector, 4) for vector in vectors], [f"{NAMES[a]} and {NAMES[b]}." for a, b in pairs]


def test_clips_are_found_by_a_model_that_knows_them() -> None:
    gallery = clips_gallery(*colours(28), videos=9, minutes=1, seed=1)
    for video in gallery.videos:
        assert len(set(video.clips)) == 7
        assert 60 <= sum(gallery.pool[i].duration for i in video.clips) < 64
        places = [video.clips.index(i) for i in video.statements]
        assert places == sorted(places)
        assert len(places) == 2
    base, swapped, replaced = gallery.videos[:3]
    assert base.statements == swapped.statements[::-1]
    assert len(set(base.clips) - set(replaced.clips)) == len(set(base.statements) - set(replaced.statements)) == 1
    figures = evaluate_long(ColourEncoder(rate=1.0), gallery)
    assert list(figures.forms) == ["late", "relevance", "global"]
    assert figures.localization["sentence to frame, mAP"] == pytest.approx(1.0)
    assert figures.forms["late"].group > 2 * figures.bounds["chance"].group
    assert figures.minutes == pytest.approx(1.0, abs=0.1)
    assert json.loads(json.dumps(figures.to_json()))["bounds"]["oracle"]["t2v"] <= 100


def test_localization_is_the_mean_over_statements_of_the_area_under_precision_and_recall() -> None:
    gallery = clips_gallery(*colours(28), videos=9, minutes=1, seed=2)
    noise = torch.Generator().manual_seed(0)
    for one in gallery.pool:
        one.frames.add_(torch.randn(one.frames.shape, generator=noise))
    model, values, shares = ColourEncoder(rate=1.0), [], []
    for number, video in enumerate(gallery.videos):
        vectors = model.encode_text([gallery.statements[i] for i in video.statements]).pooled
        curves = model.relevance(vectors, gallery.embedding(number)).numpy()
        for curve, truth in zip(curves, gallery.truth(number), strict=True):
            right = np.cumsum(truth[np.argsort(-curve, kind="stable")])
            precision = [
                (truth & (curve >= value)).sum() / (curve >= value).sum() * (curve[truth] == value).sum()
                for value in np.unique(curve)
            ]
            values.append(sum(precision) / right[-1])
            shares.append(truth.mean())
    found = localization(model, gallery)
    assert found["sentence to frame, mAP"] == pytest.approx(np.mean(values))
    assert found["chance mAP"] == pytest.approx(np.mean(shares))


def test_what_cannot_be_measured_is_one_message() -> None:
    clips, captions = colours(28)
    whole = VideoEmbedding(torch.eye(8), np.arange(8.0), 8.0, whole=torch.ones(8))
    for wish, message in (
        ({"videos": 2}, "at least 8 videos, not 2"),
        ({"minutes": 0.1}, "at least 0.8 minutes, not 0.1"),
        ({"minutes": float("nan")}, "not nan"),
    ):
        with pytest.raises(UsageError, match=message):
            clips_gallery(clips, captions, **wish)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=message):
            worlds_gallery(ColourEncoder(), **wish)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="style 'oil' is unknown"):
        worlds_gallery(ColourEncoder(), style="oil")
    with pytest.raises(UsageError, match="cannot be joined"):
        clips_gallery([whole] * 20, captions[:20])
    with pytest.raises(DataError, match="can have 3 of the 12 clips"):
        clips_gallery(clips[:12], captions[:12])
    with pytest.raises(DataError, match="other captions"):
        clips_gallery(clips, ["The same."] * 28)


@pytest.fixture(scope="module")
def segments(worlds_manifest: Path) -> Path:
    """The ten Worlds as twenty clips of five seconds, and one file that is not there."""
    rows = []
    for row in read_manifest(worlds_manifest):
        texts = list(dict.fromkeys(s.text for caption in row.captions for s in caption.sentences))
        for half, text in enumerate((texts[0], texts[-1])):
            span = {"start": 5.0 * half, "end": 5.0 * half + 5}
            rows.append({"id": f"{row.id}-{half}", "video": row.video, **span, "text": f"{text} {row.id}."})
    rows.append({"id": "lost", "video": "lost.mp4", "start": None, "end": None, "text": "Nothing."})
    path = worlds_manifest.with_name("segments.jsonl")
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            text = row.pop("text")
            whole = {"duration": 10.0, "split": "test", "captions": [{"text": text, "sentences": []}]}
            file.write(json.dumps({**row, **whole}) + "\n")
    return path


def test_clips_of_a_manifest_are_cut_out_of_their_files(segments: Path) -> None:
    split = open_split(ColourEncoder(), segments)
    gallery = manifest_gallery(split, videos=8, minutes=1)
    assert list(split.excluded) == ["lost"]
    assert len(gallery.pool) == 20
    assert all(part.duration == pytest.approx(5.0) and part.times[0] < 1 for part in gallery.pool)
    assert [len(set(video.clips)) for video in gallery.videos] == [5] * 8


def test_the_command(call: Callable[..., tuple[int, str, str]], segments: Path) -> None:
    size = ("--model", "mova-worlds-tiny", "--videos", 8, "--minutes", 1)
    code, out, err = call("eval", "long", *size, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert list(document["forms"]) == ["rule", "late", "relevance", "global"]
    assert document["forms"]["rule"]["t2v"] > document["bounds"]["chance"]["t2v"]
    code, out, err = call("eval", "long", *size, "--manifest", segments, "--form", "late")
    assert code == 0, err
    assert "late" in out
    assert "oracle" in out
    assert "not measured: lost" in err
    code, _, err = call("eval", "long", *size, "--form", "guess")
    assert (code, "unknown form" in err) == (2, True)
