"""`mova index`: store the frame embeddings of videos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mova.cli.console import emit, file_bar, note, say
from mova.cli.options import DEFAULT_INDEX, IndexFolder, Json, Model

if TYPE_CHECKING:
    from mova.search.ingest import IngestReport


def index(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Video files, or folders to walk.")],
    folder: IndexFolder = DEFAULT_INDEX,
    model: Model = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second to embed; the model's own rate if left out.")
    ] = None,
    json: Json = False,
) -> None:
    """Store frame embeddings of videos, so that `mova search` finds moments in them.

    Incremental (only new or changed content is read) and resumable (run the same command again after a stop).
    Files that cannot be read are skipped, counted and listed; the exit code is 1 only if nothing worked.
    """
    from mova.search.index import Index

    store = Index(folder, model)
    with file_bar("indexing") as shown:
        report = store.add(paths, fps=fps, progress=shown)
    if json:
        emit({"index": str(folder), "model": store.model_name, **report.to_json()})
    else:
        _tell(report, folder)
    if report.failed and not report.worked:
        raise typer.Exit(1)


def _tell(report: IngestReport, folder: str) -> None:
    """What happened, in words."""
    for path, cause in report.failed:
        note(f"skipped {path}: {cause}")
    counts = {
        "indexed": len(report.indexed),
        "unchanged": len(report.unchanged),
        "moved or copied": len(report.moved),
        "removed": len(report.removed),
        "skipped": len(report.failed),
    }
    said = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing to do"
    say(f"{folder}: {said} ({report.frames} frames in {report.seconds:.1f} s)")
