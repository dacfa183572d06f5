"""The words in which an expansion is asked for: `integrate:source,min=4 compress:extractive,words=20`.

An operation is `KIND[:METHOD][,OPTION=VALUE]...`, without blanks; several stand one after the other. Each makes a new
granularity out of what the one before it made (the first: of the manifest), or of the one that `of=NAME` names; `name=`
says what the new one is called. Kinds and methods follow GEXIA (Section 3.1: integration and compression of videos
and texts); `segments` cuts rows at their timed sentences, so that data sets of paragraphs can be expanded too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mova.errors import UsageError

Options = Mapping[str, tuple[type, Any]]
"""Name -> type and what holds where it is left out; `...` where it must be given."""

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
"""Kind -> method -> options; the first method of a kind is the one that is meant where none is named."""
_POSITIVE = ("min", "max", "words", "batch", "parallel")
_UNTOLD = ("url", "key", "parallel", "retries", "batch", "device")
"""Options that do not change what is made, or that may hold something private."""
_GRANULARITY = re.compile(r"[SL]V[SL]T\d*")
_IMAGES = re.compile(r"IT\d*")
_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        kind, method: of `METHODS`.
        options: every option of the method, given or not.
        of: the granularity it is applied to; None for what the one before made.
        name: of the granularity it makes; None for a derived one.
    """

    kind: str
    method: str
    options: Mapping[str, Any]
    of: str | None = None
    name: str | None = None

    @property
    def told(self) -> str:
        """What decides the result, as it stands in `meta.operation`; no address and no key."""
        given = [f"{key}={value}" for key, value in self.options.items() if key not in _UNTOLD and value is not None]
        return ",".join([f"{self.kind}:{self.method}", *given])


@dataclass(frozen=True)
class Level:
    """A granularity that an expansion makes: `name`, by `operation`, of the granularity `of`."""

    name: str
    of: str
    operation: Operation


def parse_operations(words: Iterable[str]) -> tuple[Operation, ...]:
    """Read operations, one or several (with blanks between) in each text.

    Raises:
        UsageError: none, or what is wrong with which.
    """
    operations = tuple(_parse(word) for text in words for word in text.split())
    if not operations:
        raise UsageError("--ops names no operation; such as: integrate:source,min=4 compress:extractive,words=20")
    return operations


def plan(operations: Iterable[Operation], base: str, present: Collection[str] = ()) -> tuple[Level, ...]:
    """Which granularity each operation makes of which.

    Args:
        operations: in the order they are applied.
        base: granularity of the manifest's rows that have none.
        present: granularities that there are; `base` alone where none is named.

    Raises:
        UsageError: a name that is not there, or stands already, or images that are to be integrated.
    """
    known, levels, last = set(present) or {base}, list[Level](), base
    images = set(filter(_IMAGES.fullmatch, known))
    for operation in operations:
        of = operation.of or last
        if of not in known:
            raise UsageError(
                f"{operation.told}: there is no granularity {of!r} yet; there are {', '.join(sorted(known))} (of=NAME)"
            )
        if of in images and operation.kind == "integrate":
            raise UsageError(f"{operation.told}: {of} are images; name what is to be put together with of=")
        name = operation.name or _derived(operation.kind, of, known, of in images)
        if name in known:
            raise UsageError(f"{operation.told}: granularity {name!r} is there already; choose another name=")
        levels.append(Level(name, of, operation))
        known.add(name)
        if operation.kind == "image" or of in images:
            images.add(name)
        last = name
    return tuple(levels)


def _derived(kind: str, of: str, known: Collection[str], image: bool) -> str:
    """The name that says how long videos and texts are; a number makes it new (LVLT2, LVLT3, ...)."""
    video = of[:2] if _GRANULARITY.fullmatch(of) else "LV"
    plain = "IT" if image else {"integrate": "LVLT", "compress": f"{video}ST", "image": "IT", "segments": "SVST"}[kind]
    number = 1
    while (name := plain if number == 1 else f"{plain}{number}") in known:
        number += 1
    return name


def _parse(word: str) -> Operation:
    head, *given = word.split(",")
    kind, _, method = head.partition(":")
    if kind not in METHODS:
        raise UsageError(f"--ops: {kind!r} in {word!r} is no operation; there are {', '.join(METHODS)}")
    method = method or next(iter(METHODS[kind]))
    if method not in METHODS[kind]:
        raise UsageError(f"--ops: {kind} has no way {method!r} (in {word!r}); there are {', '.join(METHODS[kind])}")
    known: Options = {**METHODS[kind][method], "of": (str, None), "name": (str, None)}
    values = {key: default for key, (_, default) in known.items()}
    for option in given:
        key, equals, value = option.partition("=")
        if key not in known or not equals:
            raise UsageError(f"--ops: {option!r} in {word!r} is no option of {kind}:{method}; {_listed(known)}")
        values[key] = _value(key, known[key][0], value, word)
    if lacking := [key for key, value in values.items() if value is ...]:
        raise UsageError(f"--ops: {word!r} lacks {lacking[0]}=")
    _check(values, word)
    of, name = values.pop("of"), values.pop("name")
    return Operation(kind, method, values, of, name)


def _listed(known: Options) -> str:
    return f"there are {', '.join(f'{key}=' for key in known)}"


def _value(key: str, kind: type, value: str, word: str) -> Any:
    try:
        found = kind(value)
    except ValueError:
        raise UsageError(f"--ops: {key}= needs a number, not {value!r} (in {word!r})") from None
    if not value or (key in _POSITIVE and found < 1):
        raise UsageError(f"--ops: {key}= must be {'positive' if value else 'given'}, not {value!r} (in {word!r})")
    if key == "name" and not _NAME.fullmatch(value):
        raise UsageError(f"--ops: name= is made of letters, digits, '.', '_' and '-', not {value!r} (in {word!r})")
    return found


def _check(values: Mapping[str, Any], word: str) -> None:
    if values.get("max") is not None and values["max"] < values["min"]:
        raise UsageError(f"--ops: max= is below min= (in {word!r})")
    if values.get("gap") is not None and not 0 <= values["gap"] < float("inf"):
        raise UsageError(f"--ops: gap= is seconds, 0 or more (in {word!r})")
    if values.get("seed", 0) < 0 or values.get("retries", 0) < 0:
        raise UsageError(f"--ops: seed= and retries= are 0 or more (in {word!r})")
