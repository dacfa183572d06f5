"""Take videos from clients, if the service offers that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect

from mova.serve.problems import Problem
from mova.serve.routes.jobs import job_out
from mova.serve.schemas.library import JobOut
from mova.serve.services import Parts
from mova.serve.settings import BODY_SECONDS, UPLOAD_SECONDS

router = APIRouter(tags=["library"])
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file as it is.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("/uploads", status_code=201, openapi_extra=BODY)
async def upload(
    parts: Parts,
    request: Request,
    name: Annotated[str, Query(min_length=1, max_length=255, description="File name.", examples=["beach.mp4"])],
) -> JobOut:
    """Add a video to the folder for uploads, and index it. Off unless the service was started with `--uploads`."""
    length = request.headers.get("content-length", "")
    size = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else None
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            file = await parts.uploads.take(name, size, _content(request))
    except TimeoutError:
        raise Problem("the file took too long to arrive", 408) from None
    except ClientDisconnect:
        raise Problem("the client is gone", 499) from None
    return job_out(parts.jobs.add("add", str(file)))


async def _content(request: Request) -> AsyncIterator[bytes]:
    """Yield the parts of a body; each must arrive in `BODY_SECONDS`."""
    parts = request.stream()
    while True:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                part = await anext(parts)
        except StopAsyncIteration:
            return
        yield part
