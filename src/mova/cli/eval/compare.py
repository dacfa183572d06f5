"""`mova eval compare`: the difference of two reports, query by query."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mova.cli.console import emit, note, show
from mova.cli.options import Json
from mova.errors import DataError

if TYPE_CHECKING:
    from mova.eval.report import Report


def compare(
    first: Annotated[Path, typer.Argument(metavar="A.json", help="A report written by `mova eval ... --out`.")],
    second: Annotated[Path, typer.Argument(metavar="B.json", help="Another report of the same test.")],
    json: Json = False,
) -> None:
    """Compare two reports of the same test: B minus A, with a paired bootstrap over queries."""
    from mova.eval.comparison import compare as compare_reports

    difference = compare_reports(_read(first), _read(second))
    if json:
        emit(difference.to_json())
        return
    if difference.fingerprint.startswith("positions-"):
        note("neither report names its texts and videos (--ids), so it was not checked that both are of the same test")
    table = Table(title=f"{second} minus {first}, {difference.protocol}", header_style="bold")
    for column in ("group", "metric", "difference", "95 % interval", "p"):
        table.add_column(column, justify="left" if column in ("group", "metric") else "right")
    for group, rows in difference.groups.items():
        for metric, row in rows.items():
            table.add_row(group, metric, f"{row.value:+.2f}", f"[{row.low:+.2f}, {row.high:+.2f}]", f"{row.p:.4f}")
    show(table)


def _read(path: Path) -> Report:
    from mova.eval.report import Report
    from mova.utils.text_files import parse_json, read_text

    try:
        document = parse_json(read_text(path), str(path))
    except DataError as error:
        raise DataError(f"not a report of `mova eval`: {error}") from error
    return Report.from_json(document, path)
