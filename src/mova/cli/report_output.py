"""Reports of `mova eval` on the terminal, in a file, as JSON, or as a Markdown row."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from mova.cli.console import emit, note, say, show
from mova.cli.options import Json
from mova.errors import DataError, UsageError

METRICS = ("R@1", "R@5", "R@10", "R@50", "MdR", "MnR", "mAP")
NAMED_CLIPS = 5
"""So many rows that took no part are named on the terminal; the document names all."""
Output = Annotated[
    Path | None, typer.Option("--out", "--output", help="Write the JSON document to this file too, for `compare`.")
]


@contextmanager
def refused_as_data(what: object) -> Iterator[None]:
    """What cannot be measured (a NaN, say) as an error for people that names the file."""
    try:
        yield
    except UsageError:
        raise
    except ValueError as error:
        raise DataError(f"{what}: {error}") from error


def check_output(output: Path | None) -> None:
    """Refuse, before anything is measured, a file that could not be written.

    Raises:
        UsageError: there is no folder to write to.
    """
    if output is not None and not output.resolve().parent.is_dir():
        raise UsageError(f"{output}: cannot be written, there is no folder {output.parent}")


def write_report(report: dict[str, Any], output: Path | None) -> None:
    """Write a report to the file of --out, where one is named."""
    if output is not None:
        output.write_text(json_module.dumps(report, allow_nan=False) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Delivery:
    """How a report is told: options for `mova.cli.options.take_groups`."""

    output: Output = None
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a row of a Markdown table and nothing else.")] = (
        False
    )
    json: Json = False

    def check(self) -> None:
        """Refuse what could not be delivered before anything is measured.

        Raises:
            UsageError: two forms of output at once, or no folder to write to.
        """
        if self.markdown and self.json:
            raise UsageError("--markdown and --json both want stdout; take one of them")
        check_output(self.output)

    def deliver(self, report: dict[str, Any], name: str) -> None:
        """Write and print a report as it was asked for; rows that took no part are told on stderr."""
        write_report(report, self.output)
        if self.json:
            emit(report)
        elif self.markdown:
            from mova.eval.reports import markdown_row

            say(markdown_row(name, report))
        else:
            print_report(report, name)
        _tell_excluded(report.get("excluded", []))


def _tell_excluded(excluded: list[dict[str, str]]) -> None:
    """Who took no part, on stderr."""
    if excluded:
        note(f"{len(excluded)} rows took no part, and their queries neither:")
        for row in excluded[:NAMED_CLIPS]:
            note(f"  {row['id']} ({row['video']}): {row['cause']}")
        if len(excluded) > NAMED_CLIPS:
            note(f"  and {len(excluded) - NAMED_CLIPS} more; --json and --out name all")


def print_report(report: dict[str, Any], name: str) -> None:
    """What was measured, tables, then what differs, then a Markdown row."""
    from mova.eval.reports import markdown_row

    title = f"{report['protocol']}: {report['settings']['data']}"
    if "t2v" in report:
        title += f", {report['queries']} texts by {report['candidates']} videos"
    title += f", fingerprint {report['fingerprint']}"
    if "model" in report:
        title += f", {report['model']['name']}, split {report['settings']['split']}"
    if "form" in report["settings"]:
        title += f", form {report['settings']['form']}"
    say(title)
    if "t2v" in report:
        _print_ranks(report)
    if "moments" in report or "highlights" in report:
        _print_moments(report)
    if "figures" in report:
        _print_figures(report)
    say(markdown_row(name, report))


def _print_ranks(report: dict[str, Any]) -> None:
    from mova.eval.reports import WAYS

    table = Table(header_style="bold")
    shown = [metric for metric in METRICS if metric in report["t2v"]]
    for column in ("row", *shown, "tied"):
        table.add_column(column, justify="left" if column == "row" else "right")
    for way in WAYS:
        table.add_row(way, *(f"{report[way][m]:.2f}" for m in shown), str(report["ties"][way]))
        bounds = report["bounds"].get(way, {})
        for case, label in enumerate(("ties fall well", "ties fall badly") if bounds else ()):
            table.add_row(f"  {label}", *(f"{bounds[m][case]:.2f}" if m in bounds else "" for m in shown), "")
    extra = [(f"v2t, {name}", row) for name, row in report.get("conventions", {}).items()]
    for label, ways in report.get("transductive", {}).items():
        extra += [(f"{way}, transductive: {label}", ways[way]) for way in WAYS if way in ways]
    for label, ways in report.get("compat", {}).items():
        extra += [(f"{way}, old: {label}", ways[way]) for way in WAYS if label != "differs" and way in ways]
    for label, row in extra:
        table.add_row(label, *(f"{row[m]:.2f}" if m in row else "" for m in shown), "")
    show(table)
    for label, value in report.get("other arithmetic", {}).items():
        say(f"{label}: {value:.2f}")
    for line in report.get("compat", {}).get("differs", []):
        say(f"old arithmetic, {line}")


def _print_moments(report: dict[str, Any]) -> None:
    table = Table(header_style="bold")
    columns = ("part", "R1@0.5", "R1@0.7", "mAP@0.5", "mAP@0.75", "mAP", "HIT@1")
    for column in columns:
        table.add_column(column, justify="left" if column == "part" else "right")
    for length, rows in report.get("moments", {}).items():
        figures = (
            rows["R1"]["0.5"],
            rows["R1"]["0.7"],
            rows["mAP"]["0.5"],
            rows["mAP"]["0.75"],
            rows["mAP"]["average"],
        )
        table.add_row(f"moments, {length}", *(f"{value:.2f}" for value in figures), "")
    for grade, row in report.get("highlights", {}).items():
        table.add_row(f"highlights, {grade}", "", "", "", "", f"{row['mAP']:.2f}", f"{row['Hit1']:.2f}")
    show(table)
    say(f"{report['ties']} of {report['queries']} queries hold equal scores; they stand in the order of the file")


def _print_figures(report: dict[str, Any]) -> None:
    """Means over queries with their intervals, a row a group and figure."""
    table = Table(header_style="bold")
    for column in ("of", "figure", "value", "95 % interval", "counted"):
        table.add_column(column, justify="right" if column in ("value", "95 % interval") else "left")
    for group, figures in report["figures"].items():
        counted = ", ".join(f"{number} {what}" for what, number in report["counts"].get(group, {}).items())
        for metric, value in figures.items():
            interval = report["intervals"][group].get(metric)
            bounds = "" if interval is None else f"[{interval['low']:.2f}, {interval['high']:.2f}]"
            table.add_row(group, metric, f"{value:.2f}", bounds, counted)
            counted = ""
    show(table)
