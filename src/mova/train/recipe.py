"""Recipes: one YAML file per run, with its model, data, objective and training settings.

    extends:   mova-base                     optional: a recipe whose settings this one starts from
    model:     {kind: worlds-tiny, ...}      the model that is trained
    data:      {kind: worlds, ...}           the data it is trained on
    objective: {kind: ..., ...}              the loss that it minimizes
    training:  {max_steps: 100, ...}         any field of transformers.TrainingArguments
    finish:    {...}                         evaluation after training
    reproduce: {data_set: activitynet, ...}  the published figure it is meant for (`reproduce.py`)

`load_recipe` takes a path or the name of a recipe that comes with the package, and `section.key=value` overrides.
`train/sections.py` turns sections into settings objects and checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import yaml

from mova.errors import UsageError
from mova.train.objectives.registry import OBJECTIVES
from mova.utils.settings import unknown_setting

SECTIONS = ("model", "data", "objective", "training", "finish", "reproduce")


@dataclass(frozen=True)
class Target:
    """Settings of section `reproduce`: the data and the published figure that a recipe is meant for."""

    data_set: str
    """Name of the data set, as `mova data convert` knows it."""
    part: str
    """Split to evaluate on."""
    protocol: str
    """Evaluation protocol."""
    system: str | None = None
    """System whose published figure is the target; null if none is published."""
    hold_out: str | None = None
    """Name of a split that is taken from train to choose checkpoints; null if the data set has one."""


@dataclass(frozen=True)
class Recipe:
    """One complete run: two equal recipes on the same versions give the same weights."""

    name: str
    seed: int = 0
    """Seed of weights, order and draws."""
    model: dict[str, Any] = field(default_factory=dict)
    """`kind` and the settings that build the model."""
    data: dict[str, Any] = field(default_factory=dict)
    """`kind` and the settings of the data source."""
    objective: dict[str, Any] = field(default_factory=dict)
    """`kind` and the settings of the objective. Its `preset`, if it has one, defaults to that of the model."""
    training: dict[str, Any] = field(default_factory=dict)
    """Fields of `transformers.TrainingArguments`."""
    finish: dict[str, Any] = field(default_factory=dict)
    """Settings of the evaluation after training."""
    reproduce: dict[str, Any] = field(default_factory=dict)
    """Fields of `Target`; training does not read it."""
    description: str = ""
    """One line: the model that is trained, and the time this takes on which hardware."""

    def __post_init__(self) -> None:
        if type(self.seed) is not int or not 0 <= self.seed < 2**32:
            raise UsageError(f"recipe {self.name}: 'seed' must be a whole number below 2**32, not {self.seed!r}")
        for section in SECTIONS:
            value = getattr(self, section)
            if not isinstance(value, dict):
                raise UsageError(f"recipe {self.name}: '{section}' must be a mapping, not {value!r}")
        for section in SECTIONS[:3]:
            if not isinstance(getattr(self, section).get("kind"), str):
                raise UsageError(f"recipe {self.name}: '{section}' needs a kind, as in '{section}: {{kind: ...}}'")
        object.__setattr__(self, "objective", self._objective_with_preset())

    def _objective_with_preset(self) -> dict[str, Any]:
        """Section `objective` with the model's preset, if both model and objective have one."""
        objective, preset = OBJECTIVES.get(self.objective["kind"]), self.model.get("preset")
        if objective is None or preset is None or "preset" not in {f.name for f in fields(cast(Any, objective))}:
            return self.objective
        objective_preset = self.objective.get("preset", preset)
        if objective_preset != preset:
            raise UsageError(
                f"recipe {self.name}: objective.preset is {objective_preset!r} but model.preset is {preset!r}; "
                "omit objective.preset; it defaults to the model's"
            )
        return {**self.objective, "preset": preset}


def shipped_recipes() -> dict[str, Path]:
    """Return name -> file of the recipes that come with the package; bases of others are not listed."""
    return {name: path for name, path in _shipped_files().items() if not _read(path).get("base")}


def load_recipe(name_or_path: str, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe and apply overrides such as `{"training.max_steps": "10"}` (values are YAML).

    Raises:
        UsageError: no such recipe, a base that cannot be run itself, an invalid document, or a wrong override.
    """
    path = _find(name_or_path)
    document = _read(path)
    if document.pop("base", False):
        raise UsageError(f"{path}: is a base of other recipes (extends: {path.stem}) and cannot be run itself")
    if "extends" in document:
        document = _extended(path, document)
    for key, value in (overrides or {}).items():
        _override(document, key, value)
    known = [f.name for f in fields(Recipe)]
    for key in document:
        if key not in known:
            raise UsageError(f"{path}: {unknown_setting(key, known)}")
    return Recipe(**{"name": path.stem, **document})


def _shipped_files() -> dict[str, Path]:
    folder = Path(str(files("mova"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _find(name_or_path: str, folder: Path | None = None) -> Path:
    """Return the file of a recipe: a path (relative to `folder`), or the name of a shipped recipe."""
    path = Path(name_or_path) if folder is None else folder / name_or_path
    if path.is_file():
        return path
    shipped = _shipped_files()
    if name_or_path not in shipped:
        known = ", ".join(shipped_recipes()) or "none"
        raise UsageError(f"{name_or_path}: neither a recipe file nor a recipe that ships with mova ({known})")
    return shipped[name_or_path]


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path}: a recipe is a mapping with the sections {', '.join(SECTIONS)}")
    return document


def _extended(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Merge a document into that of the recipe it extends, by section; another `kind` replaces the whole section."""
    try:
        source = _find(str(document["extends"]), path.parent)
    except UsageError as error:
        raise UsageError(f"{path}: extends {error}") from error
    base = _read(source)
    if "extends" in base:
        raise UsageError(f"{path}: extends {source}, which extends another recipe itself; only one level is allowed")
    merged = {key: value for key, value in base.items() if key not in ("base", "name")}
    for key, value in document.items():
        if key == "extends":
            continue
        merged[key] = _merged(merged.get(key), value)
    return merged


def _merged(before: Any, value: Any) -> Any:
    if not (isinstance(before, dict) and isinstance(value, dict)):
        return value
    same_kind = value.get("kind", before.get("kind")) == before.get("kind")
    return {**before, **value} if same_kind else value


def _override(document: dict[str, Any], key: str, value: str) -> None:
    """Set `section.key` (or a top-level key) to a YAML value."""
    *parents, last = key.split(".")
    section = document
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise UsageError(f"--{key}: '{parent}' is not a section of the recipe")
    try:
        section[last] = _value(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--{key}: {value!r} is not valid YAML: {error}") from error


def _value(text: str) -> Any:
    """Parse a YAML value. Text such as `1e-3` becomes a number, which YAML 1.1 alone would not do."""
    value = yaml.safe_load(text)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
