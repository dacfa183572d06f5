"""Recipes: one YAML file per run, whose sections become checked settings objects.

    extends:   mova-base                     optional: a recipe whose settings this one starts from
    model:     {kind: worlds-tiny, ...}      the model that is trained
    data:      {kind: worlds, ...}           the data it is trained on
    objective: {kind: ..., ...}              the loss that it minimizes
    training:  {max_steps: 100, ...}         any field of transformers.TrainingArguments
    finish:    {...}                         evaluation after training
    reproduce: {data_set: activitynet, ...}  the published figure it is meant for (`reproduce/`)

`load_recipe` takes a path or the name of a recipe that comes with the package, and `section.key=value` overrides.
`model_settings`, `read_objective` and so on turn a section into the settings object that its kind names.

A new data source is a frozen dataclass of its settings that satisfies `DataSource` of `train/sources/base.py`, and a
line in `SOURCES`. A new objective is a dataclass of its settings that extends `Objective` of `train/objectives/base.py`
(for pairs, `PairObjective`), and a line in `OBJECTIVES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

from mova.errors import UsageError
from mova.models.families import FAMILIES
from mova.models.family import BuildSettings
from mova.train.objectives.base import Objective
from mova.train.recipe_files import SECTIONS, read_document
from mova.train.sources.base import DataSource
from mova.train.trainer import PairArguments
from mova.utils.settings import check_settings, read_settings, unknown_setting

SOURCES: dict[str, str] = {
    "worlds": "mova.train.sources.worlds:WorldsSource",
    "manifest": "mova.train.sources.pairs:PairSource",
    "labels": "mova.train.sources.labelled:LabelSource",
    "triplets": "mova.train.sources.triplets:TripletSource",
}
"""`data.kind` -> path of its settings class, which is imported when it is first used."""
OBJECTIVES: dict[str, str] = {
    "grounding": "mova.train.objectives.worlds:Grounding",
    "clip4clip": "mova.train.objectives.pairs:Clip4Clip",
    "late_interaction": "mova.train.objectives.pairs:LateInteraction",
    "smartclip": "mova.train.objectives.smartclip:SmartClip",
    "mova": "mova.train.objectives.mova:MovaObjective",
    "vtc": "mova.train.objectives.gexia:Vtc",
    "classification": "mova.train.objectives.gexia:Classification",
    "synvita": "mova.train.objectives.synvita:Synvita",
}
"""`objective.kind` -> path of its class, which is imported when it is first used."""
POST_TRAINING: dict[str, str] = {"worlds-tiny": "mova.train.publish:WorldsTinyRelease"}
"""`model.kind` -> path of the settings class of its step after training; the other families have none."""


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
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the recipe that the published system has and the recipe has not, such as `model.preset`."""
    default: str | None = None
    """Name of the recipe without these overrides, which is trained and measured too, as a line of its own."""
    caveats: Mapping[str, str] = field(default_factory=dict)
    """Setting of the recipe -> how it differs from the published system's. Printed unless the setting is overridden."""
    hold_out: str | None = None
    """Name of a split that is taken from train to choose checkpoints; null if the data set has one."""
    published: str | None = None
    """Test of the published figure, if its name is not that of the protocol."""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Published metric -> group/metric of the report; not for retrieval, whose names are the same."""
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Form of a published figure of a variant of the system -> settings of the recipe that the variant has."""


@dataclass(frozen=True)
class SuiteTarget:
    """Settings of section `reproduce` for SynViTA's tables, which have six tests each."""

    suite: str
    """Name of the tests: synvita."""
    model: str
    """The model as the tables name it."""
    checkpoint: str | None = None
    """The same model as `model.source` names it; null if transformers does not have it."""
    caveats: Mapping[str, str] = field(default_factory=dict)
    """As in `Target`."""


@dataclass(frozen=True)
class Recipe:
    """One complete run: two equal recipes on the same versions give the same weights.

    >>> recipe = load_recipe("own")
    >>> recipe.name, recipe.model["kind"], recipe.data["kind"], recipe.objective["kind"]
    ('own', 'two-tower', 'manifest', 'late_interaction')
    """

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
        kind, preset = self.objective["kind"], self.model.get("preset")
        if preset is None or kind not in OBJECTIVES:
            return self.objective
        if "preset" not in {f.name for f in fields(cast(Any, find_objective(kind)))}:
            return self.objective
        objective_preset = self.objective.get("preset")
        if objective_preset not in (None, preset):
            raise UsageError(
                f"recipe {self.name}: objective.preset is {objective_preset!r} but model.preset is {preset!r}; "
                "omit objective.preset; it defaults to the model's"
            )
        return {**self.objective, "preset": preset}


@dataclass(frozen=True)
class PostTraining:
    """Settings of section `finish`, for a family of models with no step after training."""

    def run(self, model: Any, recipe: Recipe, output: Path, steps: int) -> None:
        """Evaluate and save; the trainer has saved the model in the output folder already."""


