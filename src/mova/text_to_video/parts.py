"""Divide a run over several processes or machines, and join their results after checking that they belong together.

Part k of n takes items k-1, k-1+n, k-1+2n, ... Each part writes one JSON file into the folder of the run:
`render-3-of-8.json`. Nothing else is shared, so parts may run anywhere and in any order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mova.data.manifest import write_lines
from mova.errors import DataError, UsageError
from mova.utils.tables import read_json

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """Part `number` of `of`, counted from 1.

    Raises:
        UsageError: not `1 <= number <= of`.

    >>> Part.parse("2/3").pick("abcdefgh")
    ['b', 'e', 'h']
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise UsageError(
                f"shard {self}: the first of {self.of} is 1/{max(self.of, 1)}, the last {self.of}/{self.of}"
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Part:
        """Return the part that a text such as "3/8" names.

        Raises:
            UsageError: it has another form, or there is no such part.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if match is None:
            raise UsageError(f"shard {text!r}: write it as NUMBER/COUNT, such as 3/8")
        return cls(int(match[1]), int(match[2]))

    def pick(self, items: Sequence[T]) -> list[T]:
        """Return the items of this part, in order."""
        return list(items[self.number - 1 :: self.of])

    def file(self, folder: str | Path, stage: str, ending: str = ".json") -> Path:
        """Return the path of this part's file for a stage such as "render"."""
        return Path(folder) / f"{stage}-{self.number}-of-{self.of}{ending}"


@dataclass(frozen=True)
class Batch(Part):
    """Consecutive items: batch `number` of `of`, of `size` items each.

    >>> [batch.pick("abcde") for batch in Batch.all(5, 2)]
    [['a', 'b'], ['c', 'd'], ['e']]
    """

    size: int = 1

    @classmethod
    def all(cls, count: int, size: int) -> list[Batch]:
        """Return all batches of some number of items."""
        of = -(-count // size)
        return [cls(number, of, size) for number in range(1, of + 1)]

    def pick(self, items: Sequence[T]) -> list[T]:
        """Return the items of this batch, in order."""
        return list(items[(self.number - 1) * self.size : self.number * self.size])


def write_part(part: Part, folder: str | Path, stage: str, settings: Mapping[str, Any], content: Any) -> Path:
    """Write the result of a part.

    Args:
        part: which one.
        folder: of the run.
        stage: name of the work.
        settings: all that must be equal in every part.
        content: the result, as JSON.
    """
    document = {"stage": stage, "part": str(part), "settings": settings, "content": content}
    return write_lines(part.file(folder, stage), [json.dumps(document, ensure_ascii=False, default=str)])


def read_parts(folder: str | Path, stage: str, expected: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Return the settings of all parts of a run, and their contents in order.

    Args:
        folder: of the run.
        stage: name of the work.
        expected: settings that this command knows too.

    Raises:
        DataError: parts are missing, are of runs with different counts or settings, or a file is damaged.
    """
    pattern = re.compile(rf"{re.escape(stage)}-(\d+)-of-(\d+)\.json")
    paths = Path(folder).iterdir() if Path(folder).is_dir() else ()
    found = {Part(int(m[1]), int(m[2])): path for path in paths if (m := pattern.fullmatch(path.name))}
    counts = sorted({part.of for part in found})
    if not counts:
        raise DataError(f"{folder}: has no results of shards; run the command with --shard 1/N to N/N first")
    if len(counts) > 1:
        raise DataError(
            f"{folder}: has results of {' and '.join(map(str, counts))} shards; remove those of another run"
        )
    numbers = range(1, counts[0] + 1)
    missing = [f"{number}/{counts[0]}" for number in numbers if Part(number, counts[0]) not in found]
    if missing:
        raise DataError(f"{folder}: shards {', '.join(missing)} are missing; run the command with --shard {missing[0]}")
    settings: dict[str, Any] = dict(expected)
    contents = []
    for number in numbers:
        path = found[Part(number, counts[0])]
        document = read_json(path)
        if (
            not isinstance(document, dict)
            or not isinstance(document.get("settings"), dict)
            or "content" not in document
        ):
            raise DataError(f"{path}: is damaged; run the command with --shard {number}/{counts[0]} again")
        for name, value in document["settings"].items():
            if settings.setdefault(name, value) != value:
                raise DataError(
                    f"{path}: was made with another {name} ({_brief(value)}) than this command or another shard "
                    f"({_brief(settings[name])}); run the command with --shard {number}/{counts[0]} again"
                )
        contents.append(document["content"])
    return settings, contents


def joined(contents: Sequence[Sequence[T]]) -> list[T]:
    """Return the items of all parts in the order before they were divided.

    >>> joined([["a", "c", "e"], ["b", "d"]])
    ['a', 'b', 'c', 'd', 'e']
    """
    longest = max(map(len, contents), default=0)
    return [content[k] for k in range(longest) for content in contents if k < len(content)]


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
