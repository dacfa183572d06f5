"""Several indexes searched as one: the same moments and rates as one index that has all of their videos."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mova.errors import IndexMismatchError, UsageError
from mova.search import evidence
from mova.search.cold import snapshot
from mova.search.cold.snapshot import Snapshot
from mova.search.evidence import Answer
from mova.search.index import Index
from mova.search.narrow.filter import Filter
from mova.search.shards.index import ShardedIndex
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store
from tests.support.known import WIDTH, KnownEncoder, drawn

SENTENCES = tuple(f"background {number}" for number in range(60))
RATE, FRAMES = 2.0, 30
TEXTS = [f"something {number}" for number in (0, 1, 4)] + ["One 1. Two 2. Three 3."]
PARTS = ((0, 3), (3, 8), (8, 9))
"""Numbers of the first video of each index, and of the one after its last."""


class Described(KnownEncoder):
    """Known vectors, with a background of random ones."""

    background = SENTENCES


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def film(number: int, rate: float = RATE) -> tuple[StoredFrames, VideoRecord]:
    """A video of slowly changing frames, among them the text `something NUMBER`."""
    rng = np.random.default_rng(number)
    vectors = unit(np.cumsum(rng.normal(size=(FRAMES, WIDTH)), axis=0) + 0.4 * drawn(f"something {number}")[0].numpy())
    record = VideoRecord(
        f"/{'ab'[number % 2]}/{number}.mp4", f"{number:032x}", 1, number, FRAMES / rate, FRAMES, vectors.mean(axis=0)
    )
    return StoredFrames(np.arange(FRAMES) / rate, vectors), record


def make(folder: Path, numbers: Any, rate: float = RATE, fingerprint: str = "known", window: int = 1) -> str:
    store = Store(folder)
    store.create(Meta("known", fingerprint, WIDTH, rate, window=window))
    frames, records = zip(*(film(number, rate) for number in numbers), strict=True)
    if window > 1:
        seen = np.arange(FRAMES)[:, None] / rate + [0, window / rate]
        frames = tuple(replace(part, windows=seen) for part in frames)
    store.append([record.content for record in records], frames)
    store.commit(records)
    Index(folder).refresh()
    return str(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """One index of nine videos, and three that have the same videos together."""
    place = tmp_path_factory.mktemp("indexes")
    parts = [make(place / f"part-{first}", range(first, last)) for first, last in PARTS]
    return make(place / "whole", range(9)), parts


@pytest.fixture(params=["mapped", "coded", "tables"])
def both(
    made: tuple[str, list[str]], tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Index, ShardedIndex]:
    """The index and the indexes, by their snapshots (without and with codes) or by their tables."""
    whole, *parts = (shutil.copytree(name, tmp_path / Path(name).name) for name in (made[0], *made[1]))
    if request.param == "tables":
        for folder in (whole, *parts):
            shutil.rmtree(folder / "snapshot")
    else:  # the copies have other times
        for folder in (whole, *parts):
            Index(folder).refresh()
    if request.param == "coded":
        monkeypatch.setattr(snapshot, "CODED_ROWS", 1)
    together = ShardedIndex(parts, Described())
    assert together._reader().mapped == (request.param != "tables")
    return Index(whole, Described()), together


def rows(answer: Answer) -> list[tuple[Any, ...]]:
    return [(m.video, m.start, m.end, round(m.score, 5), m.false_alarm, m.evidence) for m in answer]


def test_moments_and_rates_are_those_of_one_index(both: tuple[Index, ShardedIndex]) -> None:
    whole, together = both
    wanted: list[Filter | None] = [
        None,
        Filter("/a"),
        Filter("/b/3.mp4"),
        Filter(one_per_video=True, dedupe=0.8),
    ]
    for text in TEXTS:
        for narrowed in wanted:
            one, several = (index.search(text, k=6, filter=narrowed, order="no") for index in both)
            assert rows(several) == rows(one)
            assert (several.false_alarm, several.evidence) == (one.false_alarm, one.evidence)
            assert several.background is not None
            assert one.background is not None
            assert several.background.frames == one.background.frames
            np.testing.assert_array_equal(several.background.maxima, one.background.maxima)
            assert several.unsearched == {}
    found = [index.search(" ".join(TEXTS * 14), k=6, order="no") for index in both]
    assert rows(found[1]) == rows(found[0])
    found = [index.search(TEXTS[0], k=30, min_score=0.1, skip=3, order="no") for index in both]
    assert rows(found[1]) == rows(found[0])
    assert len(found[0]) > 5
    assert [video.path for video in together.videos()] == [video.path for video in whole.videos()]


def test_lists_vectors_examples_and_highlights_are_those_of_one_index(both: tuple[Index, ShardedIndex]) -> None:
    one, several = (index.search(TEXTS, k=4, order="no") for index in both)
    assert list(map(rows, several)) == list(map(rows, one))
    assert rows(one[0]) == rows(both[1].search(TEXTS[0], k=4))
    vector = drawn("a picture")[0].numpy()
    assert rows(both[1].search(vector, k=4)) == rows(both[0].search(vector, k=4))
    first, second = (index.highlights(k=5, skip_blank=False) for index in both)
    assert rows(second) == rows(first)
    assert len(first) == 5


def test_rates_are_higher_than_those_of_each_index_alone(made: tuple[str, list[str]]) -> None:
    together = ShardedIndex(made[1], Described())
    rates = [Index(name, Described()).search(TEXTS[2], k=1)[0] for name in made[1]]
    best = together.search(TEXTS[2], k=1)[0]
    own = max(rates, key=lambda moment: moment.score)
    assert (best.video, best.score) == (own.video, own.score)
    assert best.false_alarm > own.false_alarm  # type: ignore[operator]


def test_rates_of_sampled_indexes_are_near_those_of_all_frames(
    both: tuple[Index, ShardedIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = both[0].search(TEXTS[0]).background
    for folder in both[1].shards:
        assert folder.folder is not None
        (folder.folder / evidence.NAME).unlink(missing_ok=True)
    monkeypatch.setattr(evidence, "MOST_FRAMES", 60)
    monkeypatch.setattr(evidence, "BATCH_FRAMES", FRAMES)
    sampled = ShardedIndex([shard.uri for shard in both[1].shards], Described()).search(TEXTS[0]).background
    assert whole is not None
    assert sampled is not None
    assert (sampled.frames, sampled.sampled) == (whole.frames, 5 * FRAMES)
    assert sampled.maxima.mean() == pytest.approx(whole.maxima.mean(), abs=0.1)
    measured = [shard._background.read(SENTENCES) for shard in both[1].shards]
    assert [part.sampled for part in measured if part is not None] == [60, 60, 30]
    assert max(part.maxima.mean() for part in measured if part is not None) < whole.maxima.mean() - 0.1


def test_videos_that_several_indexes_have_count_once(made: tuple[str, list[str]], tmp_path: Path) -> None:
    more = make(tmp_path / "more", (1, 2, 8))
    moved = make(tmp_path / "moved", (4,))
    store = Store(moved)
    record = store.records()["/a/4.mp4"]
    store.drop(["/a/4.mp4"])
    store.commit([VideoRecord("/c/4.mp4", *list(vars(record).values())[1:])])
    names = [*made[1], more, moved]
    for narrowed in (None, Filter("/c/4.mp4"), Filter("/b/1.mp4")):
        several = ShardedIndex(names, Described()).search(TEXTS[1], k=9, filter=narrowed)
        assert len({(m.video, m.start) for m in several}) == len(several) > 0
        if narrowed is None:
            assert rows(several) == rows(Index(made[0], Described()).search(TEXTS[1], k=9))
    assert len(ShardedIndex(names)) == 10


def test_an_index_that_cannot_be_read_is_named_and_the_others_are_searched(
    both: tuple[Index, ShardedIndex], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    folders = [shard.uri for shard in both[1].shards]
    absent = str(tmp_path / "absent")
    expected = rows(both[1].search(TEXTS[0]))
    answer = ShardedIndex([absent, *folders], Described()).search(TEXTS[0])
    assert rows(answer) == expected
    assert list(answer.unsearched) == [absent]
    assert answer.to_json()["unsearched"] == answer.unsearched
    assert "no index here" in caplog.text
    for path in chain((Path(folders[1]) / "frames.lance" / "data").glob("*"), Path(folders[1]).glob("snapshot/*")):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    damaged = ShardedIndex(folders, Described())
    for _ in range(2):
        answer = damaged.search(TEXTS[0])
        assert list(answer.unsearched) == [folders[1]]
        assert "damaged" in answer.unsearched[folders[1]]
    assert caplog.text.count("is damaged") == 1
    assert rows(answer) == rows(ShardedIndex([folders[0], folders[2]], Described()).search(TEXTS[0]))
    with pytest.raises(UsageError, match="none of 2 indexes can be read"):
        ShardedIndex([absent, folders[1]], Described()).search(TEXTS[0])


def test_damage_that_shows_during_a_search_leaves_the_index_out(
    both: tuple[Index, ShardedIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, together = both
    failing = type(together._reader().parts[0])
    name = together.shards[2].uri
    original: Callable[..., Any] = failing.nearest

    def nearest(self: Any, *arguments: Any, **options: Any) -> Any:
        if self.uri == name:
            raise OSError(5, "Input/output error")
        return original(self, *arguments, **options)

    expected = rows(ShardedIndex([shard.uri for shard in together.shards[:2]], Described()).search(TEXTS[0]))
    monkeypatch.setattr(failing, "nearest", nearest)
    answer = together.search(TEXTS[0])
    assert rows(answer) == expected
    assert list(answer.unsearched) == [name]
    monkeypatch.undo()
    assert together.search(TEXTS[0]).unsearched == {}


def test_changes_of_an_index_are_seen(both: tuple[Index, ShardedIndex]) -> None:
    _, together = both
    before = together.search(TEXTS[0], k=30)
    store = Store(together.shards[0].uri)
    frames, record = film(100)
    store.append([record.content], [frames])
    store.commit([record])
    after = together.search(TEXTS[0], k=30)
    assert {m.video for m in after} == {m.video for m in before} | {"/a/100.mp4"}
    assert after.background.frames == before.background.frames + FRAMES
    assert not isinstance(together._reader().parts[0], Snapshot)
    together.refresh()
    assert isinstance(together._reader().parts[0], Snapshot)


@pytest.mark.parametrize("coarse_first", [True, False])
def test_indexes_of_single_frames_may_have_several_frame_rates(
    made: tuple[str, list[str]], tmp_path: Path, coarse_first: bool
) -> None:
    """Moments in one of the videos are those that its own index finds there."""
    coarse = make(tmp_path / "coarse", range(20, 24), rate=0.25)
    names = [coarse, made[1][1]] if coarse_first else [made[1][1], coarse]
    together = ShardedIndex(names, Described())
    lengths = set()
    for index in (Index(name, Described()) for name in names):
        for record in index.videos():
            for text in TEXTS:
                wanted = Filter(record.path)
                alone = index.search(text, k=5, filter=wanted, order="no")
                assert rows(together.search(text, k=5, filter=wanted, order="no")) == rows(alone)
                lengths |= {m.end - m.start for m in alone}
    assert {0.5, 4.0} <= lengths
    best = together.search(TEXTS[0], k=3)
    assert [m.score for m in best] == sorted((m.score for m in best), reverse=True)


def test_indexes_of_other_models_or_settings_are_refused(made: tuple[str, list[str]], tmp_path: Path) -> None:
    for name, settings, words in (
        ("windows", {"window": 4, "rate": 1.0}, "frame rate 1.0, not 2.0; frames per window 4, not 1"),
        ("model", {"fingerprint": "another"}, "fingerprint 'another', not 'known'"),
    ):
        other = make(tmp_path / name, (20,), **settings)  # type: ignore[arg-type]
        with pytest.raises(
            IndexMismatchError, match=f"{name} cannot be searched together with .*part-0: it has {words}"
        ):
            ShardedIndex([made[1][0], other]).videos()
    with pytest.raises(UsageError, match="the list is empty"):
        ShardedIndex([])