def load_recipe(name_or_path: str, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe and apply overrides such as `{"training.max_steps": "10"}` (values are YAML).

    Raises:
        UsageError: no such recipe, a base that cannot be run itself, an invalid document, or a wrong override.

    >>> load_recipe("own", {"training.max_steps": "10", "seed": "3"}).seed
    3
    """
    path, document = read_document(name_or_path, overrides)
    known = [f.name for f in fields(Recipe)]
    for key in document:
        if key not in known:
            raise UsageError(f"{path}: {unknown_setting(key, known)}")
    return Recipe(**{"name": path.stem, **document})


def model_settings(recipe: Recipe) -> BuildSettings:
    """Return the settings that build the recipe's model.

    Raises:
        UsageError: the kind or a setting is unknown, missing or of the wrong type.
    """
    return cast(BuildSettings, _section(recipe, "model"))


def data_settings(recipe: Recipe) -> DataSource:
    """Return the settings that build the recipe's data, checked as far as no model is needed.

    Raises:
        UsageError: the kind or a setting is unknown, missing or of the wrong type, or cannot work.
    """
    source = cast(DataSource, _section(recipe, "data"))
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
    objective = cast(Objective[Any, Any], _section(recipe, "objective"))
    if objective.data != recipe.data["kind"]:
        name, kind = recipe.objective["kind"], recipe.data["kind"]
        raise UsageError(f"recipe {recipe.name}: objective {name} reads data of kind {objective.data}, not {kind}")
    preset, default = recipe.objective.get("preset"), getattr(model_settings(recipe), "preset", None)
    if preset is not None and default not in (None, preset):  # `Recipe` compares a preset that section model sets
        raise UsageError(
            f"recipe {recipe.name}: objective.preset is {preset!r} but model.preset is {default!r} by default; "
            "set model.preset and omit objective.preset"
        )
    return objective


def finish_settings(recipe: Recipe) -> PostTraining | None:
    """Return what follows training, or None for a family of models with no such step.

    Raises:
        UsageError: a setting is unknown or of the wrong type.
    """
    if recipe.model["kind"] not in POST_TRAINING and recipe.finish:
        unknown = next(iter(recipe.finish))
        raise UsageError(f"{_where(recipe, 'finish')}: model kind {recipe.model['kind']} has no {unknown!r}")
    return cast(PostTraining, _section(recipe, "finish")) if recipe.model["kind"] in POST_TRAINING else None


def training_settings(recipe: Recipe) -> dict[str, Any]:
    """Return section `training` as keyword arguments of `PairArguments`.

    Raises:
        UsageError: a setting is unknown or of the wrong type.
    """
    if "output_dir" in recipe.training:
        raise UsageError(f"{_where(recipe, 'training')}: 'output_dir' is the folder of the run; use --out")
    values = dict(recipe.training)
    sharded = values.pop("fsdp", None)  # transformers declares a text, and takes a truth value
    if sharded not in (None, True, False):
        raise UsageError(f"{_where(recipe, 'training')}: 'fsdp' must be true or false, not {sharded!r}")
    checked = check_settings(PairArguments, {"output_dir": "", **values}, _where(recipe, "training"))
    return {name: checked[name] for name in values} | ({"fsdp": True} if sharded else {})


def target_settings(recipe: Recipe) -> Target:
    """Return section `reproduce`.

    Raises:
        UsageError: a setting is unknown, missing or of the wrong type.
    """
    return read_settings(Target, recipe.reproduce, _where(recipe, "reproduce"))


def suite_settings(recipe: Recipe) -> SuiteTarget:
    """Return section `reproduce` of a recipe whose tables have several tests.

    Raises:
        UsageError: a setting is unknown, missing or of the wrong type.
    """
    return read_settings(SuiteTarget, recipe.reproduce, _where(recipe, "reproduce"))


def settings_class(recipe: Recipe, section: str) -> type[Any]:
    """Return the settings class of a section, by its kind.

    Raises:
        UsageError: unknown kind.
    """
    kind = getattr(recipe, section).get("kind")
    if section == "objective":
        return find_objective(kind)
    if section == "data":
        return _find_class(SOURCES, "data.kind", kind)
    if section == "training":
        return PairArguments
    family = recipe.model["kind"]
    if family not in FAMILIES:
        raise UsageError(f"model.kind {family!r} is unknown; choose from {', '.join(FAMILIES)}")
    if section == "finish":
        return _find_class(POST_TRAINING, "model.kind", family) if family in POST_TRAINING else PostTraining
    return FAMILIES[family].build_class()


def find_objective(kind: object) -> type[Objective[Any, Any]]:
    """Return an objective's class by name.

    Raises:
        UsageError: unknown name.
    """
    return cast(type[Objective[Any, Any]], _find_class(OBJECTIVES, "objective.kind", kind))


def _find_class(table: Mapping[str, str], setting: str, kind: object) -> type[Any]:
    """Import the class that a table names for a kind."""
    if kind not in table:
        raise UsageError(f"{setting} {kind!r} is unknown; choose from {', '.join(table)}")
    settings_class = resolve_name(table[str(kind)])
    assert isinstance(settings_class, type)
    return settings_class


def _section(recipe: Recipe, section: str) -> Any:
    values = {name: value for name, value in getattr(recipe, section).items() if name != "kind"}
    try:
        kind = settings_class(recipe, section)
    except UsageError as error:
        raise UsageError(f"recipe {recipe.name}: {error}") from error
    return read_settings(kind, values, _where(recipe, section))


def _where(recipe: Recipe, section: str) -> str:
    return f"recipe {recipe.name}: section {section!r}"
