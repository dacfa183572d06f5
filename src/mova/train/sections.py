"""The sections of a recipe as settings objects, and as a help page."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING
from typing import Any, cast

from mova.errors import UsageError
from mova.models.families import FAMILIES
from mova.models.family import BuildSettings
from mova.train.objectives.base import Objective
from mova.train.objectives.registry import find_objective
from mova.train.publish import POST_TRAINING, PostTraining
from mova.train.recipe import Recipe, Target
from mova.train.sources.base import DataSource
from mova.train.sources.registry import find_source
from mova.train.trainer import PairArguments
from mova.utils.settings import SettingHelp, check_settings, describe_settings, read_settings


def model_settings(recipe: Recipe) -> BuildSettings:
    """Return the settings that build the recipe's model.

    Raises:
        UsageError: the kind or a setting is unknown, missing or of the wrong type.
    """
    return cast(BuildSettings, _read(recipe, "model"))


def data_settings(recipe: Recipe) -> DataSource:
    """Return the settings that build the recipe's data, checked as far as no model is needed.

    Raises:
        UsageError: the kind or a setting is unknown, missing or of the wrong type, or cannot work.
    """
    source = cast(DataSource, _read(recipe, "data"))
    try:
        source.check()
    except UsageError as error:
        raise UsageError(f"recipe {recipe.name}: {error}") from error
    return source


def read_objective(recipe: Recipe) -> Objective[Any, Any]:
    """Return the recipe's objective.

    Raises:
        UsageError: the kind or a setting is unknown, of the wrong type, or the objective reads other data.
    """
    objective = cast(Objective[Any, Any], _read(recipe, "objective"))
    if objective.data != recipe.data["kind"]:
        name, kind = recipe.objective["kind"], recipe.data["kind"]
        raise UsageError(f"recipe {recipe.name}: objective {name} reads data of kind {objective.data}, not {kind}")
    return objective


def finish_settings(recipe: Recipe) -> PostTraining | None:
    """Return what follows training, or None for a family of models with no such step.

    Raises:
        UsageError: a setting is unknown or of the wrong type.
    """
    if recipe.model["kind"] not in POST_TRAINING and recipe.finish:
        unknown = next(iter(recipe.finish))
        raise UsageError(f"{_where(recipe, 'finish')}: model kind {recipe.model['kind']} has no {unknown!r}")
    return cast(PostTraining, _read(recipe, "finish")) if recipe.model["kind"] in POST_TRAINING else None


def training_settings(recipe: Recipe) -> dict[str, Any]:
    """Return section `training` as keyword arguments of `PairArguments`.

    Raises:
        UsageError: a setting is unknown or of the wrong type.
    """
    if "output_dir" in recipe.training:
        raise UsageError(f"{_where(recipe, 'training')}: 'output_dir' is the folder of the run; use --out")
    checked = check_settings(PairArguments, {"output_dir": "", **recipe.training}, _where(recipe, "training"))
    return {name: checked[name] for name in recipe.training}


def target_settings(recipe: Recipe) -> Target:
    """Return section `reproduce`.

    Raises:
        UsageError: a setting is unknown, missing or of the wrong type.
    """
    return read_settings(Target, recipe.reproduce, _where(recipe, "reproduce"))


def describe_recipe(recipe: Recipe) -> str:
    """Return a help page: every setting of the recipe's sections with its type, value and meaning."""
    lines = [f"{recipe.name}: {recipe.description}", ""]
    for section in ("model", "data", "objective", "finish", "training"):
        values = getattr(recipe, section)
        settings = describe_settings(_settings_class(recipe, section))
        if section == "training":
            settings = [s for s in settings if s.name in {*values, *PairArguments.__annotations__}]
        if settings:
            kind = f" (kind {values['kind']})" if "kind" in values else ""
            lines += [f"section {section}{kind}", *_rows(section, settings, values), ""]
    lines.append("section training also takes any other field of transformers.TrainingArguments")
    return "\n".join(lines)


def _rows(section: str, settings: list[SettingHelp], values: Mapping[str, Any]) -> Iterator[str]:
    width = min(shutil.get_terminal_size().columns, 120)
    for setting in settings:
        value = values.get(setting.name, setting.default)
        origin = "now" if setting.name in values else "default"
        state = "must be set" if value is MISSING else f"{origin} {json.dumps(value, ensure_ascii=False, default=str)}"
        yield f"  --{section}.{setting.name}  {setting.type}, {state}"
        yield from textwrap.wrap(setting.text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _settings_class(recipe: Recipe, section: str) -> type[Any]:
    kind = getattr(recipe, section).get("kind")
    if section == "objective":
        return find_objective(kind)
    if section == "data":
        return find_source(kind)
    if section == "training":
        return PairArguments
    family = recipe.model["kind"]
    if family not in FAMILIES:
        raise UsageError(f"model.kind {family!r} is unknown; choose from {', '.join(FAMILIES)}")
    if section == "finish":
        return POST_TRAINING.get(family, PostTraining)
    return FAMILIES[family].build_class()


def _read(recipe: Recipe, section: str) -> Any:
    values = {name: value for name, value in getattr(recipe, section).items() if name != "kind"}
    try:
        kind = _settings_class(recipe, section)
    except UsageError as error:
        raise UsageError(f"recipe {recipe.name}: {error}") from error
    return read_settings(kind, values, _where(recipe, section))


def _where(recipe: Recipe, section: str) -> str:
    return f"recipe {recipe.name}: section {section!r}"
