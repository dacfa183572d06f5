"""Clients that go away before their answer: work that waits for the model is not done for them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request

from mova.serve.problems import Problem

T = TypeVar("T")
GONE = 499
"""Status of requests whose client is gone; nobody sees it but the counters."""


async def unless_gone(client: Request, work: Coroutine[Any, Any, T]) -> T:
    """Wait for work; cancel it if the client closes the connection first.

    Args:
        client: the request, whose body has been read.
        work: not yet started.

    Raises:
        Problem: the client is gone.
    """
    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(_left(client))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Problem("the client is gone", GONE)
    finally:
        for each in (task, watch):
            each.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await each


async def _left(client: Request) -> None:
    """Return when the client has closed the connection."""
    while (await client.receive())["type"] != "http.disconnect":
        pass
