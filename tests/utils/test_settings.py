"""Settings from mappings: names, types and missing values are checked, and fields are described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import pytest

from mova.errors import UsageError
from mova.utils.settings import describe_settings, read_settings


class Pace(Enum):
    NO = "no"
    STEPS = "steps"


@dataclass(frozen=True)
class Base:
    path: str
    """Where it is."""


@dataclass(frozen=True)
class Window(Base):
    size: int = 3
    """How wide
    it is."""
    rate: float | None = None
    edges: Literal["cut", "pad"] = "cut"
    open: bool = False
    weights: Sequence[float] = ()
    rounds: Mapping[str, int] | None = None
    layers: Sequence[int] = ()
    shares: Mapping[str, Mapping[str, Any]] | None = None
    pace: Pace | str = "steps"
    lazy: bool | None = None
    pool: Pace = Pace.NO
    steps: int = field(default=0, init=False)


def test_values_become_settings() -> None:
    window = read_settings(Window, {"path": "x", "size": 4.0, "rate": 2, "weights": [1, 0.5], "rounds": {"a": 1}}, "w")
    assert window == Window("x", 4, 2, weights=[1, 0.5], rounds={"a": 1})
    assert type(window.size) is int


def test_whole_floats_become_integers_in_lists_and_mappings_too() -> None:
    window = read_settings(Window, {"path": "x", "layers": [32.0, 64], "rounds": {"a": 3.0}, "weights": [2.0]}, "w")
    assert [type(value) for value in (*window.layers, window.rounds["a"], *window.weights)] == [int, int, int, float]


@pytest.mark.parametrize(("word", "value"), [("no", False), ("Off", False), ("yes", True), ("on", True)])
def test_the_words_of_yaml_for_booleans_are_booleans_where_text_is_not_allowed(word: str, value: bool) -> None:
    window = read_settings(Window, {"path": word, "open": word, "lazy": word, "pace": word}, "w")
    assert (window.path, window.open, window.lazy, window.pace) == (word, value, value, word)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "section 'w': 'path' must be set"),
        ({"path": "x", "sizes": 1}, "section 'w': unknown setting 'sizes'; did you mean 'size'?"),
        ({"path": "x", "steps": 1}, "section 'w': unknown setting 'steps'; choose from 'path', 'size', 'rate'"),
        ({"path": 3}, "'path' must be text, not 3"),
        ({"path": "x", "size": True}, "'size' must be a whole number, not True"),
        ({"path": "x", "size": 1.5}, "'size' must be a whole number, not 1.5"),
        ({"path": "x", "size": None}, "'size' must be a whole number, not None"),
        ({"path": "x", "rate": "fast"}, "'rate' must be a number or null, not 'fast'"),
        ({"path": "x", "rate": "1e-7"}, "not '1e-7', which YAML reads as text; write 1.0e-07"),
        ({"path": "x", "shares": 5}, "'shares' must be a mapping of names to mappings or null, not 5"),
        ({"path": "x", "edges": "mirror"}, "'edges' must be one of cut, pad, not 'mirror'"),
        ({"path": "x", "open": 1}, "'open' must be true or false, not 1"),
        ({"path": "x", "open": "never"}, "'open' must be true or false, not 'never'"),
        ({"path": False}, "'path' must be text, not False; YAML reads no, off, yes and on as booleans"),
        ({"path": "x", "pace": False}, "'pace' must be one of no, steps or text, not False; YAML reads no"),
        ({"path": "x", "pool": ["no"]}, "'pool' must be one of no, steps, not ['no']"),
        ({"path": "x", "weights": ["a"]}, "'weights' must be a list of numbers, not ['a']"),
        ({"path": "x", "rounds": {"a": "b"}}, "'rounds' must be a mapping of names to whole numbers or null"),
    ],
)
def test_errors_are_named(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_settings(Window, values, "section 'w'")
    assert complaint in str(caught.value)


def test_fields_are_described() -> None:
    reported = {setting.name: setting for setting in describe_settings(Window)}
    assert list(reported) == [
        *("path", "size", "rate", "edges", "open", "weights", "rounds", "layers", "shares", "pace", "lazy", "pool")
    ]
    assert (reported["path"].text, reported["size"].text, reported["rate"].text) == (
        "Where it is.",
        "How wide it is.",
        "",
    )
    assert [reported[name].type for name in ("size", "rate", "edges")] == ["int", "float | null", "cut | pad"]
    assert [reported[name].type for name in ("weights", "rounds")] == ["list of float", "mapping to int | null"]
