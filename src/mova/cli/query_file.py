"""`mova search --queries FILE`: many queries, encoded together and compared with all frames at once."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table
from rich.text import Text

from mova.cli.console import SENTENCE_WIDTH, clock, emit, note, one_line, progress_bar, show, write_result
from mova.errors import DataError, UsageError

if TYPE_CHECKING:
    from mova.search.narrow.answer import Answer
    from mova.search.narrow.filter import Filter
    from mova.search.searchable import SearchableIndex

MOST_QUERIES = 10_000
"""Queries of one file."""
MOST_BYTES = 16 << 20
BLOCK = 256
"""Queries that are encoded together."""
SUFFIXES = (".jsonl", ".ndjson")
COLUMNS = ("id", "query", "rank", "video", "start", "end", "score", "false_alarm", "evidence")


class QueryLine(NamedTuple):
    """A query of a file.

    Attributes:
        name: its `id` in the file, else the number of its line.
        text: a sentence or a paragraph.
    """

    name: str
    text: str


def read_queries(path: Path) -> list[QueryLine]:
    """Read one query per line; empty lines are passed over.

    A line of a `.jsonl` file is a text, or an object with `query` (or `text`) and, if it should be named, `id`.

    Raises:
        UsageError: the file cannot be read, has no queries or too many, or a query is too long or without words.
    """
    from mova.utils.text_files import read_text

    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise UsageError(f"--queries {path}: is larger than {MOST_BYTES >> 20} MB; split it")
    try:
        lines = read_text(path).splitlines()
    except DataError as error:
        raise UsageError(f"--queries {error}") from error
    parse = _of_json if path.suffix.lower() in SUFFIXES else _of_text
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise UsageError(f"--queries {path}: has no queries; write one per line")
    if len(numbered) > MOST_QUERIES:
        raise UsageError(
            f"--queries {path}: has {len(numbered):,} queries, at most {MOST_QUERIES:,} are answered at once; split it"
        )
    return [_checked(path, number, parse, line) for number, line in numbered]


def _checked(path: Path, number: int, parse: Callable[[int, str], QueryLine], line: str) -> QueryLine:
    from mova.search.query import query_sentences

    try:
        query = parse(number, line)
        query_sentences(query.text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--queries {path}, line {number}: {error}") from error
    return query


def _of_text(number: int, line: str) -> QueryLine:
    return QueryLine(str(number), line.strip())


def _of_json(number: int, line: str) -> QueryLine:
    try:
        value: Any = json.loads(line)
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from error
    name: Any = number
    if isinstance(value, dict):
        name, value = value.get("id", number), value.get("query", value.get("text"))
    if not isinstance(value, str) or isinstance(name, dict | list):
        raise ValueError('must be a text, or an object such as {"id": "q1", "query": "a dog runs"}')
    return QueryLine(str(name), value.strip())


def answer_queries(
    folders: Sequence[str],
    path: Path,
    search: Callable[[SearchableIndex, str], Answer],
    wanted: Filter,
    *,
    model: str | None = None,
    table: Path | None,
    json: bool,
) -> None:
    """Answer the queries of a file, and print or write the answers.

    Args:
        folders: of the indexes.
        path: the file.
        search: answers one query.
        wanted: the filter that `search` uses.
        model: where the model of the indexes is now, if it was moved.
        table: CSV file to write.
        json: print one JSON document instead of a table with the best moment of each query.

    Raises:
        UsageError: see `read_queries`, and `Index.search`.
    """
    from mova.search.narrow.answer import document
    from mova.serve.held import HeldIndex, HeldShards

    queries = read_queries(path)
    index = HeldIndex(folders[0], model) if len(folders) == 1 else HeldShards(folders, model)
    index.require_exists()
    index.adopt()
    index.videos(wanted)
    began = time.perf_counter()
    answers: list[Answer] = []
    with index.held(), progress_bar() as progress:
        task = progress.add_task("searching", total=len(queries))
        for start in range(0, len(queries), BLOCK):
            block = queries[start : start + BLOCK]
            index.look_ahead([query.text for query in block], wanted)
            answers += [search(index, query.text) for query in block]
            progress.update(task, completed=len(answers))
        name = index.meta.model
    seconds = time.perf_counter() - began
    if json:
        documents = [document(q.text, name, 0, answer, wanted) for q, answer in zip(queries, answers, strict=True)]
        rows = [{"id": query.name, **row} for query, row in zip(queries, documents, strict=True)]
        for row in rows:
            del row["model"], row["elapsed_seconds"]
        emit({"model": name, "elapsed_seconds": round(seconds, 3), "queries": rows})
    elif table is None:
        show(_table(queries, answers))
    if table is not None:
        text = _csv(queries, answers)
        write_result(partial(_write, text), table, "--csv")
    note(f"{len(queries)} queries in {seconds:.1f} s")
    index.refresh()


def _write(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8", newline="")


def _csv(queries: Sequence[QueryLine], answers: Sequence[Answer]) -> str:
    """Return one row per moment. Texts that a spreadsheet would run as formulas are guarded."""
    from mova.utils.tables import guard_cell

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for query, answer in zip(queries, answers, strict=True):
        for rank, m in enumerate(answer, start=answer.skip + 1):
            rate = "" if m.false_alarm is None else f"{m.false_alarm:.6f}"
            names = guard_cell(query.name), guard_cell(query.text), rank, guard_cell(m.video)
            writer.writerow((*names, f"{m.start:.3f}", f"{m.end:.3f}", f"{m.score:.6f}", rate, m.evidence or ""))
    return buffer.getvalue()


def _table(queries: Sequence[QueryLine], answers: Sequence[Answer]) -> Table:
    """Return a table with the best moment of each query."""
    table = Table(title=None, header_style="bold")
    for column in ("query", "evidence", "score", "start", "end", "video"):
        table.add_column(column, justify="right" if column in {"score", "start", "end"} else "left")
    for query, answer in zip(queries, answers, strict=True):
        text = Text(one_line(query.text)[:SENTENCE_WIDTH])
        if not answer:
            table.add_row(text, "", "", "", "", "no moments")
            continue
        best = answer[0]
        times = clock(best.start), clock(best.end)
        table.add_row(text, best.evidence or "", f"{best.score:.3f}", *times, Text(one_line(best.video)))
    return table
