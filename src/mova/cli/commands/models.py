"""`mova models`: list the known models."""

from __future__ import annotations

from rich.table import Table

from mova.cli.console import emit, show
from mova.cli.options import Json


def models(json: Json = False) -> None:
    """List the known models with license, size and use.

    Any other Hub name or local folder works too.
    """
    from mova.models.registry import DEFAULT_MODEL, MODELS

    rows = [{"default": name == DEFAULT_MODEL, **entry.to_json()} for name, entry in MODELS.items()]
    if json:
        emit({"default": DEFAULT_MODEL, "models": rows})
        return
    table = Table(header_style="bold")
    for column in ("name", "license", "size", "use"):
        table.add_column(column)
    for name, entry in MODELS.items():
        table.add_row(f"{name} (default)" if name == DEFAULT_MODEL else name, entry.licence, entry.size, entry.use)
    show(table)
