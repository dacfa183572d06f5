"""The least typical moments: a planted event is found, blank pictures and a single video do not fill the list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mova.errors import UsageError
from mova.search import highlights
from mova.search.index import Index
from mova.types import Moment
from mova.video.writer import write_mp4
from mova.worlds.factors import Event, is_possible, sample_event
from mova.worlds.script import sample_world
from mova.worlds.writer import stream_world
from tests.support.fakes import COLOURS, ColourEncoder

FPS = 8.0
STRIPES = 15
"""Brightness that a pattern adds and takes, so that a picture is not blank."""


def film(path: Path, parts: Sequence[tuple[str, float]]) -> Path:
    """Write a video of patterns whose mean is a color; "blank" is plain black."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pattern = np.where(np.indices((48, 64)).sum(axis=0) // 8 % 2, STRIPES, -STRIPES)[..., None]
    stills = []
    for name, seconds in parts:
        picture = np.zeros((48, 64, 3)) if name == "blank" else np.array(COLOURS[name]) + pattern
        stills.append(np.broadcast_to(picture.clip(0, 255).astype(np.uint8), (round(seconds * FPS), 48, 64, 3)))
    return write_mp4(path, stills, fps=FPS, preset="ultrafast")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Three films of red and blue; in one of them 3 s of green, and all begin with 2 s of black."""
    folder = tmp_path_factory.mktemp("films")
    usual = [("red", 6.0), ("blue", 6.0)] * 2
    film(folder / "films" / "a.mp4", [("blank", 2), *usual])
    film(folder / "films" / "b.mp4", [*usual[:2], ("green", 3.0), *usual[2:], ("blank", 1)])
    film(folder / "films" / "c.mp4", [*usual])
    made = Index(folder / "index", ColourEncoder(rate=2.0))
    made.add([folder / "films"])
    return made


@pytest.mark.parametrize("method", ["distance", "lof"])
def test_the_planted_event_is_first(index: Index, method: str) -> None:
    first = index.highlights(k=3, method=method)[0]  # type: ignore[arg-type]
    assert Path(first.video).name == "b.mp4"
    assert (first.start, first.end) == (12.0, 15.0)


def test_blank_pictures_are_left_out_unless_they_are_wanted(index: Index) -> None:
    def has_blank(moments: Sequence[Moment]) -> bool:
        return any(Path(m.video).name == "a.mp4" and m.start < 1.5 for m in moments)

    assert not has_blank(index.highlights(k=20))
    assert has_blank(index.highlights(k=20, skip_blank=False))


def test_without_the_tables_and_with_them_the_moments_are_the_same(index: Index) -> None:
    with_snapshot = index.highlights(k=5)
    candidates = highlights.of_index(index._store, "distance", 5)
    with highlights.Isolated() as decoder:
        from_tables = highlights.choose(candidates, 5, 3, highlights.blank_test(decoder))
    assert [m.to_json() for m in with_snapshot] == [m.to_json() for m in from_tables]


def test_scores_fall_and_a_video_has_few_moments_while_there_are_others() -> None:
    rows = [
        highlights.Candidate(Moment(video, float(place), place + 1.0, score), place + 0.5)
        for place, (video, score) in enumerate([("a", 9), ("a", 8), ("a", 7), ("b", 6), ("a", 5), ("c", 4)])
    ]
    never = highlights.choose(rows, 4, 1, lambda _: False)
    assert [(m.video, m.score) for m in never] == [("a", 9), ("a", 8), ("b", 6), ("c", 4)], "filled with the best rest"
    assert Counter(m.video for m in highlights.choose(rows, 3, 1, lambda _: False)) == {"a": 1, "b": 1, "c": 1}
    blank = highlights.choose(rows, 9, 1, lambda candidate: candidate.moment.video == "a")
    assert [m.video for m in blank] == ["b", "c"]


def test_answers_to_a_query_are_compared_with_each_other(tmp_path: Path) -> None:
    film(tmp_path / "films" / "a.mp4", [("red", 3), ("black", 3)] * 4)
    film(tmp_path / "films" / "b.mp4", [("red", 3), ("black", 3), ("magenta", 3), ("black", 3)])
    made = Index(tmp_path / "index", ColourEncoder(rate=2.0))
    made.add([tmp_path / "films"])
    found = made.highlights("red magenta", k=3)
    assert Path(found[0].video).name == "b.mp4"
    assert found[0].start == 6.0


def test_nothing_to_compare_is_an_empty_answer_and_a_larger_index_is_thinned(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    film(tmp_path / "films" / "a.mp4", [("red", 2), ("blue", 2)])
    made = Index(tmp_path / "index", ColourEncoder(rate=2.0))
    made.add([tmp_path / "films"])
    assert made.highlights() == [], "shorter than what is too close to compare"
    monkeypatch.setattr(highlights, "MOST_FRAMES", len(index.videos()) * 25)
    first = index.highlights(k=1)[0]
    assert (Path(first.video).name, first.start) == ("b.mp4", 12.0)


def test_wrong_requests_are_errors(index: Index, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown method"):
        index.highlights(method="odd")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="k must be at least 1"):
        index.highlights(k=0)
    with pytest.raises(UsageError, match="per_video must be at least 1"):
        index.highlights(per_video=0)
    with pytest.raises(UsageError, match="no index here"):
        Index(tmp_path / "nothing", ColourEncoder()).highlights()


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(3))
def test_an_odd_event_of_a_world_is_among_the_first(tmp_path: Path, trial: int) -> None:
    """Rendered videos of one thing in one place; in one of them, one event has another shape, color and place."""
    rng = np.random.default_rng([7, trial])
    common, odd = sample_event(rng), sample_event(rng)
    while odd.shape == common.shape or odd.colour == common.colour or odd.place == common.place:
        odd = sample_event(rng)
    truth = None
    for number in range(3):
        world = sample_world(trial, 40.0, "flat", index=number)
        middle = len(world.segments) // 2
        segments = []
        for place, segment in enumerate(world.segments):
            planted = number == trial and place == middle
            segments.append(replace(segment, content=odd if planted else like(common, rng)))
            truth = segment.span if planted else truth
        world = replace(world, segments=tuple(segments))
        write_mp4(tmp_path / f"{number}.mp4", stream_world(world, 64), fps=world.fps)
    index = Index(tmp_path / "index", "mova-worlds-tiny")
    index.add([tmp_path])
    assert truth is not None
    first = index.highlights(k=4)
    assert any(Path(m.video).name == f"{trial}.mp4" and m.start < truth.end and truth.start < m.end for m in first)


def like(common: Event, rng: np.random.Generator) -> Event:
    """Draw an event of the same shape, color and place."""
    while True:
        same = {"shape": common.shape, "colour": common.colour, "place": common.place, "relation": None}
        event = replace(sample_event(rng), **same)  # type: ignore[arg-type]
        if is_possible(event):
            return event
