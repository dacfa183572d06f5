"""`mova forget`: remove paths from an index."""

from __future__ import annotations

from typing import Annotated

import typer

from mova.cli.console import emit, say
from mova.cli.options import DEFAULT_INDEX, IndexFolder, Json
from mova.errors import UsageError


def forget(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Files, or folders with all files below them.")],
    folder: IndexFolder = DEFAULT_INDEX,
    json: Json = False,
) -> None:
    """Remove files from an index, whether they still exist or not. The files themselves are not touched.

    `mova update` and `mova watch` do not read them again, until `mova index` is given them or their folder.
    """
    from mova.search.index import Index

    index = Index(folder)
    index.require_exists()
    before = index.sources
    forgotten = index.remove(paths)
    if not forgotten and index.sources == before:
        raise UsageError(f"{folder}: has no files at {', '.join(paths)}; `mova list` prints the stored paths")
    if json:
        emit({"index": folder, "forgotten": forgotten})
    else:
        say(f"{folder}: {len(forgotten)} forgotten")
