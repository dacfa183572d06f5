"""Every function and class of the API reference has a runnable example, which pytest runs as a doctest."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

PAGES = sorted((Path(__file__).resolve().parents[1] / "docs" / "reference" / "api").glob("*.md"))
DIRECTIVE = re.compile(r"^\.\. auto(module|class|function):: (\S+)\n((?:[ \t]+:.*\n)*)", re.MULTILINE)


def public_members(module_name: str, options: str) -> list[Any]:
    """Return the functions and classes of a module that autodoc documents: defined there, public, with a docstring."""
    module = import_module(module_name)
    excluded = re.split(r"[\s,]+", " ".join(re.findall(r":exclude-members: (.*)", options)))
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    values = [getattr(module, name) for name in names if name not in excluded]
    values = [value for value in values if inspect.isfunction(value) or inspect.isclass(value)]
    return [value for value in values if value.__module__ == module_name and value.__doc__]


def documented() -> dict[str, Any]:
    """Return qualified name -> function or class, of all pages of the reference."""
    values: list[Any] = []
    for page in PAGES:
        for kind, name, options in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            module, _, attribute = name.rpartition(".")
            values += public_members(name, options) if kind == "module" else [resolve_name(f"{module}:{attribute}")]
    return {f"{value.__module__}.{value.__qualname__}": value for value in values}


DOCUMENTED = documented()


def docstrings(value: Any) -> str:
    """Return the docstring of a function, or those of a class and of the public members that it defines."""
    members = vars(value).items() if inspect.isclass(value) else ()
    inner = [member.__doc__ for name, member in members if not name.startswith("_") and not isinstance(member, str)]
    return "\n".join(text or "" for text in (value.__doc__, *inner))


def test_the_reference_is_read_as_autodoc_reads_it() -> None:
    assert len(DOCUMENTED) > 250
    assert {"mova.types.Timeline", "mova.search.index.Index", "mova.scoring.spans.locate"} <= set(DOCUMENTED)
    assert "mova.scoring.spans._close" not in DOCUMENTED, "private"
    assert "mova.models.registry.resolve_name" not in DOCUMENTED, "imported, not defined there"


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_has_an_example(name: str) -> None:
    assert ">>> " in docstrings(DOCUMENTED[name]), f"{name}: add an example of two to six lines that shows what it does"
