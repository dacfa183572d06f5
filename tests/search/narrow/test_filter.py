"""Filters of a search: what passes, what is refused, and answers equal to those of an index of these videos alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from mova.errors import UsageError
from mova.models.embeddings import VideoEmbedding
from mova.search import evidence
from mova.search.evidence import VECTORS, Answer
from mova.search.index import Index
from mova.search.narrow.filter import Filter
from mova.search.narrow.selection import Selection
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store
from mova.types import Moment
from tests.support.known import WIDTH, KnownEncoder

RATE = 2.0
DAY = 86_400


class Described(KnownEncoder):
    """Known vectors, with a background of random ones."""

    background = tuple(f"background {number}" for number in range(60))


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def record(path: str, when: str = "2024-05-01", duration: float = 60.0, content: str = "") -> VideoRecord:
    mean = np.zeros(4, np.float32)
    return VideoRecord(path, content or path, 1, int(seconds(when) * 1e9), duration, 60, mean)


VIDEOS = [
    record("/films/2023/old.mp4", "2023-12-31T23:59:59", 30.0),
    record("/films/2024/may.mp4", "2024-05-01", 90.0),
    record("/films/2024/june/long.mp4", "2024-06-15T12:00", 7200.0),
    record("/films/2024-copy/may.mp4", "2025-01-01", 90.0, content="/films/2024/may.mp4"),
]
RECORDS = {video.path: video for video in VIDEOS}


def passing(**values: object) -> list[int]:
    chosen = Filter(**values).choose(RECORDS)  # type: ignore[arg-type]
    assert list(chosen) == [path for path in RECORDS if path in chosen]
    return [list(RECORDS).index(path) for path in chosen]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"folders": "/films/2024"}, [1, 2]),
        ({"folders": "/films/2024/"}, [1, 2]),
        ({"folders": Path("/films/2024/june")}, [2]),
        ({"folders": ["/films/2023", "/films/2024-copy"]}, [0, 3]),
        ({"folders": "2024"}, [1, 2]),
        ({"folders": "2024/june/../may.mp4"}, [1]),
        ({"folders": "/"}, [0, 1, 2, 3]),
        ({"after": "2024"}, [1, 2, 3]),
        ({"after": "2024-05-01"}, [1, 2, 3]),
        ({"after": "2024-05-01T00:00:01"}, [2, 3]),
        ({"after": date(2024, 6, 1), "before": "2025"}, [2]),
        ({"before": datetime.fromtimestamp(seconds("2024-05-01"), UTC)}, [0]),
        ({"before": datetime.fromtimestamp(seconds("2024-05-01") + 1, UTC)}, [0, 1]),
        ({"longer": 90}, [1, 2, 3]),
        ({"longer": "1:30", "shorter": "90s"}, [1, 3]),
        ({"shorter": 89.999}, [0]),
        ({"longer": "2h"}, [2]),
        ({"longer": "1h59m59.5s"}, [2]),
        ({"folders": "2024", "shorter": "10m", "before": "2024-06"}, [1]),
    ],
)
def test_the_videos_that_pass(values: dict[str, object], expected: list[int]) -> None:
    assert passing(**values) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"folders": "/films/20"}, "no video: none is below /films/20 .*/films/2023"),
        ({"folders": ["2024", "2022"]}, "none is below 2022"),
        ({"after": "2026"}, "of 4 videos, none are dated 2026 or later .*to 2025-01-01"),
        ({"folders": "2023", "after": "2024"}, "of 1 that are below 2023, none are dated 2024 or later"),
        ({"longer": "3h"}, "none have at least 3:00:00 .*2:00:00"),
        ({"shorter": 1}, "none have at most 0:01"),
    ],
)
def test_a_filter_that_leaves_no_video_says_what_the_videos_have(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        passing(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"after": "yesterday"}, "after 'yesterday': is not a date such as 2024"),
        ({"before": "2024-13"}, "before '2024-13'"),
        ({"before": ""}, "before ''"),
        ({"longer": "long"}, "longer 'long': is not a duration such as 90"),
        ({"longer": ""}, "longer ''"),
        ({"shorter": -1}, "must be 0 s or more"),
        ({"shorter": float("nan")}, "must be 0 s or more"),
        ({"after": "2024", "before": "2023"}, "exchange the dates"),
        ({"after": "2024", "before": "2024"}, "exchange the dates"),
        ({"longer": 10, "shorter": 9}, "exchange the lengths"),
    ],
)
def test_values_that_cannot_be_are_refused_at_once(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Filter(**values)  # type: ignore[arg-type]


def test_a_relative_folder_starts_at_the_current_one_if_a_video_is_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = [record(str(tmp_path / name)) for name in ("a/a/x.mp4", "a/y.mp4", "b/z.mp4")]
    records = {video.path: video for video in here}
    monkeypatch.chdir(tmp_path / "..")
    assert list(Filter("a").choose(records)) == [here[0].path, here[1].path]
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    assert list(Filter("a").choose(records)) == [here[0].path]
    assert list(Filter(".").choose(records)) == [here[0].path, here[1].path]


# --- answers ---


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float16).astype(np.float32)


def put(store: Store, number: int, vectors: np.ndarray, folder: Path) -> None:
    content, path = f"{number:032x}", folder / f"{number:02d}.mp4"
    store.append([content], [StoredFrames(np.arange(len(vectors)) / RATE, vectors)])
    when = int((seconds("2024-01-01") + number * DAY) * 1e9)
    length = len(vectors) / RATE
    store.commit([VideoRecord(str(path), content, 1, when, length, len(vectors), vectors.mean(axis=0))])


def frames_of(number: int) -> np.ndarray:
    """Videos from number 6 on are all alike, and unlike the others: what is true of one folder only."""
    rng = np.random.default_rng(number)
    drawn = rng.normal(size=(30 + number, WIDTH))
    return unit(drawn if number < 6 else drawn * 0.2 + np.random.default_rng(99).normal(size=WIDTH))


def build(folder: Path, numbers: range) -> Index:
    model = Described()
    store = Store(folder)
    store.create(Meta(model.name, model.fingerprint(), WIDTH, RATE))
    for number in numbers:
        put(store, number, frames_of(number), Path("/films") / ("alike" if number >= 6 else "mixed"))
    index = Index(folder, model)
    index.refresh()
    return index


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return build(tmp_path_factory.mktemp("whole") / "index", range(10))


FILTERS = [
    (Filter("alike"), range(6, 10)),
    (Filter("mixed"), range(6)),
    (Filter(after="2024-01-03", before="2024-01-06"), range(2, 5)),
    (Filter(longer=17, shorter="18"), range(4, 7)),
    (Filter("/films/mixed/03.mp4"), range(3, 4)),
    (Filter(one_per_video=True), range(10)),
    (Filter("alike", one_per_video=True), range(6, 10)),
]


def by_tables(index: Index, *words: object, **options: object) -> Answer:
    other = Index(str(index.folder), index.model)
    other._reader = lambda: other._store  # type: ignore[method-assign]
    return other.search(*words, **options)  # type: ignore[arg-type]


def rows(moments: list[Moment]) -> list[tuple[str, float, float]]:
    return [(Path(m.video).name, m.start, m.end) for m in moments]


@pytest.mark.parametrize(("wanted", "numbers"), FILTERS)
@pytest.mark.parametrize("text", ["something else", "A door opens. Something else happens."])
@pytest.mark.parametrize("small_scan", [True, False])
def test_the_answer_is_that_of_an_index_of_these_videos_alone(
    wanted: Filter,
    numbers: range,
    text: str,
    small_scan: bool,
    whole: Index,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not small_scan:
        monkeypatch.setattr("mova.search.cold.snapshot.CODED_ROWS", 10)
    alone = build(tmp_path / "index", numbers)
    for k in (1, 7, 300):
        expected = alone.search(text, k=k, filter=Filter(one_per_video=wanted.one_per_video))
        for answer in (whole.search(text, k=k, filter=wanted), by_tables(whole, text, k=k, filter=wanted)):
            assert rows(answer) == rows(expected)
            assert [m.score for m in answer] == pytest.approx([m.score for m in expected], abs=1e-6)
            assert [m.false_alarm for m in answer] == pytest.approx([m.false_alarm for m in expected], rel=1e-3)
            assert answer.evidence == expected.evidence
            assert answer.background is not None
            assert expected.background is not None
            assert answer.background.frames == expected.background.frames == sum(30 + n for n in numbers)


def test_the_tables_are_read_in_blocks_of_contents(whole: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mova.search.storage.arrow_rows.BLOCK", 2)
    wanted = Filter(before="2024-01-06")
    expected = whole.search("something", k=50, filter=wanted)
    answer = by_tables(whole, "something", k=50, filter=wanted)
    assert rows(answer) == rows(expected)
    chosen = Selection(whole._store, wanted.choose(whole._store.records()))
    assert chosen.count_frames() == sum(30 + n for n in range(5))


def test_rates_are_measured_on_the_videos_that_are_searched(whole: Index) -> None:
    """In a folder of alike videos chance reaches other scores than in the index: no share of the frames gives them."""
    model = whole.model
    assert isinstance(model, Described)
    inside = whole.search("something", filter=Filter("alike")).background
    everywhere = whole.search("something").background
    assert inside is not None
    assert everywhere is not None
    vectors = model.encode_text(Described.background).unit_vectors()
    expected = np.max([(vectors @ frames_of(number).T).max(axis=1) for number in range(6, 10)], axis=0)
    np.testing.assert_allclose(inside.maxima, np.sort(expected)[::-1], atol=2e-3)
    assert np.all(inside.maxima <= everywhere.maxima + 1e-6)
    assert inside.maxima.mean() < everywhere.maxima.mean() - 0.02


def test_the_background_is_encoded_once_for_all_filters(whole: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    assert whole.folder is not None
    whole.search("something", filter=Filter("alike"))
    assert (whole.folder / VECTORS).stat().st_size > 0
    again = Index(whole.folder, whole.model)
    real = evidence.background_of
    failing: Callable[..., object] = lambda encoder: (real(encoder)[0], lambda: pytest.fail("encoded"))  # noqa: E731
    monkeypatch.setattr("mova.search.open_index.background_of", failing)
    assert again.search("something", filter=Filter("mixed")).evidence is not None
    (whole.folder / VECTORS).write_bytes(b"damaged")
    monkeypatch.undo()
    assert Index(whole.folder, whole.model).search("something", filter=Filter("mixed")).evidence is not None
    assert (whole.folder / VECTORS).stat().st_size > 1000


@pytest.mark.parametrize("one_per_video", [False, True])
@pytest.mark.parametrize("text", ["something", "A door opens. Something else happens."])
def test_pages_are_parts_of_one_answer(text: str, one_per_video: bool, whole: Index) -> None:
    wanted = Filter(one_per_video=one_per_video)
    full = whole.search(text, k=48, filter=wanted)
    pages = [whole.search(text, k=7, skip=skip, filter=wanted) for skip in range(0, 49, 7)]
    assert [moment for page in pages for moment in page][:48] == list(full)
    assert len({page.false_alarm for page in pages}) <= 2  # the best so far: a later page is no worse evidence
    assert all(page.false_alarm <= pages[0].false_alarm for page in pages)  # type: ignore[operator]
    if one_per_video:
        assert len(full) == len({moment.video for moment in full})
        first: dict[str, float] = {}
        for moment in whole.search(text, k=10_000, rescore="none", order="no"):
            first.setdefault(moment.video, moment.score)
        if "." not in text:
            assert len(full) == 10
            assert [moment.score for moment in full] == list(first.values())


def test_pages_that_cannot_be_are_refused(whole: Index) -> None:
    with pytest.raises(UsageError, match="skip must be 0 or more"):
        whole.search("something", skip=-1)
    assert list(whole.search("something", skip=100_000)) == []


def test_copies_are_found_under_the_path_that_passes(tmp_path: Path) -> None:
    index = build(tmp_path / "index", range(3))
    known = index._store.records()["/films/mixed/01.mp4"]
    fields = {**vars(known), "path": "/films/other/copy.mp4"}
    index._store.commit([VideoRecord(**fields)])
    index.refresh()
    assert {m.video for m in index.search("something", filter=Filter("other"))} == {"/films/other/copy.mp4"}
    assert "/films/other/copy.mp4" not in {m.video for m in index.search("something", k=99, filter=Filter("mixed"))}


def test_listing_takes_a_filter(whole: Index) -> None:
    assert [Path(video.path).name for video in whole.videos(Filter("alike"))] == [f"{n:02d}.mp4" for n in range(6, 10)]
    with pytest.raises(UsageError, match="leaves no video"):
        whole.videos(Filter("nowhere"))
    assert len(whole.videos()) == len(whole) == 10


def test_an_index_of_nothing_has_no_answer_under_a_filter(tmp_path: Path) -> None:
    index = build(tmp_path / "index", range(1))
    index.remove(["/films"])
    assert list(index.search("something", filter=Filter("mixed"))) == []


def test_an_example_is_searched_for_under_a_filter(whole: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = frames_of(6)
    shown = VideoEmbedding(torch.from_numpy(vectors), np.arange(len(vectors)) / RATE, 18.0, step=1 / RATE)
    monkeypatch.setattr(whole, "stored", lambda path, **options: shown)
    example = "/films/alike/06.mp4@3"
    moments = whole.search_like(example, k=5, filter=Filter("mixed"))
    assert {Path(m.video).parent.name for m in moments} == {"mixed"}
    every = whole.search_like(example, k=500)
    assert [m for m in every if "mixed" in m.video][:5] == moments
    assert whole.search_like(example, k=5, skip=3) == every[3:8]
    once = whole.search_like(example, k=50, filter=Filter(one_per_video=True))
    assert len(once) == len({m.video for m in once})
    assert os.path.basename(once[0].video) in {"07.mp4", "08.mp4", "09.mp4"}
