"""`mova eval summaries`: compare summaries with references by ROUGE and BERTScore."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from mova.cli.console import emit, note, show
from mova.cli.options import Json
from mova.cli.report_output import Output, write_report
from mova.errors import DataError, UsageError

TEXT, SECONDS = "text", "seconds"


def summaries(
    references: Annotated[
        Path, typer.Argument(metavar="REFERENCES", help="JSON lines with `id` and `text`, or a manifest.")
    ],
    candidates: Annotated[
        list[str],
        typer.Option(
            "--candidates", metavar="NAME=FILE", help="Summaries of a system, in the same form; may be repeated."
        ),
    ],
    bert: Annotated[
        str | None, typer.Option(help="Language model for BERTScore, such as roberta-large (default: ROUGE alone).")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="Layer of --bert (default: that of BERTScore's authors).")] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Compare summaries of long texts with references (GEXIA, Table 7): ROUGE-1, -2, -L and BERTScore F1.

    If lines of a file have `seconds`, their mean is the time of a summary.
    """
    if layer is not None and bert is None:
        raise UsageError("--layer needs --bert")
    named = dict(_named(text) for text in candidates)
    if len(named) < len(candidates):
        raise UsageError("--candidates: two systems have the same name")
    expected = _read(references)
    systems = {name: _read(path) for name, path in named.items()}
    for name, texts in systems.items():
        if missing := [id for id in expected if id not in texts]:
            raise DataError(f"{named[name]}: lacks {len(missing)} of {len(expected)} summaries, such as {missing[0]!r}")
    from mova.eval.metrics.summaries import bert_embedder, score_summaries

    embed = None if bert is None else bert_embedder(bert, layer)
    rows = {}
    for name, texts in systems.items():
        chosen = [texts[id] for id in expected]
        scores = score_summaries([text for text, _ in chosen], [text for text, _ in expected.values()], embed)
        times = [seconds for _, seconds in chosen if seconds is not None]
        rows[name] = asdict(scores) | {SECONDS: sum(times) / len(times) if len(times) == len(chosen) else None}
        if extra := len(texts.keys() - expected.keys()):
            note(f"{named[name]}: {extra} summaries without a reference are not counted")
    document = {"task": "summaries", "references": str(references), "bert": bert, "systems": rows}
    write_report(document, output)
    if json:
        emit(document)
    else:
        show(_table(rows, len(expected)))


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    return (name, Path(path)) if equals else (Path(text).stem, Path(text))


def _read(path: Path) -> dict[str, tuple[str, float | None]]:
    """Return id -> text and seconds, of JSON lines or of the first captions of a manifest."""
    from mova.utils.tables import read_jsonl

    found: dict[str, tuple[str, float | None]] = {}
    for where, line in read_jsonl(path):
        text = line.get(TEXT) if isinstance(line, dict) else None
        if text is None and isinstance(line, dict) and line.get("captions"):
            text = line["captions"][0].get(TEXT)
        if not isinstance(text, str) or not isinstance(line.get("id"), str):
            raise DataError(f"{where}: needs `id` and `text`, or the form of a manifest")
        if line["id"] in found:
            raise DataError(f"{where}: duplicate id {line['id']!r}")
        seconds = line.get(SECONDS)
        found[line["id"]] = text, float(seconds) if isinstance(seconds, int | float) else None
    if not found:
        raise DataError(f"{path}: contains no texts")
    return found


def _table(rows: dict[str, dict[str, float | int | None]], count: int) -> Table:
    table = Table(title=f"Summaries of {count} texts against references, F1", header_style="bold")
    table.add_column("system")
    columns = {"RG-1": "rouge_1", "RG-2": "rouge_2", "RG-L": "rouge_l", "BERT": "bert", "seconds": SECONDS}
    for column in columns:
        table.add_column(column, justify="right")
    for name, values in rows.items():
        cells = (values[key] for key in columns.values())
        table.add_row(name, *("" if value is None else f"{value:.3f}" for value in cells))
    return table
