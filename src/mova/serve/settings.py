"""The settings of a service, and its limits."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mova.errors import UsageError
from mova.utils.files import is_address

if TYPE_CHECKING:
    from mova.search.second_stage.reranker import Reranker

SHORTEST_TOKEN = 16
"""Characters; a shorter token could be guessed."""
BODY_BYTES = 4 << 20
"""Largest body of a request: more than the longest caption takes."""
TEXT_CHARACTERS, TEXT_SENTENCES = 50_000, 256
"""Longest query in a body; a longer one would hold up other requests."""
BODY_SECONDS = 20.0
"""Time in which a request's body must arrive."""
HEADER_SECONDS = 10.0
"""Time in which a request's headers must arrive."""
CONNECTIONS = 256
"""Open connections; more are refused with status 503."""
WAITING = 64
"""Requests that may wait for the model; more are refused with status 503."""
ANSWER_SECONDS = 120.0
"""Time in which the model must have answered; then, and if the client is gone, the call is dropped if it only waits."""
SECOND_SECONDS = 30.0
"""Time in which a second model is asked about the moments of a query, by default."""
RATE = 10.0
"""Requests per second and client, by default, if other machines can connect."""
UPLOAD_BYTES = 4 << 30
"""Largest file that a client may send, by default."""
UPLOAD_SECONDS = 3600.0
"""Time in which such a file must arrive and be checked."""
QUERY_CHARACTERS = 2_000
"""Longest text in an address; a paragraph is sent in the body instead."""
CACHE_BYTES = 2 << 30
"""Thumbnails and previews kept on disk, by default."""
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Settings:
    """Where the service listens, what it serves, and who may use it.

    Attributes:
        index: folder of the index, or any LanceDB URI.
        model: name of the model; None for the one that the index was made with.
        host, port: address to listen on.
        token: secret that every client must send; None for none, if only this machine can connect.
        public_urls: addresses by which clients name the service: of a reverse proxy, or of this machine by host name.
        folders: folders from which videos may be added to the index.
        state: folder for jobs, corrections, thumbnails and previews.
        cache_bytes: limit of the thumbnails and previews on disk.
        rate: requests per second and client; 0 for no limit, None for no limit if only this machine can connect, and
            otherwise `RATE`.
        uploads: folder for videos that clients send; None to refuse them.
        upload_bytes: largest of them.
        second: the second stage of searches; None for none.
        shard: whether searches on other machines may read the vectors of the index and the paths of its videos.
    """

    index: str
    model: str | None = None
    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    public_urls: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    state: Path = field(default=Path(".mova/serve"))
    cache_bytes: int = CACHE_BYTES
    rate: float | None = None
    uploads: Path | None = None
    upload_bytes: int = UPLOAD_BYTES
    second: Reranker | None = None
    shard: bool = False

    def __post_init__(self) -> None:
        if is_address(self.index):
            raise UsageError(
                f"--index {self.index}: is a service itself; open that address, or name the folder or URI of an index"
            )
        for url in self.public_urls:
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"}:
                raise UsageError(f"--public-url {url}: must be like https://films.example.org, without a path")
        if self.token is not None:
            _check_token(self.token)
        elif self.public_urls:
            raise UsageError(f"--public-url {self.public_urls[0]}: others could connect, so a token is needed")
        elif not self.is_local:
            raise UsageError(f"--host {self.host}: other machines could connect, so a token is needed")

    @property
    def requests_per_second(self) -> float | None:
        """Requests per second and client; None for no limit."""
        if self.rate is not None:
            return self.rate or None
        return RATE if needs_token(self.host, self.public_urls) else None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    @property
    def public_hosts(self) -> frozenset[str]:
        """Host names of `public_urls`, in lower case."""
        return frozenset((urlsplit(url).hostname or "").lower() for url in self.public_urls)

    @property
    def url(self) -> str:
        """The address to open in a browser on this machine."""
        host = "localhost" if self.host in {"0.0.0.0", "::", ""} else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"


def needs_token(host: str, public_urls: Sequence[str]) -> bool:
    """Return whether other machines can connect: directly, or through a reverse proxy on this one.

    Example:
        >>> needs_token("127.0.0.1", []), needs_token("0.0.0.0", []), needs_token("127.0.0.1", ["https://films.org"])
        (False, True, True)
    """
    return bool(public_urls) or not is_loopback(host)


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on is reachable from this machine only.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("192.168.1.7")
        (True, True, False, False)
    """
    if host.lower() in LOOPBACK_NAMES:
        return True
    return is_ip_address(host) and ipaddress.ip_address(host).is_loopback


def is_ip_address(host: str) -> bool:
    """Return whether a host is written as a number, which no name server can change."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _check_token(token: str) -> None:
    """Raise if a token could be guessed, or could not be sent in a header.

    Raises:
        UsageError: it is too short, or has characters that are not printable ASCII.
    """
    if len(token) < SHORTEST_TOKEN:
        raise UsageError(f"the token has {len(token)} characters; use at least {SHORTEST_TOKEN}")
    if not (token.isascii() and token.isprintable()) or token != token.strip():
        raise UsageError("the token cannot be sent in a header; use printable ASCII characters, no space at the ends")


def new_token() -> str:
    """Return a secret that cannot be guessed."""
    return secrets.token_urlsafe(24)


def state_folder(index: str) -> Path:
    """Return the default folder for what a service keeps: beside a local index.

    Example:
        >>> state_folder(".mova/index").as_posix()
        '.mova/index.serve'
    """
    if "://" in index and not index.startswith("file://"):
        return Path(".mova/serve")
    folder = Path(index.removeprefix("file://")).expanduser()
    return folder.with_name(f"{folder.name}.serve")
