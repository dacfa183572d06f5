"""Lists in pages: a cursor names the last row of a page, so that rows that come or go before it move nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from mova.serve.schemas.fields import CURSOR, LARGEST_PAGE, NAMES_PAGE

T = TypeVar("T")
After = Annotated[str | None, Query(pattern=CURSOR, description="`next` of the previous page.")]
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Rows per page.")]
NamesLimit = Annotated[int, Query(ge=1, le=NAMES_PAGE, description="Rows per page.")]


def page(rows: Sequence[T], cursor: str | None, limit: int, name: Callable[[T], str]) -> tuple[list[T], str | None]:
    """Return the rows after a cursor, and the cursor of the page that follows, None if there is none.

    If the last row of the previous page is gone, the page begins at its place.

    Args:
        rows: the whole list as it is now, without equal names.
        cursor: of the previous page; None for the first page.
        limit: rows of the page.
        name: hexadecimal id of a row.

    Example:
        >>> page(["a", "b", "c"], None, 2, str)
        (['a', 'b'], '2-b')
        >>> page(["0", "a", "b", "c"], "2-b", 2, str)
        (['c'], None)
        >>> page(["a", "c"], "2-b", 2, str), page(["a", "c"], "9", 2, str)
        ((['c'], None), ([], None))
    """
    start = 0 if cursor is None else _start(rows, cursor, name)
    chosen = list(rows[start : start + limit])
    stop = start + len(chosen)
    return chosen, f"{stop}-{name(chosen[-1])}" if chosen and stop < len(rows) else None


def _start(rows: Sequence[T], cursor: str, name: Callable[[T], str]) -> int:
    before, _, last = cursor.partition("-")
    start = int(before)
    if not last or (0 < start <= len(rows) and name(rows[start - 1]) == last):
        return start
    return next((place + 1 for place, row in enumerate(rows) if name(row) == last), max(0, start - 1))
