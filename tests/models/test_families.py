"""The table of model families is the only module that knows them."""

from __future__ import annotations

import ast
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from pkgutil import resolve_name

import pytest
import torch

from mova.errors import UsageError
from mova.models.families import FAMILIES, family_of, family_of_type, input_adapter
from mova.models.family import ModelFamily
from mova.models.tower_access import open_tower
from mova.train.recipe import load_recipe, model_settings
from mova.train.recipe_files import shipped_recipes

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "mova"
MOST_PLACES = 6
"""Files outside a family's folder that may name its model class."""


def folder_of(family: ModelFamily) -> Path:
    return PACKAGE.joinpath(*family.model.partition(":")[0].split(".")[1:-1])


@cache
def source(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def named(path: Path) -> set[str]:
    """Names that the code of a file uses, imports inside functions and for types included; strings do not count."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source(path))):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.name for alias in node.names}
    return names


def test_model_classes_are_named_outside_their_family_in_few_places() -> None:
    files = set()
    for family in FAMILIES.values():
        name = family.model_class().__name__
        for path in sorted(PACKAGE.rglob("*.py")):
            if folder_of(family) not in path.parents and name in source(path) and name in named(path):
                files.add((str(path.relative_to(PACKAGE)), name))
    assert len(files) <= MOST_PLACES, sorted(files)


def test_a_family_is_a_folder_and_one_line_in_the_table() -> None:
    table = PACKAGE / "models" / "families.py"
    for family in FAMILIES.values():
        folder = folder_of(family)
        records = [
            name for name, value in vars(resolve_name(f"mova.models.{folder.name}.family")).items() if value is family
        ]
        lines = [line for line in table.read_text(encoding="utf-8").splitlines() if line.strip() == f"{records[0]},"]
        assert len(lines) == 1
        paths = [getattr(family, field.name) for field in fields(family)]
        inside = [path for path in paths if isinstance(path, str) and path.startswith("mova.")]
        assert len(inside) >= 2
        assert all(path.startswith(f"mova.models.{folder.name}.") for path in inside), (
            "a family's code is in its folder"
        )


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_every_path_of_a_record_resolves(family: ModelFamily) -> None:
    assert callable(family.model_class().from_pretrained)
    settings = family.build_class()
    assert is_dataclass(settings)
    assert callable(settings.build)
    for path in (family.recognizes, family.load_foreign, family.input_adapter, family.open_tower):
        assert path is None or callable(resolve_name(path))
    if family.model_type is not None:
        assert family.model_class().config_class.model_type == family.model_type
        assert family_of_type(family.model_type) is family


def test_recipes_name_families_and_their_settings() -> None:
    for name in shipped_recipes():
        recipe = load_recipe(name)
        assert isinstance(model_settings(recipe), FAMILIES[recipe.model["kind"]].build_class())


def test_a_model_of_no_family_is_refused() -> None:
    model = torch.nn.Linear(1, 1)
    model.name = "other"
    assert family_of(model) is None
    with pytest.raises(UsageError, match="Linear cannot be trained on pairs"):
        input_adapter(model)
    with pytest.raises(UsageError, match="Linear is not accessible"):
        open_tower(model)
