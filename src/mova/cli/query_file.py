"""`mova search --queries FILE`: many queries, encoded together and compared with all frames at once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table
from rich.text import Text

from mova.cli.console import SENTENCE_WIDTH, clock, emit, note, one_line, progress_bar, show, write_result
from mova.cli.options import STANDARD_INPUT
from mova.errors import DataError, UsageError

if TYPE_CHECKING:
    from mova.cli.moment_files import MomentFiles
    from mova.search.narrow.answer import Answer
    from mova.search.narrow.filter import Filter
    from mova.search.searchable import SearchableIndex
    from mova.search.storage.records import VideoRecord

MOST_QUERIES = 10_000
"""Queries of one file."""
MOST_BYTES = 16 << 20
BLOCK = 256
"""Queries that are encoded together."""
SUFFIXES = (".jsonl", ".ndjson")


class QueryLine(NamedTuple):
    """A query of a file.

    Attributes:
        name: its `id` or `qid` in the file, else the number of its line.
        text: a sentence or a paragraph.
        video: name of the only video that it is about (`vid`); None: any.
    """

    name: str
    text: str
    video: str | None = None


def read_queries(path: Path) -> list[QueryLine]:
    """Read one query per line; empty lines are passed over.

    A line of a `.jsonl` file is a text, or an object with `query` (or `text`) and, if it should be named, `id` (or
    `qid`, as QVHighlights has it) and, if it is about one video, `vid`. A dash stands for standard input, of which
    lines that begin with `{` are such objects.

    Raises:
        UsageError: the file cannot be read, has no queries or too many, or a query is too long or without words.
    """
    from mova.utils.text_files import read_text

    source = STANDARD_INPUT if str(path) == "-" and STANDARD_INPUT.exists() else path
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise UsageError(f"--queries {path}: is larger than {MOST_BYTES >> 20} MB; split it")
    try:
        lines = read_text(source).splitlines()
    except DataError as error:
        raise UsageError(f"--queries {error}") from error
    parse = _of_either if source is STANDARD_INPUT else _of_json if path.suffix.lower() in SUFFIXES else _of_text
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


def _of_either(number: int, line: str) -> QueryLine:
    return _of_json(number, line) if line.lstrip().startswith("{") else _of_text(number, line)


def _of_json(number: int, line: str) -> QueryLine:
    try:
        value: Any = json.loads(line)
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from error
    name: Any = number
    video: Any = None
    if isinstance(value, dict):
        name, video = value.get("id", value.get("qid", number)), value.get("vid")
        value = value.get("query", value.get("text"))
    if not isinstance(value, str) or isinstance(name, dict | list) or not isinstance(video, str | None):
        raise ValueError('must be a text, or an object such as {"id": "q1", "query": "a dog runs"}')
    return QueryLine(str(name), value.strip(), video)


def answer_queries(
    folders: Sequence[str],
    path: Path,
    search: Callable[[SearchableIndex, str, Filter], Answer],
    wanted: Filter,
    model: str | None = None,
    *,
    files: MomentFiles,
    json: bool,
) -> None:
    """Answer the queries of a file, and print or write the answers.

    Args:
        folders: of the indexes.
        path: the file.
        search: answers one query in the videos of a filter.
        wanted: the filter of queries about any video.
        model: where the model of the indexes is now, if it was moved.
        files: to write: a table, predictions.
        json: print one JSON document instead of a table with the best moment of each query.

    Raises:
        UsageError: see `read_queries`, and `Index.search`; a query about a video that the index does not have; or
            predictions for two queries of one name.
    """
    from mova.serve.held import HeldIndex, HeldShards

    queries = read_queries(path)
    if files.predictions is not None:
        _require_own_names(path, queries)
    index = HeldIndex(folders[0], model) if len(folders) == 1 else HeldShards(folders, model)
    index.require_exists()
    index.adopt()
    filters = _filters(queries, index.videos(wanted), wanted)
    groups: dict[str | None, list[QueryLine]] = {video: [] for video in filters}
    for query in queries:
        groups[query.video].append(query)
    began = time.perf_counter()
    answers: dict[QueryLine, Answer] = {}
    with index.held(), progress_bar() as progress:
        task = progress.add_task("searching", total=len(queries))
        for video, about in groups.items():
            narrowed = filters[video]
            for start in range(0, len(about), BLOCK):
                block = about[start : start + BLOCK]
                index.look_ahead([query.text for query in block], narrowed)
                answers.update({query: search(index, query.text, narrowed) for query in block})
                progress.update(task, completed=len(answers))
        name = index.meta.model
    seconds = time.perf_counter() - began
    if json:
        rows = [_row(query, answers[query], filters[query.video]) for query in queries]
        emit({"model": name, "elapsed_seconds": round(seconds, 3), "queries": rows})
    elif not files.requested():
        show(_table(queries, answers))
    _write(files, queries, answers)
    note(f"{len(queries)} queries in {seconds:.1f} s")
    index.refresh()


def _row(query: QueryLine, answer: Answer, wanted: Filter) -> dict[str, Any]:
    """Return the document of one query, without what is the same for all."""
    from mova.search.narrow.answer import document

    row = {"id": query.name, **document(query.text, "", 0, answer, wanted)}
    del row["model"], row["elapsed_seconds"]
    return row


def _require_own_names(path: Path, queries: Sequence[QueryLine]) -> None:
    name, count = Counter(query.name for query in queries).most_common(1)[0]
    if count > 1:
        raise UsageError(f"--queries {path}: {count} queries have the id {name}; --predictions needs one id per query")


def _filters(queries: Sequence[QueryLine], records: Sequence[VideoRecord], wanted: Filter) -> dict[str | None, Filter]:
    """Return the filter for each video that queries are about, in order; None: any video."""
    from mova.data.readers.annotations import without_suffix

    paths: dict[str, list[str]] = {}
    for record in records:
        paths.setdefault(without_suffix(Path(record.path).name), []).append(record.path)
    filters: dict[str | None, Filter] = {}
    for query in queries:
        if query.video is None:
            filters[None] = wanted
            continue
        found = paths.get(query.video) or paths.get(without_suffix(query.video))
        if found is None:
            raise UsageError(f"--queries, query {query.name}: no video that is searched has the name {query.video}")
        filters[query.video] = replace(wanted, folders=found)
    return filters


def _write(files: MomentFiles, queries: Sequence[QueryLine], answers: Mapping[QueryLine, Answer]) -> None:
    """Write a table, and predictions.

    Of a query about any video, a file of ActivityNet has the moments of all videos; one of QVHighlights, which has one
    video per query, those of the video with the best moment.
    """
    from mova.cli.moment_table import to_csv
    from mova.data.exchange.predictions import Prediction, of_moments, write_predictions

    if files.csv is not None:
        text = to_csv((query.name, query.text, answers[query]) for query in queries)
        write_result(lambda path: path.write_text(text, encoding="utf-8", newline=""), files.csv, "--csv")
    if files.predictions is None:
        return
    of_one = files.predictions.suffix.lower() == ".jsonl"
    found: list[Prediction] = []
    for query in queries:
        by_video = of_moments(query.text, answers[query])
        if query.video is not None:
            windows = tuple(window for prediction in by_video for window in prediction.windows)
            by_video = [Prediction(query.name, query.text, query.video, windows)]
        found += [replace(prediction, id=query.name) for prediction in by_video[: 1 if of_one else None]]
    write_result(partial(write_predictions, found), files.predictions, "--predictions")


def _table(queries: Sequence[QueryLine], answers: Mapping[QueryLine, Answer]) -> Table:
    """Return a table with the best moment of each query."""
    table = Table(title=None, header_style="bold")
    for column in ("query", "evidence", "score", "start", "end", "video"):
        table.add_column(column, justify="right" if column in {"score", "start", "end"} else "left")
    for query in queries:
        answer = answers[query]
        text = Text(one_line(query.text)[:SENTENCE_WIDTH])
        if not answer:
            table.add_row(text, "", "", "", "", "no moments")
            continue
        best = answer[0]
        times = clock(best.start), clock(best.end)
        table.add_row(text, best.evidence or "", f"{best.score:.3f}", *times, Text(one_line(best.video)))
    return table
