"""Search by example in one respect, on plain colors by hand and on rendered Worlds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mova.errors import UsageError
from mova.models.registry import load
from mova.search.index import Index
from mova.video.writer import write_mp4
from mova.worlds.factors import Event
from mova.worlds.nuisance import sample_nuisance
from mova.worlds.render import render_event
from tests.support.fakes import ColourEncoder, write_colours

FILMS = {
    "example": Event("star", "red", "large", "growing", "beach"),
    "color": Event("square", "red", "small", "blinking", "room"),
    "place": Event("heart", "blue", "small", "left_to_right", "beach"),
    "shape": Event("star", "black", "large", "falling", "snow"),
}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("by")
    rng = np.random.default_rng(3)
    for name, event in FILMS.items():
        frames = render_event(event, sample_nuisance(rng), "flat", np.arange(24) / 8, 3.0, 64)
        write_mp4(folder / f"{name}.mp4", [frames], fps=8.0)
    index = Index(folder / "index", load("mova-worlds-tiny", device="cpu"))
    index.add(folder)
    return index


@pytest.mark.parametrize("respect", ["color", "place", "shape"])
def test_the_clip_that_shares_the_respect_is_first(worlds: Index, respect: str) -> None:
    film = Path(worlds.videos()[0].path).parent / "example.mp4"
    moments = [m for m in worlds.search_like(f"{film}@1.5", k=20, by=f"the {respect}") if m.video != str(film)]
    assert Path(moments[0].video).stem == respect
    assert moments[0].score > 0.5
    assert all(-1.001 <= moment.score <= 1.001 for moment in moments)
    assert [m.score for m in moments] == sorted((m.score for m in moments), reverse=True)


def test_a_list_of_values_is_a_respect(tmp_path: Path) -> None:
    write_colours(tmp_path / "films" / "a.mp4", [("red", 2)])
    write_colours(tmp_path / "films" / "b.mp4", [("green", 2), ("red", 2), ("blue", 2)])
    index = Index(tmp_path / "index", ColourEncoder())
    index.add(tmp_path / "films")
    example = f"{tmp_path}/films/a.mp4@1"
    [best] = index.search_like(example, k=1, by="red, green")
    assert (Path(best.video).name, best.score) == ("b.mp4", pytest.approx(1.0))
    assert best.start <= 2.0 < best.end
    assert index.search_like(example, k=1, by=["red", "green"]) == [best]
    assert len(index.search_like(example, k=9, by="red, green")) >= 1


def test_wrong_respects_are_one_message(worlds: Index) -> None:
    film = worlds.videos()[0].path
    with pytest.raises(UsageError, match="not a known concept"):
        worlds.search_like(f"{film}@1", by="the hat")
    with pytest.raises(UsageError, match="not both"):
        worlds.search_like(f"{film}@1", "at night", by="the color")
    with pytest.raises(UsageError, match="two different values"):
        worlds.search_like(f"{film}@1", by=["red"])
