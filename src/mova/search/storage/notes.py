"""Small texts beside the tables of an index that is in no local folder: a LanceDB table of one row for each."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

KEEP_VERSIONS = timedelta(minutes=5)
"""Replaced texts stay this long, for readers that have just opened them."""


def read_note(connection: Any, name: str) -> str | None:
    """Return a text, or None if there is none.

    Args:
        connection: of LanceDB.
        name: of its table.
    """
    try:
        table = connection.open_table(name)
    except ValueError as error:
        if "not found" not in str(error):
            raise
        return None
    texts = table.to_arrow()["text"].to_pylist()
    return str(texts[0]) if texts else None


def write_note(connection: Any, name: str, text: str) -> None:
    """Replace a text, in one commit."""
    table = connection.create_table(name, data=[{"text": text}], mode="overwrite")
    table.optimize(cleanup_older_than=KEEP_VERSIONS)
