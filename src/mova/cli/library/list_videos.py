"""`mova list`: the videos of an index."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from mova.cli.console import emit, note, one_line, show
from mova.cli.options import DEFAULT_INDEX, IndexFolder, Json
from mova.utils.time_format import clock


def list_videos(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH", help="Only these files, and files below these folders.")
    ] = None,
    folder: IndexFolder = DEFAULT_INDEX,
    json: Json = False,
) -> None:
    """List the indexed videos with their length and number of frames, in order of path."""
    from mova.search.index import Index
    from mova.utils.files import is_below, on_its_machine, roots_of, surely_gone

    index = Index(folder)
    rate = index.meta.frame_rate
    roots = roots_of(paths or ())
    records = [record for record in index.videos() if not paths or is_below(on_its_machine(record.path), roots)]
    missing = {record.path for record in records if surely_gone(record.path)}
    if json:
        rows = [
            {
                "path": record.path,
                "seconds": record.duration,
                "frames": record.frames,
                "bytes": record.size,
                "gaps": [[gap.start, gap.end] for gap in record.gaps],
                "missing": record.path in missing,
            }
            for record in records
        ]
        emit({"index": folder, "model": index.meta.model, "frame_rate": rate, "videos": rows})
        return
    if not records:
        note("no videos here")
        return
    table = Table(title=None, header_style="bold")
    for column, justify in (("length", "right"), ("frames", "right"), ("video", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for record in records:
        gone = " (missing)" if record.path in missing else ""
        table.add_row(clock(record.duration), str(record.frames), Text(one_line(record.path) + gone))
    show(table)
