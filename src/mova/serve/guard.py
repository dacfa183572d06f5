"""Checks before any other code sees a request: host, origin, token, size and speed of the body; security headers.

- **Host**: a web page elsewhere can point a name of its own at this machine (DNS rebinding). Only names and addresses
  that belong to the service are answered.
- **Origin**: a web page elsewhere can send requests from the visitor's browser. Those that change something, and all
  requests to the API, are refused if the browser says that they come from another site.
- **Rate**: each client may send this many requests per second (`mova.serve.rates`), tokens that are wrong included.
- **Token**: compared in constant time. A browser sends it once, and from then on a cookie that is derived from it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import math
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from mova.search.shards.wire import ROOT as SHARD
from mova.serve.rates import Rates
from mova.serve.settings import BODY_BYTES, BODY_SECONDS, LOOPBACK_NAMES, Settings, is_ip_address, is_loopback

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

COOKIE = "mova-session"
OPEN_PATHS = ("/static/", "/login")
"""Paths that need no token: the page that asks for it, and its style."""
READING = frozenset({"GET", "HEAD"})
METHODS = READING | {"POST", "DELETE"}

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with "no-referrer", forms are sent with the origin "null"
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=()",
}


UPLOADS = "/api/v1/uploads"
CHEAP_ENDINGS = ("/thumbnail", "/health", "/jobs", "/jobs/events", "/file")
CHEAP = 0.1
"""What a request counts that only shows something (pictures, styles, states), or is one of several that a search on
another machine takes."""


class Refusal(Exception):
    """A request that is not answered: status code, message, and seconds after which to try again (0: never)."""

    def __init__(self, status: int, message: str, retry: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.retry = status, retry


class Left(Exception):
    """The client closed the connection before its request was complete."""


class Guard:
    """ASGI middleware around the whole service."""

    def __init__(self, app: App, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.rates = Rates(settings.requests_per_second)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        sending = _with_headers(send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._check(scope, headers)
            if scope["method"] not in READING and scope["path"] != UPLOADS:  # which are too large to be kept here
                receive = _replay(await _read_body(headers, receive), receive)
        except Refusal as refusal:
            await _refuse(scope, refusal, sending)
            return
        except Left:
            return
        await self.app(scope, receive, sending)

    def _check(self, scope: MutableMapping[str, Any], headers: dict[str, str]) -> None:
        path: str = scope["path"]
        if scope["method"] not in METHODS:
            raise Refusal(405, "this method is not used here")
        if sum(name == b"host" for name, _ in scope["headers"]) != 1 or not self.knows_host(headers["host"]):
            raise Refusal(421, "this host name does not belong to the service; add it with --public-url")
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in READING and not self._same_origin(origin, headers["host"]):
            raise Refusal(403, "requests from other sites are refused")
        foreign = headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}
        if foreign and (scope["method"] not in READING or path.startswith("/api/")):
            raise Refusal(403, "requests from other sites are refused")
        known = self.settings.token is None or self._has_token(headers)
        wait = self.rates.wait(self._address(scope, headers), _cost(path) if known else 1.0)
        if wait > 0:
            raise Refusal(429, "too many requests in a short time; try again later", wait)
        if not known and not path.startswith(OPEN_PATHS):
            raise Refusal(401, "a token is needed")

    def _address(self, scope: MutableMapping[str, Any], headers: dict[str, str]) -> str:
        """Return the address of the client; behind a reverse proxy on this machine, the one that it reports."""
        address: str = (scope.get("client") or ("",))[0]
        if self.settings.public_urls and is_loopback(address):
            return headers.get("x-forwarded-for", "").rpartition(",")[2].strip() or address
        return address

    def knows_host(self, header: str) -> bool:
        """Return whether a Host header names this service. Ports do not matter: a tunnel may change them."""
        if any(character in header for character in "@/\\?# "):
            return False
        try:
            host = (urlsplit(f"//{header}").hostname or "").lower()
        except ValueError:
            return False
        if host in LOOPBACK_NAMES or host in self.settings.public_hosts:
            return True
        return not self.settings.is_local and (is_ip_address(host) or host == self.settings.host.lower())

    def _same_origin(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in {"http", "https"} and parts.netloc.lower() == host.lower()

    def _has_token(self, headers: dict[str, str]) -> bool:
        token = self.settings.token or ""
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and same_secret(sent.strip(), token):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and same_secret(cookie.value, session(token))


def _cost(path: str) -> float:
    """Return how many requests a request counts as."""
    return CHEAP if path.startswith(("/static/", SHARD)) or path.endswith(CHEAP_ENDINGS) else 1.0


def session(token: str) -> str:
    """Return the value of the cookie: it proves that its holder sent the token, without being the token."""
    return hmac.new(token.encode(), b"mova serve: session", hashlib.sha256).hexdigest()


def same_secret(sent: str, secret: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(sent.encode(), secret.encode())


async def _read_body(headers: dict[str, str], receive: Receive) -> bytes:
    """Read a request's body.

    Raises:
        Refusal: it is too large, too slow, or its length is not a number.
        Left: it will never be complete.
    """
    declared = headers.get("content-length", "0")
    if not declared.isdecimal():
        raise Refusal(400, "the length of the request is not a number")
    if int(declared) > BODY_BYTES:
        raise Refusal(413, f"the request is larger than {BODY_BYTES >> 20} MB")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Left
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > BODY_BYTES:
                    raise Refusal(413, f"the request is larger than {BODY_BYTES >> 20} MB")
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise Refusal(408, "the request took too long to arrive") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a source of messages that begins with a body that was already read."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _with_headers(send: Send) -> Send:
    """Add the security headers to every answer."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", ())}
            extra = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in present]
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await send(message)

    return sending


async def _refuse(scope: MutableMapping[str, Any], refusal: Refusal, send: Send) -> None:
    """Send a refusal: as JSON, or, if a person's browser needs a token, as a way to the page that asks for it."""
    headers = [(b"cache-control", b"no-store"), (b"connection", b"close")]
    if refusal.status == 401 and scope["method"] in READING and not scope["path"].startswith("/api/"):
        headers += [(b"location", b"/login"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    body = json.dumps({"error": {"status": refusal.status, "message": str(refusal)}}).encode()
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.retry > 0:
        headers.append((b"retry-after", str(math.ceil(refusal.retry)).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
