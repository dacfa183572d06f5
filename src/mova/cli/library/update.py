"""`mova update`: read again every folder that an index was made from."""

from __future__ import annotations

import typer

from mova.cli.console import file_bar
from mova.cli.index_report import report_run
from mova.cli.options import (
    DEFAULT_INDEX,
    IndexFolder,
    Json,
    Model,
    Nice,
    Threads,
    TimeLimit,
    give_way,
    model_of_index,
)


def update(
    context: typer.Context,
    folder: IndexFolder = DEFAULT_INDEX,
    model: Model = None,
    time_limit: TimeLimit = None,
    threads: Threads = None,
    nice: Nice = None,
    json: Json = False,
) -> None:
    """Bring an index up to date with all files and folders that were ever added to it.

    New and changed files are read, and files that no longer exist are removed. Folders that cannot be found, such as
    those on a drive that is not connected, are left as they are. The exit code is 1 only if no file could be indexed.
    """
    from mova.search.index import Index
    from mova.video.limits import TIME_LIMIT

    give_way(nice)
    index = Index(folder, model_of_index(context, model, folder))
    with file_bar("updating") as progress:
        limit = TIME_LIMIT if time_limit is None else time_limit
        report = index.update(progress=progress, time_limit=limit, threads=threads)
    report_run(report, index.model_name, folder, json)
    if report.failed and not report.worked:
        raise typer.Exit(1)
