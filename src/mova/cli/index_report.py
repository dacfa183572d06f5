"""The result of an indexing run, for people or as JSON."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from mova.cli.console import emit, note, one_line, say
from mova.cli.options import DEFAULT_INDEX

if TYPE_CHECKING:
    from mova.search.ingest.report import IngestReport


def report_run(report: IngestReport, model: str, folder: str, json: bool) -> None:
    """Print the result of a run as one JSON document or as a summary."""
    if json:
        emit({"index": str(folder), "model": model, **report.to_json()})
    else:
        _print_summary(report, folder)


def _print_summary(report: IngestReport, folder: str) -> None:
    """Print a human-readable summary of the run."""
    from mova.search.ingest.report import describe_passed_over

    for path, cause in report.failed:
        note(f"skipped {one_line(path)}: {one_line(cause)}")
    for path, warning in report.warnings:
        note(f"{one_line(path)}: {warning}")
    counts = {
        "indexed": len(report.indexed),
        "unchanged": len(report.unchanged),
        "moved or copied": len(report.moved),
        "removed": len(report.removed),
        "skipped": len(report.failed),
    }
    if report.passed_over:
        note(one_line(describe_passed_over(report.passed_over)))
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "nothing to do"
    stored = "" if report.stored == report.frames else f", {report.stored} vectors stored"
    say(f"{folder}: {summary} ({report.frames} frames in {report.seconds:.1f} s{stored})")
    if report.indexed or report.moved:
        option = "" if folder == DEFAULT_INDEX else f" --index {quote(folder)}"
        note(f'next: mova search "what to look for"{option}')
