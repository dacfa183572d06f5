"""Errors of mova travel between processes: every class survives pickling, with text and attributes."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest

import mova
from mova.errors import MovaError, NotInstalledError

ROOT = Path(mova.__file__).parent


def defined() -> list[type[MovaError]]:
    """Every class below `MovaError`, found by the text of all modules with such a class."""
    names = {"MovaError"}
    classes: dict[str, str] = {}
    found = [
        (".".join(("mova", *path.relative_to(ROOT).with_suffix("").parts)), node)
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    while True:
        new = {
            node.name: module
            for module, node in found
            if node.name not in names and any(ast.unparse(base).split(".")[-1] in names for base in node.bases)
        }
        if not new:
            break
        names |= new.keys()
        classes |= new
    return [MovaError, *(getattr(importlib.import_module(classes[name]), name) for name in sorted(classes))]


def instance(kind: type[MovaError]) -> MovaError:
    """An error of a class, with a value for each of its required arguments."""
    made: list[Any] = []
    for parameter in [*inspect.signature(kind.__init__).parameters.values()][1:]:
        if parameter.kind is parameter.VAR_POSITIONAL or parameter.default is not parameter.empty:
            break
        made.append(ValueError("cause") if "Exception" in str(parameter.annotation) else f"a {parameter.name}")
    return kind(*made or ["a text"])


@pytest.mark.parametrize("kind", defined(), ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling(kind: type[MovaError]) -> None:
    error = instance(kind)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(other), str(other), other.args) == (kind, str(error), error.args)
        assert vars(other) == vars(error)


def test_classes_of_other_modules_are_found() -> None:
    assert {"UnreachableError", "IndexDamagedError", "ShardError", "Gone"} <= {kind.__name__ for kind in defined()}
    assert pickle.loads(pickle.dumps(NotInstalledError("a"))).msg == "a"
