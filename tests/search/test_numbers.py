"""Numbers of searches, highlights and alignments that cannot be meant are one message, in Python and in commands."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mova.errors import UsageError
from mova.models import registry
from mova.search.index import Index
from mova.search.second_stage.reranker import Reranker
from mova.video.isolated import Isolated
from tests.support.fakes import ColourEncoder, write_colours

Call = Callable[..., tuple[int, str, str]]
NAN = math.nan


@pytest.fixture
def index(tmp_path: Path) -> Index:
    write_colours(tmp_path / "films" / "a.mp4", [("red", 2), ("blue", 2)])
    made = Index(tmp_path / "index", ColourEncoder())
    made.add(tmp_path / "films")
    return made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 2.5}, r"k must be a whole number, not 2\.5"),
        ({"k": "a"}, "k must be a whole number, not 'a'"),
        ({"k": None}, "k must be a whole number, not None"),
        ({"k": NAN}, "k must be a whole number, not nan"),
        ({"k": -1}, "k must be at least 1, not -1"),
        ({"skip": 0.5}, r"skip must be a whole number, not 0\.5"),
        ({"skip": -1}, "skip must be 0 or more, not -1"),
        ({"min_score": NAN}, "min_score must be a finite number, not nan"),
        ({"min_score": math.inf}, "min_score must be a finite number, not inf"),
        ({"min_score": "0.5"}, r"min_score must be a finite number, not '0\.5'"),
        ({"false_alarm": NAN}, "between 0 and 1, such as"),
        ({"false_alarm": "a"}, "between 0 and 1, such as"),
    ],
)
def test_a_search_refuses_it(index: Index, options: dict[str, Any], message: str) -> None:
    for query in ("red", ["red", "blue"], index.model.encode("red")):
        with pytest.raises(UsageError, match=message):
            index.search(query, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"k": 2.5}, "k must be"), ({"k": "a"}, "k must be"), ({"per_video": 1.5}, "per_video must be a whole number")],
)
def test_highlights_refuse_it(index: Index, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        index.highlights(**options)


def test_examples_second_stages_and_alignments_refuse_it(index: Index, tmp_path: Path) -> None:
    example = f"{tmp_path}/films/a.mp4@1"
    for options, message in (({"k": 2.5}, "k must be"), ({"words": NAN}, "the words"), ({"words": "a"}, "the words")):
        with pytest.raises(UsageError, match=message):
            index.search_like(example, "red", **options)
    wrong: tuple[dict[str, Any], ...] = ({"top": 1.5}, {"seconds": NAN}, {"seconds": "a"}, {"weight": NAN})
    for options in (*wrong, {"weight": "a"}, {"batch": 0}):
        with pytest.raises(UsageError, match=r"must be"):
            Reranker("mova-worlds-tiny", **options)
    assert Reranker("mova-worlds-tiny", seconds=math.inf).seconds == math.inf
    for fps in (NAN, math.inf, -1, 0, "a"):
        with pytest.raises(UsageError, match="frames per second must be above 0"):
            index.model.align(tmp_path / "films" / "a.mp4", "Red.", fps=fps)  # type: ignore[arg-type]
    for limit in (NAN, -1, "a"):
        with pytest.raises(UsageError, match="the time limit must be a positive number"):
            Isolated(limit)  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers(index: Index) -> None:
    assert len(index.search("red", k=np.int64(1), min_score=np.float32(0.1))) == 1
    assert index.search("red", k=np.int32(1), min_score=-5) == index.search("red", k=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("search", "red", "--min-score", "nan"), "--min-score must be a finite number, not nan"),
        (("search", "red", "--min-score", "inf"), "--min-score must be a finite number, not inf"),
        (("search", "red", "--false-alarm", "nan"), "the false-alarm rate must be between 0 and 1"),
        (("search", "red", "--time-limit", "-1"), "the time limit must be a positive number"),
        (("search", "red", "--rerank", "x", "--rerank-seconds", "nan"), "seconds of a second stage must be above 0"),
        (("search", "red", "--pad", "nan"), "pad 'nan'"),
        (("search", "--like", "FILM@1", "--false-alarm", "0.2"), "--false-alarm is for the sentences of a text"),
        (("search", "--like", "FILM@1", "--min-score", "nan"), "--min-score"),
        (("highlights", "--time-limit", "nan"), "the time limit must be a positive number"),
        (("align", "FILM", "--text", "Red.", "--fps", "nan"), "frames per second must be above 0"),
    ],
)
def test_a_command_refuses_it(
    index: Index, words: tuple[str, ...], message: str, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(registry, "load", lambda name: ColourEncoder())
    film = str(tmp_path / "films" / "a.mp4")
    code, out, err = call(*(word.replace("FILM", film) for word in words), "--index", tmp_path / "index")
    assert (code, out) == (2, "")
    assert message in err
