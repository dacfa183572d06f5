"""`mova versions`: keep the present state of an index under a name, and go back to it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from mova.cli.answer_output import NO_VIDEOS
from mova.cli.console import emit, note, say, show
from mova.cli.options import DEFAULT_INDEX, IndexFolder, Json
from mova.errors import UsageError


def versions(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[keep NAME | restore NAME | drop NAME]",
            help="Keep the present state; make a kept state the present one; or drop a kept state. Default: list them.",
        ),
    ] = None,
    folder: IndexFolder = DEFAULT_INDEX,
    json: Json = False,
) -> None:
    """List the kept versions of an index, keep its present state, or go back to an earlier one.

    Keeping copies nothing. What is forgotten later stays on disk until the version is dropped.
    """
    words = words or []
    if words and (len(words) != 2 or words[0] not in ("keep", "restore", "drop")):
        raise UsageError(
            f"mova versions {' '.join(words)}: write `mova versions`, `mova versions keep NAME`, "
            "`mova versions restore NAME` or `mova versions drop NAME`"
        )
    from mova.search.index import Index

    index = Index(folder)
    index.require_exists()
    kept = index.versions
    if not words:
        rows = kept.all()
        if json:
            emit({"index": folder, "versions": [row.to_json() for row in rows]})
            return
        table = Table(header_style="bold")
        for column, justify in (("version", "left"), ("state of", "left"), ("videos", "right"), ("frames", "right")):
            table.add_column(column, justify=justify)  # type: ignore[arg-type]
        for row in rows:
            state = row.kept.astimezone().strftime("%Y-%m-%d %H:%M:%S")
            table.add_row(Text(row.name), state, str(row.videos), str(row.frames))
        if rows:
            show(table)
        elif not len(index):
            note(NO_VIDEOS)
        else:
            note("no version was kept; `mova versions keep NAME` keeps the present state")
        return
    action, name = words
    if action == "drop":
        kept.drop(name)
        version = None
    else:
        version = kept.keep(name) if action == "keep" else kept.restore(name)
    if action != "keep":
        index.refresh()
    if json:
        emit({"index": folder, "action": action, "version": name if version is None else version.to_json()})
    elif version is None:
        say(f"{folder}: version {name} dropped")
    else:
        done = "kept" if action == "keep" else "is the present state again:"
        say(f"{folder}: version {name} {done}{' with' if action == 'keep' else ''} {version.videos} videos")
