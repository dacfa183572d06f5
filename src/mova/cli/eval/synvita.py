"""`mova eval synvita`: the six tests of SynViTA's paper in one report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from mova.cli.console import emit, note, progress_bar, show
from mova.cli.options import Json, Loading, Model
from mova.cli.report_output import Output, check_output, refused_as_data, write_report


def synvita(
    data: Annotated[
        Path, typer.Option(help="Folder with NAME/manifest.jsonl or NAME.jsonl of `mova data convert` for each set.")
    ],
    model: Model = None,
    any_size: Annotated[
        bool,
        typer.Option("--any-size", help="Take parts of the public sets, too; no published figure compares."),
    ] = False,
    *,
    loading: Loading,
    output: Output = None,
    json: Json = False,
) -> None:
    """SynViTA's six tests in one report: VideoCon (three), SSv2 (two), ATP-Hard. What is missing is named."""
    from mova.eval.tasks.synvita_suite import evaluate_synvita
    from mova.models.registry import DEFAULT_MODEL, load_any

    check_output(output)
    encoder = load_any(model or DEFAULT_MODEL, **loading.arguments())
    with progress_bar() as bar, refused_as_data(data):

        def shown(name: str) -> Any:
            task = bar.add_task(name, total=None)
            return lambda done, total: bar.update(task, completed=done, total=total)

        report = evaluate_synvita(encoder, data, any_size=any_size, progress=shown)
    write_report(report, output)
    if json:
        emit(report)
    else:
        _print(report)
    _tell_what_is_not_whole(report)


def _print(report: dict[str, Any]) -> None:
    """One table, all six tests in the paper's order."""
    table = Table(title=f"SynViTA's tests, {report['model']['name']}", header_style="bold")
    for column in ("test", "figure", "value", "95 % interval", "protocol", "queries"):
        table.add_column(column, justify="right" if column in ("value", "95 % interval", "queries") else "left")
    for name, row in report["tests"].items():
        if "missing" in row:
            table.add_row(name, "missing", "", "", "", "")
            continue
        protocol, queries = row["report"]["protocol"], str(row["report"]["queries"])
        for figure, found in row["figures"].items():
            interval = f"[{found['low']:.2f}, {found['high']:.2f}]"
            table.add_row(name, figure, f"{found['value']:.2f}", interval, protocol, queries)
            name = protocol = queries = ""
    show(table)


def _tell_what_is_not_whole(report: dict[str, Any]) -> None:
    """On stderr: tests without data, and rows that took no part."""
    for name, row in report["tests"].items():
        if "missing" in row:
            note(f"{name} is missing: {row['missing']}")
        elif excluded := row["report"]["excluded"]:
            first = excluded[0]
            note(
                f"{name}: {len(excluded)} rows took no part, such as {first['id']} ({first['video']}): {first['cause']}"
            )
