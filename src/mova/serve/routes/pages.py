"""The pages, and the way in with a token."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from mova._version import __version__
from mova.plots.page.assets import PALETTE
from mova.serve.guard import COOKIE, same_secret, session
from mova.serve.services import Parts

WEB = Path(__file__).resolve().parents[1] / "web"
DAYS = 30
"""How long a browser stays signed in."""
PAUSE = 0.5
"""Seconds that an answer to a wrong token takes."""
PAGES = {"find": "Find", "align": "Align", "library": "Library"}

router = APIRouter(include_in_schema=False)
_templates = Environment(loader=FileSystemLoader(WEB / "templates"), autoescape=True, undefined=StrictUndefined)


def render(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page."""
    context: Mapping[str, Any] = {"page": name, "version": __version__, "title": PAGES.get(name, "mova"), **values}
    text = _templates.get_template(f"{name}.html").render(context)
    return HTMLResponse(text, status, headers={"cache-control": "no-store"})


@router.get("/")
def find() -> Response:
    """The page to search."""
    return render("find")


@router.get("/align")
def align() -> Response:
    """The page to align a caption with a video."""
    return render("align")


@router.get("/library")
def library() -> Response:
    """The page of what is indexed."""
    return render("library")


@router.get("/static/palette.css")
def palette() -> Response:
    """The style sheet that these pages share with those that are written to files."""
    return FileResponse(PALETTE, media_type="text/css")


@router.get("/login")
def ask_for_token() -> Response:
    """The page that asks for the token."""
    return render("login", wrong=False)


@router.post("/login")
async def log_in(parts: Parts, request: Request) -> Response:
    """Take the token once; a cookie stands for it from then on."""
    token = parts.settings.token
    if token is None:
        return RedirectResponse("/", 303)
    fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=8)
    if not same_secret(fields.get("token", [""])[0].strip(), token):
        await asyncio.sleep(PAUSE)
        return render("login", 403, wrong=True)
    answer = RedirectResponse("/", 303)
    secure = any(url.startswith("https://") for url in parts.settings.public_urls)
    answer.set_cookie(
        COOKIE, session(token), max_age=DAYS * 86400, httponly=True, samesite="strict", secure=secure, path="/"
    )
    return answer
