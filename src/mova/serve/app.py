"""The service as an ASGI application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

from mova._version import __version__
from mova.errors import MovaError, UsageError
from mova.serve.described import describe
from mova.serve.guard import App, Guard
from mova.serve.metrics import Meter
from mova.serve.problems import Problem
from mova.serve.routes import align, collect, health, jobs, library, pages, score, search, shard, upload, videos
from mova.serve.schemas.service import ErrorAnswer
from mova.serve.services import Services
from mova.serve.settings import Settings

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder

logger = logging.getLogger(__name__)
PREFIX = "/api/v1"
MODULES = (health, search, library, jobs, upload, videos, align, score, collect)
RETRY_SECONDS = "2"


class Service(Guard):
    """The application behind its guard, and its parts."""

    def __init__(self, app: App, settings: Settings, parts: Services) -> None:
        super().__init__(app, settings)
        self.parts = parts


def build(settings: Settings, encoder: DualEncoder | None = None) -> Service:
    """Return the application; threads and processes begin and end with its lifespan.

    Args:
        settings: what to serve, and to whom.
        encoder: the model, if it is loaded already.
    """
    parts = Services(settings, encoder)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        parts.start()
        try:
            yield
        finally:
            parts.close()

    answers: tuple[tuple[int | str, str], ...] = (
        (400, "The request is wrong."),
        (404, "There is no such thing."),
        (429, "Too many requests: try again after `Retry-After` seconds."),
        (503, "Busy: try again after `Retry-After` seconds."),
        ("default", "Any other error."),  # without it, FastAPI names a 422 that is never sent
    )
    errors: dict[int | str, dict[str, Any]] = {
        code: {"model": ErrorAnswer, "description": text} for code, text in answers
    }
    app = FastAPI(
        title="mova",
        version=__version__,
        description="Find moments in videos, and align captions with them.",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        lifespan=lifespan,
        responses=errors,
    )
    app.openapi = describe(app)  # type: ignore[method-assign]
    app.state.services = parts
    api = APIRouter(prefix=PREFIX)
    for module in (*MODULES, *([shard] if settings.shard else [])):
        api.include_router(module.router)
    app.include_router(api)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=pages.WEB / "static"), name="static")
    app.add_exception_handler(MovaError, _known)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unknown)
    app.state.meter = Meter(app)
    return Service(app.state.meter, settings, parts)  # outside of everything, so that errors get its headers, too


def _error(status: int, message: str, details: list[dict[str, Any]] | None = None) -> Response:
    body: dict[str, Any] = {"status": status, "message": message}
    if details:
        body["details"] = details
    headers = {"cache-control": "no-store"}
    if status == 503:
        headers["retry-after"] = RETRY_SECONDS
    return JSONResponse({"error": body}, status, headers)


def _page_or_error(request: Request, status: int, message: str) -> Response:
    """Return an error as a page for people, and as a document for programs."""
    if request.url.path.startswith(("/api/", "/static/")):
        return _error(status, message)
    return pages.render("error", status, code=status, message=message)


async def _known(request: Request, error: Exception) -> Response:
    if isinstance(error, Problem):
        status = error.status
        if status == 500:
            logger.error("%s", error)
    elif isinstance(error, UsageError):
        status = 400
    else:
        status = 500
        logger.error("%s", error)
    return _page_or_error(request, status, str(error))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = {404: "there is nothing at this address", 405: "this method is not used here"}.get(error.status_code)
    return _page_or_error(request, error.status_code, text or str(error.detail))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details = [
        {"where": ".".join(map(str, problem["loc"])), "problem": problem["msg"]} for problem in error.errors()[:20]
    ]
    first = f": {details[0]['where']}: {details[0]['problem']}" if details else ""
    return _error(400, f"the request is not valid{first}", details)


async def _unknown(request: Request, error: Exception) -> Response:
    """Answer a defect of mova: the trace goes to the log, not to the client."""
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _page_or_error(request, 500, "something went wrong here; the log of the service says what")
