"""`mova watch`: keep an index up to date while files change."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from mova.cli.console import file_bar, note, one_line, say
from mova.cli.index_report import report_run
from mova.cli.options import DEFAULT_INDEX, IndexFolder, Model, Nice, Threads, TimeLimit, give_way, model_of_index


def watch(
    context: typer.Context,
    folder: IndexFolder = DEFAULT_INDEX,
    model: Model = None,
    settle: Annotated[
        float, typer.Option(min=0.1, help="Seconds without another change before changed files are read.")
    ] = 5.0,
    time_limit: TimeLimit = None,
    threads: Threads = None,
    nice: Nice = None,
) -> None:
    """Bring an index up to date with its folders, and again whenever files in them change. Ctrl-C stops it.

    The folders are those that `mova index` was given. The model is loaded once. Needs the extra `watch`.
    """
    from mova.search.index import Index
    from mova.search.watch import watch as watch_index
    from mova.video.limits import TIME_LIMIT

    give_way(nice)
    index = Index(folder, model_of_index(context, model, folder))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with file_bar("updating") as progress:
        reports = watch_index(
            index,
            settle=settle,
            stop=stop,
            progress=progress,
            error=lambda error: note(one_line(error)),
            time_limit=TIME_LIMIT if time_limit is None else time_limit,
            threads=threads,
        )
        for count, report in enumerate(reports):
            if count == 0 or report.changed:
                report_run(report, index.model_name, folder, json=False)
            if count == 0:
                say(f"{folder}: watching {', '.join(root.path for root in index.sources.roots)}; Ctrl-C stops")
