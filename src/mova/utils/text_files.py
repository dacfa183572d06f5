"""Read text that users supply: byte-order marks are skipped, and every error is a `DataError` with file and line.

A file is UTF-8, with or without a byte-order mark, or UTF-16 or UTF-32 with one. Any other encoding is an error: a
guess could be wrong.
"""

from __future__ import annotations

import codecs
import json
import reprlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import yaml

from mova.errors import DataError

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte-order mark -> encoding. Those of UTF-32 come first, because one begins with that of UTF-16."""
DEEPEST = 64
"""Largest number of nested lists and objects in a document."""
LONGEST_VALUE = 160
"""Characters of a value in a message."""
PARSER_ERRORS = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError, EOFError),
    *(OSError, MemoryError, SyntaxError, NotImplementedError),
)
"""Errors that parsers of other projects raise on damaged content."""

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 80
_brief.maxlevel = 3


@contextmanager
def open_text(path: str | Path, newline: str | None = "") -> Iterator[TextIO]:
    """Open a text file, and turn errors of reading it into a `DataError`; `newline` as for `open`.

    Raises:
        DataError: it cannot be read, or is not text in a known encoding (the message has the line).
    """
    encoding = "utf-8"
    try:
        with open(path, "rb") as content:  # a pipe can be read once
            encoding = _encoding(content.peek(4))
            with TextIOWrapper(content, encoding=encoding, newline=newline) as file:
                yield file
    except FileNotFoundError as error:
        raise DataError(f"{path}: cannot be read: no such file") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: cannot be read: is a folder") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeError as error:
        place, name = f"{path}{_bad_line(path, encoding)}", encoding.removesuffix("-sig").upper()
        raise DataError(f"{place}: is not {name} text ({error}); save the file in the encoding UTF-8") from error


def read_text(path: str | Path) -> str:
    """Read a whole text file; line endings become `\\n`.

    Raises:
        DataError: as `open_text`.
    """
    with open_text(path, newline=None) as file:
        return file.read()


def parse_json(text: str, where: str, unique: bool = False, constant: Callable[[str], Any] | None = None) -> Any:
    """Parse a JSON document.

    Args:
        text: the document.
        where: file and line, for messages.
        unique: whether an object with a duplicate key is an error.
        constant: called with NaN, Infinity or -Infinity; default: they are numbers.

    Raises:
        DataError: the text is not JSON, or is nested more than `DEEPEST` levels deep.

    >>> parse_json('{"a": [1]', "a.jsonl, line 7")
    Traceback (most recent call last):
    mova.errors.DataError: a.jsonl, line 7: not JSON: Expecting ',' delimiter: line 1 column 10 (char 9)
    """

    def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            names = [key for key, _ in pairs]
            raise DataError(f"{where}: duplicate key {next(key for key in names if names.count(key) > 1)!r}")
        return result

    try:
        value = json.loads(text, object_pairs_hook=_without_duplicates if unique else None, parse_constant=constant)
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {error}") from error
    except RecursionError as error:
        raise DataError(f"{where}: {_too_deep()}") from error
    if text.count("[") + text.count("{") > DEEPEST:
        _require_shallow(value, where)
    return value


def parse_yaml(text: str, where: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """Parse a YAML document without running code.

    Raises:
        DataError: the text is not YAML, or is nested more than `DEEPEST` levels deep (also by an alias of itself).

    >>> parse_yaml("steps: 3", "recipe.yaml")
    {'steps': 3}
    """
    try:
        value = yaml.load(text, Loader=loader)
    except (yaml.YAMLError, *PARSER_ERRORS) as error:
        raise DataError(f"{where}: not valid YAML: {str(error) or type(error).__name__}") from error
    _require_shallow(value, where)
    return value


def brief(value: object) -> str:
    """Return the `repr` of a value, shortened to what fits into a message.

    >>> brief([1, [2, "three"]])
    "[1, [2, 'three']]"
    """
    text = _brief.repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _encoding(start: bytes) -> str:
    """Return the encoding that the byte-order mark of a file names, or UTF-8."""
    return next((encoding for mark, encoding in MARKS.items() if start.startswith(mark)), "utf-8")


def _bad_line(path: str | Path, encoding: str) -> str:
    """Return the first line of a file that is not UTF-8, as `, line 3`; empty for other encodings, and for a pipe."""
    if not encoding.startswith("utf-8") or not Path(path).is_file():
        return ""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return f", line {number}"
    return ""


def _require_shallow(value: Any, where: str) -> None:
    """Raise if lists and objects are nested too deeply; an object that occurs twice on a level is visited once."""
    level = [value]
    for _ in range(DEEPEST):
        containers = {id(item): item for item in level if isinstance(item, list | dict)}
        if not containers:
            return
        level = [
            child
            for container in containers.values()
            for child in (container.values() if isinstance(container, dict) else container)
        ]
    if any(isinstance(item, list | dict) for item in level):
        raise DataError(f"{where}: {_too_deep()}")


def _too_deep() -> str:
    return f"lists and objects are nested more than {DEEPEST} levels deep"
