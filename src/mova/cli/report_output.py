"""Output of a report of `mova eval`: on the terminal, to a file, as JSON, or as a Markdown row."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mova.cli.console import emit, note, one_line, say, show
from mova.cli.options import Json
from mova.cli.output_files import output_file
from mova.errors import DataError, UsageError
from mova.utils.replacing import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mova.eval.report import Report

NAMED_ROWS = 5
"""Excluded rows named on the terminal; the document names all."""
Output = Annotated[
    Path | None, output_file("Also write the JSON document to this file, for `compare`.", "--out", "--output")
]


@contextmanager
def as_data_error(source: object) -> Iterator[None]:
    """Turn a `ValueError` about data that cannot be measured, such as NaN, into a `DataError` that names the file."""
    try:
        yield
    except UsageError:
        raise
    except ValueError as error:
        raise DataError(f"{source}: {error}") from error


def write_report(document: dict[str, Any], output: Path | None) -> None:
    """Write a document to the file of --out, if any."""
    if output is not None:
        with replacing(output) as temporary:
            temporary.write_text(json_module.dumps(document, allow_nan=False) + "\n", encoding="utf-8")
        note(f"wrote {one_line(output)}; compare it with another one: mova eval compare {one_line(output)} OTHER")


@dataclass(frozen=True)
class ReportOutput:
    """Output of a report: options for `mova.cli.options.take_groups`."""

    output: Output = None
    markdown: Annotated[bool, typer.Option("--markdown", help="Print only a row of a Markdown table.")] = False
    json: Json = False

    def check(self) -> None:
        """Refuse impossible output before anything is measured.

        Raises:
            UsageError: two formats at once.
        """
        if self.markdown and self.json:
            raise UsageError("--markdown and --json both write to stdout; choose one of them")

    def write(self, report: Report, name: str) -> None:
        """Write and print a report of the given name; excluded rows are reported on stderr."""
        from mova.eval.render import render_markdown

        document = report.to_json()
        write_report(document, self.output)
        if self.json:
            emit(document)
        elif self.markdown:
            say(render_markdown(report, name))
        else:
            print_report(report, name)
        _note_excluded(report.excluded)


def print_report(report: Report, name: str) -> None:
    """Print the tables of a report and its Markdown row."""
    from mova.eval.render import render_tables

    for part in render_tables(report, name):
        if isinstance(part, str):
            say(part)
        else:
            show(part)


def _note_excluded(excluded: Sequence[Mapping[str, str]]) -> None:
    if excluded:
        note(f"{len(excluded)} rows were excluded, with their queries:")
        for row in excluded[:NAMED_ROWS]:
            note(f"  {one_line(row['id'])} ({one_line(row['video'])}): {one_line(row['cause'])}")
        if len(excluded) > NAMED_ROWS:
            note(f"  and {len(excluded) - NAMED_ROWS} more; --json and --out list all")
