"""`mova data shards`: pack the videos of a manifest into tar files or a Lance table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mova.cli.console import emit, note, one_line, progress_bar, say
from mova.cli.options import Json
from mova.cli.output_files import folder_argument

SHOWN = 3


def shards(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", exists=True, dir_okay=False, help="Manifest (.jsonl or .arrow).")
    ],
    target: Annotated[Path, folder_argument("Folder for the shards and their manifest.", metavar="OUT")],
    form: Annotated[str, typer.Option("--format", help="tar (as WebDataset) or lance.")] = "tar",
    megabytes: Annotated[int, typer.Option(min=1, help="Size of a tar file, in megabytes.")] = 512,
    json: Json = False,
) -> None:
    """Pack videos into few large files, which training reads one after another: for network file systems.

    Existing shards of other programs need no packing: `mova data convert webdataset FOLDER OUT`.
    """
    from mova.data.shards.pack import pack

    with progress_bar() as progress:
        bar = progress.add_task("packing", total=None)
        packed = pack(
            manifest,
            target,
            form,  # type: ignore[arg-type]
            megabytes * 10**6,
            lambda done: progress.update(bar, completed=done),
        )
    for row, cause in packed.missing[:SHOWN]:
        note(f"left out: {row}: {one_line(cause)}")
    if json:
        counts = {name: getattr(packed, name) for name in ("rows", "videos", "bytes", "shards")}
        missing = [{"id": row, "cause": cause} for row, cause in packed.missing]
        emit({"manifest": str(packed.manifest), **counts, "missing": missing})
        return
    say(f"{packed.manifest}: {packed.rows} rows, {packed.videos} videos, {packed.bytes / 1e6:.1f} MB")
    say(f"{packed.shards} {'tar files' if form == 'tar' else 'Lance table'}, {len(packed.missing)} rows left out")
    note(f"next: mova train RECIPE --data.manifest {packed.manifest}")
