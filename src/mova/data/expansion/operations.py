"""Parse the operations of an expansion: `integrate:source,min=4 compress:extractive,words=20`.

An operation is `KIND[:METHOD][,OPTION=VALUE]...`; operations are separated by blanks. Each makes a new granularity from
the output of the previous one (the first from the manifest), or from the granularity that `of=NAME` names; `name=NAME`
names the new one. Kinds and methods follow GEXIA (Section 3.1: integration and compression of videos and texts).
`segments` cuts rows at their timed sentences, so that data sets with paragraphs can be expanded too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mova.errors import UsageError

Options = Mapping[str, tuple[type, Any]]
"""Name -> (type, default); the default `...` marks a required option."""

_SIZES: Options = {"min": (int, 4), "max": (int, None)}
_WORDS: Options = {"words": (int, 20)}
METHODS: dict[str, dict[str, Options]] = {
    "integrate": {
        "source": _SIZES,
        "adjacent": {**_SIZES, "gap": (float, 1.0)},
        "random": {**_SIZES, "seed": (int, 0)},
    },
    "compress": {
        "extractive": _WORDS,
        "transformers": {**_WORDS, "model": (str, ...), "batch": (int, 8), "device": (str, "cpu")},
        "endpoint": {
            **_WORDS,
            "url": (str, ...),
            "model": (str, ...),
            "key": (str, "OPENAI_API_KEY"),
            "parallel": (int, 4),
            "retries": (int, 5),
        },
    },
    "image": {"middle": {}, "keyframe": {}},
    "segments": {"sentences": {}},
}
"""Kind -> method -> options; the first method of a kind is its default."""
_POSITIVE = ("min", "max", "words", "batch", "parallel")
_HIDDEN_OPTIONS = ("url", "key", "parallel", "retries", "batch", "device")
"""Options that do not change the output, or that may be private."""
_GRANULARITY = re.compile(r"[SL]V[SL]T\d*")
_IMAGES = re.compile(r"IT\d*")
_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        kind, method: keys of `METHODS`.
        options: every option of the method, with defaults filled in.
        of: granularity it is applied to; None for the output of the previous operation.
        name: name of the granularity it makes; None for a derived name.
    """

    kind: str
    method: str
    options: Mapping[str, Any]
    of: str | None = None
    name: str | None = None

    @property
    def spec(self) -> str:
        """The operation as text, as stored in `meta.operation`; options that may be private are omitted."""
        options = self.options.items()
        listed = [f"{key}={value}" for key, value in options if key not in _HIDDEN_OPTIONS and value is not None]
        return ",".join([f"{self.kind}:{self.method}", *listed])


@dataclass(frozen=True)
class Level:
    """A granularity that an expansion makes.

    Attributes:
        name: its name.
        of: granularity it is made from.
        operation: operation that makes it.
    """

    name: str
    of: str
    operation: Operation


def parse_operations(words: Iterable[str]) -> tuple[Operation, ...]:
    """Parse operations; each text has one or more, separated by blanks.

    Raises:
        UsageError: there are no operations, or one is invalid.

    >>> operations = parse_operations(["integrate:source,min=4 compress"])
    >>> [operation.spec for operation in operations]
    ['integrate:source,min=4', 'compress:extractive,words=20']
    """
    operations = tuple(_parse(word) for text in words for word in text.split())
    if not operations:
        raise UsageError("--ops is empty; give operations such as: integrate:source,min=4 compress:extractive,words=20")
    return operations


