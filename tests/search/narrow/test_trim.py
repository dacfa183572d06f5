"""How long moments are: least length, padding, ends of videos, stretches without pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mova.errors import UsageError
from mova.search.index import Index
from mova.search.narrow.filter import Filter
from mova.search.narrow.trim import Trim
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store
from mova.types import Moment, MomentSentence, Span
from tests.support.known import WIDTH, KnownEncoder


def bounds(start: float, end: float, trim: Trim, duration: float = 10.0, gaps: tuple[Span, ...] = ()) -> list[float]:
    record = VideoRecord("a.mp4", "a", 1, 1, duration, 10, np.zeros(2, np.float32), gaps)
    moment = Moment("a.mp4", start, end, 0.5, (MomentSentence("x", start, end, 0.9),), 0.01, "strong")
    (changed,) = trim.apply([moment], {"a.mp4": record}, step=lambda _: 0.5)
    assert (changed.score, changed.sentences, changed.evidence) == (0.5, moment.sentences, "strong")
    return [round(changed.start, 9), round(changed.end, 9)]


@pytest.mark.parametrize(
    ("moment", "trim", "expected"),
    [
        ((3.0, 4.0), Trim(), [3.0, 4.0]),
        ((9.98, 10.0), Trim(), [9.5, 10.0]),
        ((9.98, 10.0), Trim(min_length=0), [9.98, 10.0]),
        ((0.0, 0.1), Trim(min_length=1), [0.0, 1.0]),
        ((5.0, 5.1), Trim(min_length=1), [4.55, 5.55]),
        ((5.0, 5.1), Trim(min_length=20), [0.0, 10.0]),
        ((3.0, 4.0), Trim(pad="0:02"), [1.0, 6.0]),
        ((1.0, 9.0), Trim(pad=2), [0.0, 10.0]),
        ((9.98, 10.0), Trim(pad=1, min_length="2s"), [7.0, 10.0]),
    ],
)
def test_moments_are_widened_and_padded_inside_the_video(
    moment: tuple[float, float], trim: Trim, expected: list[float]
) -> None:
    assert bounds(*moment, trim) == expected


def test_nothing_reaches_into_a_stretch_without_pictures() -> None:
    gaps = (Span(0.0, 1.0), Span(4.0, 6.0), Span(8.0, 9.0))
    assert bounds(2.0, 3.0, Trim(pad=5), gaps=gaps) == [1.0, 4.0]
    assert bounds(3.9, 4.0, Trim(min_length=2), gaps=gaps) == [2.0, 4.0]
    assert bounds(6.0, 6.1, Trim(min_length=3), gaps=gaps) == [6.0, 8.0]
    assert bounds(9.0, 10.0, Trim(pad=1), gaps=gaps) == [9.0, 10.0]


@given(st.floats(0, 9.9), st.floats(0.01, 5), st.floats(0, 30), st.floats(0, 30))
def test_a_moment_stays_inside_and_is_long_enough_if_the_video_is(
    start: float, length: float, pad: float, least: float
) -> None:
    end = min(start + length, 10.0)
    first, last = bounds(start, end, Trim(pad, least))
    assert 0 <= first <= start + 1e-6
    assert end - 1e-6 <= last <= 10.0
    assert last - first >= min(least, 10.0, end - start + 2 * pad) - 1e-6 or last - first >= min(least, 10.0) - 1e-6


@pytest.mark.parametrize("values", [{"pad": -1}, {"pad": "x"}, {"pad": "nan"}, {"min_length": 1e6}, {"min_length": ""}])
def test_values_that_cannot_be_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"pad|min_length"):
        Trim(**values)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Two videos and a copy of the first with noise; the last frame of each is 0.02 s before its end."""
    folder, model = tmp_path_factory.mktemp("trim") / "index", KnownEncoder()
    store = Store(folder)
    store.create(Meta(model.name, model.fingerprint(), WIDTH, 2.0))
    rng = np.random.default_rng(0)
    first, second = (unit(rng.normal(size=(20, WIDTH)) + 3 * rng.normal(size=WIDTH)) for _ in range(2))
    copy = unit(first + 0.02 * rng.normal(size=first.shape))
    for number, vectors in enumerate((first, second, copy)):
        content, length = f"{number:032x}", 9.52
        store.append([content], [StoredFrames(np.arange(20) / 2, vectors)])
        store.commit([VideoRecord(f"/{number}.mp4", content, 1, 1, length, 20, vectors.mean(axis=0))])
    made = Index(folder, model)
    made.refresh()
    model.texts["the end"] = first[-1].tolist()
    return made


def test_a_found_moment_is_at_least_a_sampling_step_long_unless_asked(index: Index) -> None:
    assert [(m.start, m.end) for m in index.search("the end", k=1, trim=Trim(min_length=0))] == [(9.5, 9.52)]
    (moment,) = index.search("the end", k=1)
    assert (moment.start, moment.end) == (pytest.approx(9.02), 9.52)
    (moment,) = index.search("the end", k=1, trim=Trim(pad=1, min_length=2))
    assert (moment.start, moment.end) == (pytest.approx(6.52), 9.52)
    every = index.search("something", k=99)
    assert all(m.end - m.start >= 0.5 - 1e-9 for m in every)


def test_near_equal_moments_are_left_out_and_the_next_ones_take_their_place(index: Index) -> None:
    every = index.search("the end", k=1000)
    assert {every[0].video, every[1].video} == {"/0.mp4", "/2.mp4"}
    few = index.search("the end", k=2, filter=Filter(dedupe=True))
    assert few[0].video == every[0].video
    assert few[1] != every[1]
    assert len(index.search("the end", k=1000, filter=Filter(dedupe=1.0))) == len(every)
    whole = index.search("the end", k=1000, filter=Filter(dedupe=True))
    assert 2 <= len(whole) < len(every)
    assert list(whole[:2]) == list(few)
    pages = [index.search("the end", k=1, skip=skip, filter=Filter(dedupe=True)) for skip in range(2)]
    assert [page[0] for page in pages] == list(few)
    with pytest.raises(UsageError, match="dedupe must be True or a cosine"):
        Filter(dedupe=1.5)


def test_what_is_left_is_what_an_exhaustive_comparison_leaves(index: Index) -> None:
    stored = {video.path: index._store.fetch([video.content])[video.content] for video in index.videos()}
    center = np.mean([frames.vectors.mean(axis=0) for frames in stored.values()], axis=0)
    every = index.search("the end", k=1000, trim=Trim(min_length=0))
    kept: list[tuple[Moment, np.ndarray]] = []
    for moment in every:
        frames = stored[moment.video]
        mean = frames.vectors[(frames.times >= moment.start) & (frames.times < moment.end)].mean(axis=0) - center
        mean /= np.linalg.norm(mean)
        if all(mean @ other < 0.9 for _, other in kept):
            kept.append((moment, mean))
    found = index.search("the end", k=1000, trim=Trim(min_length=0), filter=Filter(dedupe=True))
    assert list(found) == [moment for moment, _ in kept]


def test_both_ways_of_reading_leave_out_the_same(index: Index) -> None:
    other = Index(str(index.folder), index.model)
    other._reader = lambda: other._store  # type: ignore[method-assign]
    wanted, trim = Filter(dedupe=True), Trim(pad=0.2)
    fast, slow = (one.search("the end", k=5, filter=wanted, trim=trim) for one in (index, other))
    assert [(m.video, m.start, m.end) for m in fast] == [(m.video, m.start, m.end) for m in slow]
