"""A recipe: one YAML file that says which model, data, objective and training a run uses.

    model:     {kind: worlds-tiny, ...}      what is trained
    data:      {kind: worlds, ...}           what it sees
    objective: {kind: ..., ...}              what it minimises
    training:  {max_steps: 100, ...}         any field of transformers.TrainingArguments
    finish:    {...}                         what is measured afterwards
    reproduce: {data_set: activitynet, ...}  data and published figure it is meant for (`reproduce.py`)

`load_recipe` takes a path or the name of a recipe that comes with the package, and `section.key=value` overrides.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from mova.errors import UsageError

SECTIONS = ("model", "data", "objective", "training", "finish", "reproduce")


@dataclass(frozen=True)
class Recipe:
    """One run, complete: two equal recipes on the same versions give the same weights."""

    name: str
    seed: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    """`kind` and the model's configuration."""
    data: dict[str, Any] = field(default_factory=dict)
    """`kind` and what the data set takes."""
    objective: dict[str, Any] = field(default_factory=dict)
    """`kind` and its weights."""
    training: dict[str, Any] = field(default_factory=dict)
    """Fields of `transformers.TrainingArguments`."""
    finish: dict[str, Any] = field(default_factory=dict)
    """Arguments of what the model's kind does after training (its measurement)."""
    reproduce: dict[str, Any] = field(default_factory=dict)
    """Fields of `reproduce.py: Target`; training does not read it."""
    description: str = ""
    """One line: what it trains, how long it takes where."""

    def __post_init__(self) -> None:
        for section in SECTIONS:
            value = getattr(self, section)
            if not isinstance(value, dict):
                raise UsageError(f"recipe {self.name}: '{section}' must be a mapping, not {value!r}")
        for section in SECTIONS[:3]:
            if "kind" not in getattr(self, section):
                raise UsageError(f"recipe {self.name}: '{section}' must say its kind, as in '{section}: {{kind: ...}}'")


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of the recipes that come with the package."""
    folder = Path(str(files("mova"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_recipe(name_or_path: str, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe and apply overrides such as `{"training.max_steps": "10"}` (values are YAML).

    Raises:
        UsageError: no such recipe, not a YAML mapping, an unknown section or a wrong override.
    """
    path = Path(name_or_path)
    if not path.is_file():
        shipped = shipped_recipes()
        if name_or_path not in shipped:
            known = ", ".join(shipped) or "none"
            raise UsageError(f"{name_or_path}: neither a recipe file nor one that comes with mova ({known})")
        path = shipped[name_or_path]
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path}: a recipe is a mapping with the sections {', '.join(SECTIONS)}")
    for key, value in (overrides or {}).items():
        _override(document, key, value)
    known_keys = {f.name for f in fields(Recipe)}
    unknown = sorted(set(document) - known_keys)
    if unknown:
        raise UsageError(f"{path}: unknown key(s) {', '.join(unknown)}; a recipe has {', '.join(sorted(known_keys))}")
    return Recipe(**{"name": path.stem, **document})


def refused_setting(error: Exception, taker: Callable[..., object]) -> str:
    """What a call with a recipe's settings says of one that it does not know, without Python's words for it.

    Args:
        error: what the call raised.
        taker: what was called; its parameters are the settings that there are.
    """
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if found is None:
        return str(error)
    close = difflib.get_close_matches(found[1], inspect.signature(taker).parameters, n=1)
    return f"there is no {found[1]!r}" + (f"; did you mean {close[0]!r}?" if close else "")


def _override(document: dict[str, Any], key: str, value: str) -> None:
    """Set `section.key` (or a top-level key) to a YAML value."""
    *parents, last = key.split(".")
    place = document
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise UsageError(f"--{key}: '{parent}' is not a section of the recipe")
    place[last] = _value(value)


def _value(text: str) -> Any:
    """A YAML value; numbers such as `1e-3`, which YAML 1.1 takes for text, are numbers here."""
    value = yaml.safe_load(text)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