def plan(operations: Iterable[Operation], base: str, present: Collection[str] = ()) -> tuple[Level, ...]:
    """Return the granularity that each operation makes, in order.

    Args:
        operations: operations in the order they are applied.
        base: granularity of the manifest's rows that name none.
        present: granularities in the manifest; default: `base` alone.

    Raises:
        UsageError: an unknown granularity, a name that is already in use, or images that would be integrated.

    >>> [(level.name, level.of) for level in plan(parse_operations(["integrate compress image,of=SVST"]), "SVST")]
    [('LVLT', 'SVST'), ('LVST', 'LVLT'), ('IT', 'SVST')]
    """
    available, levels, last = set(present) or {base}, list[Level](), base
    images = set(filter(_IMAGES.fullmatch, available))
    for operation in operations:
        of = operation.of or last
        if of not in available:
            raise UsageError(
                f"{operation.spec}: granularity {of!r} does not exist at this step; of= can be "
                f"{', '.join(sorted(available))}"
            )
        if of in images and operation.kind == "integrate":
            raise UsageError(
                f"{operation.spec}: {of} contains images, which cannot be integrated; choose videos with of="
            )
        name = operation.name or _derived_name(operation.kind, of, available, of in images)
        if name in available:
            raise UsageError(f"{operation.spec}: granularity {name!r} already exists; choose another name=")
        levels.append(Level(name, of, operation))
        available.add(name)
        if operation.kind == "image" or of in images:
            images.add(name)
        last = name
    return tuple(levels)


def _derived_name(kind: str, of: str, available: Collection[str], image: bool) -> str:
    """Return a name for short or long videos and texts, with a number if it is taken (LVLT2, LVLT3, ...)."""
    video = of[:2] if _GRANULARITY.fullmatch(of) else "LV"
    plain = "IT" if image else {"integrate": "LVLT", "compress": f"{video}ST", "image": "IT", "segments": "SVST"}[kind]
    number = 1
    while (name := plain if number == 1 else f"{plain}{number}") in available:
        number += 1
    return name


def _parse(word: str) -> Operation:
    head, *assignments = word.split(",")
    kind, _, method = head.partition(":")
    if kind not in METHODS:
        raise UsageError(f"--ops: {kind!r} in {word!r} is not an operation; choose from {', '.join(METHODS)}")
    method = method or next(iter(METHODS[kind]))
    if method not in METHODS[kind]:
        methods = ", ".join(METHODS[kind])
        raise UsageError(f"--ops: {kind} has no method {method!r} (in {word!r}); choose from {methods}")
    available: Options = {**METHODS[kind][method], "of": (str, None), "name": (str, None)}
    values = {key: default for key, (_, default) in available.items()}
    for option in assignments:
        key, equals, value = option.partition("=")
        if key not in available or not equals:
            options = ", ".join(f"{name}=" for name in available)
            raise UsageError(
                f"--ops: {option!r} in {word!r} is not an option of {kind}:{method}; choose from {options}"
            )
        values[key] = _parse_value(key, available[key][0], value, word)
    if missing := [key for key, value in values.items() if value is ...]:
        raise UsageError(f"--ops: {word!r} requires {missing[0]}=")
    _check_values(values, word)
    of, name = values.pop("of"), values.pop("name")
    return Operation(kind, method, values, of, name)


def _parse_value(key: str, kind: type, value: str, word: str) -> Any:
    try:
        parsed = kind(value)
    except ValueError:
        raise UsageError(f"--ops: {key}= must be a number, not {value!r} (in {word!r})") from None
    if not value:
        raise UsageError(f"--ops: {key}= must not be empty (in {word!r})")
    if key in _POSITIVE and parsed < 1:
        raise UsageError(f"--ops: {key}= must be positive, not {value!r} (in {word!r})")
    if key == "name" and not _NAME.fullmatch(value):
        raise UsageError(f"--ops: name= may have letters, digits, '.', '_' and '-', not {value!r} (in {word!r})")
    return parsed


def _check_values(values: Mapping[str, Any], word: str) -> None:
    if values.get("max") is not None and values["max"] < values["min"]:
        raise UsageError(f"--ops: max= is below min= (in {word!r})")
    if values.get("gap") is not None and not 0 <= values["gap"] < float("inf"):
        raise UsageError(f"--ops: gap= must be 0 or more seconds (in {word!r})")
    if values.get("seed", 0) < 0 or values.get("retries", 0) < 0:
        raise UsageError(f"--ops: seed= and retries= must be 0 or more (in {word!r})")
