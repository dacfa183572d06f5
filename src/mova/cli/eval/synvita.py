"""`mova eval synvita`: the six tests of the SynViTA paper in one report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mova.cli.console import emit, note, progress_bar, show
from mova.cli.options import Json, Loading, Model
from mova.cli.report_output import Output, as_data_error, write_report
from mova.errors import DataError

if TYPE_CHECKING:
    from mova.eval.tasks.synvita_suite import SuiteReport


def synvita(
    data: Annotated[
        Path, typer.Option(help="Folder with NAME/manifest.jsonl or NAME.jsonl of `mova data convert` for each set.")
    ],
    model: Model = None,
    any_size: Annotated[
        bool,
        typer.Option("--any-size", help="Also accept parts of the public sets; not comparable with published figures."),
    ] = False,
    *,
    loading: Loading,
    output: Output = None,
    json: Json = False,
) -> None:
    """Run SynViTA's six tests: VideoCon (three), SSv2 (two) and ATP-Hard. Missing data sets are reported."""
    if not data.is_dir():
        raise DataError(f"--data {data}: no such folder; it contains a manifest of `mova data convert` for each set")
    from mova.eval.tasks.synvita_suite import evaluate_synvita
    from mova.models.known import DEFAULT_MODEL
    from mova.models.registry import load_any

    encoder = load_any(model or DEFAULT_MODEL, **loading.arguments())
    with progress_bar() as bar, as_data_error(data):

        def progress_of(name: str) -> Any:
            task = bar.add_task(name, total=None)
            return lambda done, total: bar.update(task, completed=done, total=total)

        suite = evaluate_synvita(encoder, data, any_size=any_size, progress=progress_of)
    document = suite.to_json()
    write_report(document, output)
    if json:
        emit(document)
    else:
        show(_table(suite))
        if suite.published:
            show(_published_table(suite))
    _print_gaps(suite)
    unequal = [name for name, outcome in suite.outcomes.items() if outcome.report and name not in suite.published]
    if unequal:
        note(
            f"not compared with the paper: {', '.join(unequal)} (another size or set, excluded rows, or scores of "
            "another form than P(Yes) against P(No))"
        )


def _table(suite: SuiteReport) -> Table:
    """Build a table of all six tests in the order of the paper."""
    table = Table(title=f"SynViTA's tests, {suite.model}", header_style="bold")
    for column in ("test", "metric", "value", "95 % interval", "protocol", "queries"):
        table.add_column(column, justify="right" if column in ("value", "95 % interval", "queries") else "left")
    for name, outcome in suite.outcomes.items():
        if outcome.report is None:
            table.add_row(name, "missing", "", "", "", "")
            continue
        protocol, queries = outcome.report.head.protocol, str(outcome.report.head.queries)
        for metric, interval in (outcome.figures or {}).items():
            bounds = f"[{interval.low:.2f}, {interval.high:.2f}]"
            table.add_row(name, metric, f"{interval.value:.2f}", bounds, protocol, queries)
            name = protocol = queries = ""
    return table


def _published_table(suite: SuiteReport) -> Table:
    """Build a table of the paper's figures, a row per system and a column per test."""
    tables = suite.published
    first = next(iter(tables.values()))
    table = Table(title=f"Published: {first[0].source}, {first[0].where}", header_style="bold")
    table.add_column("system")
    for name in tables:
        table.add_column(name, justify="right")
    for system, setting in ((figure.system, figure.setting) for figure in first):
        cells = []
        for figures in tables.values():
            ways = (f.ways for f in figures if (f.system, f.setting) == (system, setting))
            values = [value for way in ways for metrics in way.values() for value in metrics.values()]
            cells.append(f"{values[0]:.2f}" if values else "")
        table.add_row(f"{system}, {setting}", *cells)
    return table


def _print_gaps(suite: SuiteReport) -> None:
    """Report tests without data and excluded rows on stderr."""
    for name, outcome in suite.outcomes.items():
        if outcome.report is None:
            note(f"{name} is missing: {outcome.missing}")
        elif excluded := outcome.report.excluded:
            first = excluded[0]
            note(
                f"{name}: {len(excluded)} rows were excluded, such as {first['id']} ({first['video']}): "
                f"{first['cause']}"
            )
