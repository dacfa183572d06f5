"""Read JSON, JSON lines, CSV and lists of ids, line by line, with the location of every row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mova.errors import DataError, UsageError
from mova.utils.text_files import open_text, parse_json, read_text

MISSING_VALUES = frozenset({"nan", "none", "null", "n/a", "na", "<na>", "#n/a", "nat"})
"""Texts that stand for a missing value, in lower case."""


def is_missing_value(text: str) -> bool:
    """Return whether a text is what other programs write for a missing value, such as pandas and spreadsheets.

    >>> is_missing_value("NaN"), is_missing_value("None of them runs.")
    (True, False)
    """
    return text.strip().lower() in MISSING_VALUES


FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""First characters for which a spreadsheet takes a cell for a formula."""


def guard_cell(cell: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run as a formula; numbers stay.

    A text that has apostrophes before a formula gets one more, so that `unguard_cell` restores every text.

    >>> guard_cell("=1+1"), guard_cell("-2.5"), guard_cell("A dog runs."), guard_cell("'=1+1")
    ("'=1+1", '-2.5', 'A dog runs.', "''=1+1")
    """
    if not cell.lstrip("'").startswith(FORMULA_STARTS):
        return cell
    try:
        float(cell)
    except ValueError:
        return "'" + cell
    return cell


def unguard_cell(cell: str) -> str:
    """Remove the apostrophe that `guard_cell` puts before a text."""
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'").startswith(FORMULA_STARTS) else cell


def read_json(path: Path) -> Any:
    """Read a JSON document.

    Raises:
        DataError: the file cannot be read or is not JSON, or an object has a duplicate key.
    """
    return parse_json(read_text(path), str(path), unique=True)


def read_jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (location, value) of every non-empty line of a JSONL file.

    Raises:
        DataError: the file cannot be read, or a line is not JSON.
    """
    with open_text(path) as file:
        for line_number, line in enumerate(file, start=1):
            if line.strip():
                where = f"{path}, line {line_number}"
                yield where, parse_json(line, where)


def read_table(path: Path, width: int | None = None, delimiter: str = ",") -> Iterator[tuple[str, list[str]]]:
    """Yield (location, cells) of every row of a CSV file without a header; files separated by tabs have no quotes.

    Raises:
        DataError: the file cannot be read, or a row does not have `width` columns.
    """
    quoting: Any = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    with open_text(path) as file:
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
        line = 1
        try:
            for cells in reader:
                where, line = f"{path}, line {line}", reader.line_num + 1
                if not cells:
                    continue
                if width is not None and len(cells) != width:
                    raise DataError(f"{where}: has {len(cells)} columns instead of {width}")
                yield where, cells
        except csv.Error as error:
            raise DataError(f"{path}, line {line}: not CSV: {error}") from error


def read_csv(path: Path, *columns: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (location, row by column name) of a CSV file with a header.

    Columns are separated by commas, or by semicolons if the header has semicolons and no comma. The apostrophe before a
    text that begins like a formula is removed (`guard_cell`).

    Raises:
        DataError: a column is missing or a duplicate, or a row has too many or too few cells.
    """
    with open_text(path) as file:
        first = file.readline()
    rows = read_table(path, delimiter=";" if ";" in first and "," not in first else ",")
    where, header = next(rows, (str(path), []))
    if missing := [name for name in columns if name not in header]:
        columns_found = ", ".join(header) or "none"
        raise DataError(f"{where}: missing column {', '.join(map(repr, missing))}; the columns are: {columns_found}")
    if len(set(header)) < len(header):
        raise DataError(f"{where}: duplicate column names")
    for where, cells in rows:
        if len(cells) != len(header):
            raise DataError(f"{where}: has {len(cells)} columns instead of {len(header)}")
        yield where, dict(zip(header, map(unguard_cell, cells), strict=True))


def read_list(path: Path, header: str | None = None) -> dict[str, str]:
    """Return the ids of a file, one per line, with their locations; a first line equal to `header` is skipped.

    Raises:
        DataError: an id is a duplicate, or the file has no ids.
    """
    locations: dict[str, str] = {}
    with open_text(path) as file:
        for line_number, line in enumerate(file, start=1):
            id = line.strip()
            if not id or (line_number == 1 and id == header):
                continue
            if id in locations:
                raise DataError(f"{path}, line {line_number}: duplicate {id!r}, first used in {locations[id]}")
            locations[id] = f"{path}, line {line_number}"
    if not locations:
        raise DataError(f"{path}: has no ids")
    return locations


def data_frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> Any:
    """Return rows with equal keys as a `pandas.DataFrame`.

    Args:
        rows: of the table.
        columns: names for a table without rows.

    Raises:
        UsageError: pandas is not installed.

    >>> data_frame([{"text": "a dog", "score": 0.5}]).columns.tolist()  # pip install pandas
    ['text', 'score']
    """
    try:
        import pandas
    except ImportError as error:
        raise UsageError("to_pandas() needs pandas, which is not installed; pip install pandas") from error
    return pandas.DataFrame(list(rows), columns=None if rows else list(columns))
