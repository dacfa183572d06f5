"""`mova data table`: write a manifest as a memory-mapped table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mova.cli.console import emit, note, say
from mova.cli.options import Json
from mova.cli.output_files import file_argument


def table(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", exists=True, dir_okay=False, help="Manifest (.jsonl).")
    ],
    target: Annotated[Path, file_argument("Table to write (.arrow).", metavar="OUT")],
    json: Json = False,
) -> None:
    """Write a manifest as a table that training maps into memory: for millions of rows.

    Use it wherever a manifest is read, such as `mova train RECIPE --data.manifest OUT`.
    """
    from mova.data.columns.table import write_table

    rows = write_table(manifest, target)
    if json:
        emit({"table": str(target), "rows": rows, "bytes": target.stat().st_size})
        return
    say(f"{target}: {rows} rows, {target.stat().st_size / 1e6:.1f} MB")
    note(f"next: mova train RECIPE --data.manifest {target}")
