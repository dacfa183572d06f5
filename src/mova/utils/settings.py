"""Settings as dataclasses: build one from a mapping with clear errors, and describe its fields."""

from __future__ import annotations

import ast
import difflib
import inspect
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from mova.errors import UsageError

Settings = TypeVar("Settings")

FEW = 20
"""Largest number of settings that an error message lists."""
NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Any: "any value",
    NoneType: "null",
}
"""Type -> its name in error messages."""
BOOLEAN_WORDS = {"no": False, "off": False, "yes": True, "on": True}
"""YAML 1.1's other words for false and true."""
PLURALS: dict[Any, str] = {int: "whole numbers", float: "numbers", str: "texts", Any: "any values"}


@dataclass(frozen=True)
class SettingHelp:
    """One field of a settings class, described."""

    name: str
    type: str
    """Such as `int | null`; the values, if only some are allowed."""
    default: Any
    """`dataclasses.MISSING` if the setting is required."""
    text: str
    """Its docstring, on one line; empty if it has none."""


def read_settings(kind: type[Settings], values: Mapping[str, Any], where: str) -> Settings:
    """Build a settings object from values by name.

    Args:
        kind: a dataclass.
        values: setting -> value, as YAML has it.
        where: begins every error message, such as "recipe x: section 'data'".

    Raises:
        UsageError: a setting is unknown, missing, or has a value of the wrong type.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Crop:
        ...     size: int
        >>> read_settings(Crop, {"sizes": 3}, "section 'crop'")
        Traceback (most recent call last):
        mova.errors.UsageError: section 'crop': unknown setting 'sizes'; did you mean 'size'?
    """
    return kind(**check_settings(kind, values, where))


def check_settings(kind: type[Any], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check values as `read_settings` does, and return them as keyword arguments of `kind`."""
    known = {field.name: field for field in fields(kind) if field.init}
    for name in values:
        if name not in known:
            raise UsageError(f"{where}: {unknown_setting(name, known)}")
    missing = [name for name, field in known.items() if _default(field) is MISSING and name not in values]
    if missing:
        raise UsageError(f"{where}: {', '.join(map(repr, missing))} must be set")
    hints = get_type_hints(kind)
    checked = {}
    for name, value in values.items():
        value = _as_boolean(value, hints[name])
        if not _fits(value, hints[name]):
            hint = _yaml_hint(value, hints[name])
            raise UsageError(f"{where}: {name!r} must be {_expected(hints[name])}, not {value!r}{hint}")
        checked[name] = _with_integers(value, hints[name])
    return checked


def unknown_setting(name: str, known: Collection[str]) -> str:
    """Return the part of an error message that says that a name is unknown, with the closest known one.

    Example:
        >>> unknown_setting("max_stops", ["max_steps", "seed"])
        "unknown setting 'max_stops'; did you mean 'max_steps'?"
        >>> unknown_setting("depth", ["tau"])
        "unknown setting 'depth'; choose from 'tau'"
    """
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"unknown setting {name!r}; did you mean {close[0]!r}?"
    if not known:
        return f"unknown setting {name!r}; there are no settings here"
    listed = f"; choose from {', '.join(map(repr, known))}" if len(known) <= FEW else ""
    return f"unknown setting {name!r}{listed}"


def describe_settings(kind: type[Any]) -> list[SettingHelp]:
    """Describe the fields of a dataclass by their types, defaults and docstrings (or `help` in their metadata)."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if is_dataclass(base):
            texts |= _attribute_docstrings(base)
    described, hints = [], get_type_hints(kind)
    for field in fields(kind):
        if field.init:
            text = field.metadata.get("help") or texts.get(field.name, "")
            spelled = _spelled(hints[field.name])
            described.append(SettingHelp(field.name, spelled, _default(field), " ".join(text.split())))
    return described


def _attribute_docstrings(kind: type[Any]) -> dict[str, str]:
    """Return the strings that follow a field in the source of a class."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    texts = {}
    for statement, following in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            value = following.value if isinstance(following, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                texts[statement.target.id] = value.value
    return texts


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _choices(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union; any other type alone."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _with_integers(value: Any, hint: Any) -> Any:
    """Return a value with floats such as 1.0e+3 as integers, where its type has integers alone."""
    choices = _choices(hint)
    if isinstance(value, float):
        return int(value) if int in choices and float not in choices else value
    for choice in choices:
        origin = get_origin(choice)
        if isinstance(value, Mapping) and isinstance(origin, type) and issubclass(origin, Mapping):
            return {key: _with_integers(item, get_args(choice)[1]) for key, item in value.items()}
        if isinstance(value, list) and isinstance(origin, type) and issubclass(origin, Sequence):
            return [_with_integers(item, get_args(choice)[0]) for item in value]
    return value


def _as_boolean(value: Any, hint: Any) -> Any:
    """Return the boolean that a word such as "no" stands for, if the type has booleans and no text."""
    choices = _choices(hint)
    if not isinstance(value, str) or bool not in choices or str in choices:
        return value
    return BOOLEAN_WORDS.get(value.lower(), value)


def _yaml_hint(value: Any, hint: Any) -> str:
    """Return the end of an error message for a value that YAML 1.1 reads as another type than it looks like."""
    if isinstance(value, bool) and str in _choices(hint):
        return "; YAML reads no, off, yes and on as booleans, so write such a text in quotes"
    if not isinstance(value, str) or not {int, float} & set(_choices(hint)):
        return ""
    try:
        number = yaml.safe_dump(float(value)).split()[0]
    except ValueError:
        return ""
    return f", which YAML reads as text; write {number}"


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value from YAML has a type; types unknown to YAML are left to the settings class."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, choice) for choice in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if hint is int:
        return value.is_integer() if isinstance(value, float) else type(value) is int
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is not Any and hint in NAMES:
        return isinstance(value, hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return isinstance(value, hint) or value in [member.value for member in hint]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(_fits(item, get_args(hint)[1]) for item in value.values())
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return isinstance(value, list | tuple) and all(_fits(item, get_args(hint)[0]) for item in value)
    return True


def _spelled(hint: Any) -> str:
    """Format a type for help pages."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return " | ".join(_spelled(choice) for choice in get_args(hint))
    if origin is Literal:
        return " | ".join(map(str, get_args(hint)))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"list of {_spelled(get_args(hint)[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"mapping to {_spelled(get_args(hint)[1])}"
    return "null" if hint is NoneType else getattr(hint, "__name__", str(hint))


def _expected(hint: Any) -> str:
    """Format a type for error messages."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return " or ".join(_expected(choice) for choice in get_args(hint))
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a mapping of names to {_plural(get_args(hint)[1])}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list of {_plural(get_args(hint)[0])}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"one of {', '.join(str(member.value) for member in hint)}"
    return NAMES.get(hint, str(hint))


def _plural(hint: Any) -> str:
    origin = get_origin(hint)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "mappings"
    return PLURALS.get(hint) or _expected(hint)
