"""Attacks on a running service, counted by kind: all of them are refused, and the guide says how many were tried."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from mova.search.index import Index
from mova.serve import guard, server
from mova.serve.guard import COOKIE, session
from mova.serve.library.catalog import video_id
from mova.serve.settings import BODY_BYTES, Settings
from tests.serve.conftest import API, JudgingEncoder, running, write_films

TOKEN = "correct horse battery staple"
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "serving.md"
REFUSALS = range(400, 500)
SECRET = b"the secret of another file "
PATIENCE = 0.4
"""Seconds that a request may take to arrive, in these tests."""
RACES = 60


@dataclass(frozen=True)
class Target:
    """A service, and what it serves."""

    port: int
    folder: Path

    @property
    def film(self) -> str:
        return video_id(str(self.folder / "films" / "a.mp4"))

    def send(self, head: str, body: bytes = b"", *, token: str | None = TOKEN, host: str | None = "localhost") -> int:
        """Send a request as it is; return the status, 0 if the connection was closed without one."""
        lines = [head, *([f"Host: {host}"] if host is not None else []), "Connection: close"]
        if token is not None:
            lines.append(f"Authorization: Bearer {token}")
        return self.raw("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def raw(self, data: bytes) -> int:
        """Send bytes; return the status, 0 for none. No answer has anything of a file that is not indexed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            answer = b""
            try:
                connection.sendall(data)
                while part := connection.recv(1 << 16):
                    answer += part
            except ConnectionError:
                pass
        assert SECRET not in answer
        assert b"root:" not in answer
        assert b"Traceback" not in answer
        return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0

    def get(self, path: str, *more: str, **options: str | None) -> int:
        return self.send("\r\n".join([f"GET {path} HTTP/1.1", *more]), **options)  # type: ignore[arg-type]

    def post(self, path: str, body: bytes, *more: str, **options: str | None) -> int:
        head = [f"POST {path} HTTP/1.1", "Content-Type: application/json", f"Content-Length: {len(body)}", *more]
        return self.send("\r\n".join(head), body, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("attacked")
    write_films(folder / "films")
    Index(folder / "index", JudgingEncoder()).add([folder / "films"])
    settings = Settings(str(folder / "index"), token=TOKEN, state=folder / "state", folders=(folder / "films",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "HEADER_SECONDS", PATIENCE)
        patch.setattr(guard, "BODY_SECONDS", PATIENCE)
        with running(settings, JudgingEncoder()) as url:
            yield Target(urlsplit(url).port or 0, folder)


def traversal(target: Target) -> Iterator[int]:
    up = ("..", "%2e%2e", "%2E%2e", "..%2f..", "..%5c..", "%252e%252e", "....//....", "..;", "%c0%ae%c0%ae", "..%00")
    for step in up:
        for path in (f"/static/{step}/{step}/settings.py", f"/static/{'/'.join([step] * 9)}/etc/passwd"):
            yield target.get(path)
        yield target.get(f"{API}/videos/{step}%2f{step}%2fetc%2fpasswd/file")
        yield target.get(f"{API}/videos/{step}/{step}/{step}/etc/passwd/thumbnail")
        yield target.get(f"{API}/folders?inside={step}/{step}")
    for path in ("//etc/passwd", "/etc/passwd", "/static//etc/passwd", "/static/C:/x", "/static/%00", "/.git/config"):
        yield target.get(path)
    for folder in ("..", "../..", "/etc/../..", "a/../../..", "\\..\\.."):
        body = {"query": "red", "filter": {"folders": [folder]}}
        status = target.post(f"{API}/search", json.dumps(body).encode())
        yield status if folder != "\\..\\.." else max(status, 400)  # a name like any other here: it has no videos
    for name in ("../../x.mp4", "/etc/cron.d/x.mp4"):
        yield target.post(f"{API}/uploads?name={name}", b"x")


def links_and_races(target: Target) -> Iterator[int]:
    """Another file in the place of one that was indexed, with its size and time, and while it is asked for."""
    film = target.folder / "films" / "b.mp4"
    address = f"{API}/videos/{video_id(str(film))}"
    status, kept, secret = film.stat(), target.folder / "kept.mp4", target.folder / "secret"
    secret.write_bytes((SECRET * (status.st_size // len(SECRET) + 1))[: status.st_size])
    os.utime(secret, ns=(status.st_atime_ns, status.st_mtime_ns))
    film.rename(kept)
    swap = target.folder / "films" / ".swap"
    try:
        for place in (secret, Path("/etc/passwd"), Path("/dev/zero"), target.folder, target.folder / "nothing"):
            film.symlink_to(place)
            for action in ("file", "thumbnail?t=0.5", "clip?start=0&end=1"):
                yield target.get(f"{address}/{action}")
            film.unlink()
        os.mkfifo(film)
        yield target.get(f"{address}/file")
        film.unlink()
        ended = threading.Event()

        def alternate() -> None:
            for number in range(10**9):
                swap.symlink_to(secret if number % 2 else kept)
                swap.replace(film)
                if ended.is_set():
                    return

        other = threading.Thread(target=alternate)
        other.start()
        try:
            for _ in range(RACES):  # either the film or a refusal: `raw` looks for the secret
                yield max(target.get(f"{address}/file"), 400)
        finally:
            ended.set()
            other.join()
    finally:
        film.unlink(missing_ok=True)
        kept.rename(film)


def oversized(target: Target) -> Iterator[int]:
    large = b" " * (BODY_BYTES + 1)
    for path in ("/search", "/exports", f"/videos/{target.film}/align", "/score", "/captions", "/jobs"):
        yield target.post(f"{API}{path}", large)
    chunks = b"%x\r\n%s\r\n" % (len(large), large) + b"0\r\n\r\n"
    yield target.send(f"POST {API}/search HTTP/1.1\r\nTransfer-Encoding: chunked", chunks)
    yield target.get(f"{API}/search?q={'a' * 3000}")
    yield target.get(f"{API}/search?q={'a' * 200_000}")
    yield target.get(f"{API}/health", f"X: {'a' * 200_000}")
    yield target.get(f"{API}/health", *(f"X{n}: {'a' * 500}" for n in range(500)))
    for body in (
        {"query": "a " * 30_000},
        {"query": "Red. " * 300},
        {"query": "red", "limit": 101},
        {"query": "red", "cursor": "9" * 7},
        {"query": "red", "filter": {"folders": ["a"] * 101}},
    ):
        yield target.post(f"{API}/search", json.dumps(body).encode())
    moment = {"video": target.film, "start": 0, "end": 1}
    yield target.post(f"{API}/exports", json.dumps({"format": "csv", "moments": [moment] * 201}).encode())
    yield target.post(f"{API}/score", json.dumps({"video": target.film, "texts": ["red"] * 33}).encode())
    yield target.post(f"{API}/videos/{target.film}/align", json.dumps({"text": "Red. " * 401}).encode())
    yield target.get(f"{API}/videos/{target.film}/thumbnail?t=1e300")
    for length in ("99999999999999999999", "-1", "1e3", "0x10", "1, 2"):
        yield target.send(f"POST {API}/search HTTP/1.1\r\nContent-Length: {length}")


def slow(target: Target) -> Iterator[int]:
    """Clients that begin and do not go on; they are closed, and others are answered meanwhile."""
    begun = [
        b"",
        b"G",
        b"GET / HTT",
        b"GET / HTTP/1.1\r\nHost: local",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n",
    ]
    bodies = [
        f"POST {API}/search HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{length}\r\n\r\n".encode()
        + part
        for length, part in (
            ("Content-Length: 20", b""),
            ("Content-Length: 20", b'{"query'),
            ("Transfer-Encoding: chunked", b""),
            ("Transfer-Encoding: chunked", b"5\r\nab"),
        )
    ]
    statuses: list[int] = []

    def wait(data: bytes) -> None:
        statuses.append(target.raw(data))

    threads = [threading.Thread(target=wait, args=(data,)) for data in (begun + bodies) * 3]
    for thread in threads:
        thread.start()
    assert target.get(f"{API}/health") == 200
    for thread in threads:
        thread.join()
    yield from statuses


def malformed(target: Target) -> Iterator[int]:
    for body in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'"red"',
        b"\xff\xfe{",
        b'{"query": "\xff"}',
        b'{"query": NaN}',
        b'{"query": ["red"]}',
        b'{"query": {"$ne": 1}}',
        b'{"query": "red", "unknown": 1}',
        b'{"query": "red", "words": 1e999}',
        b'{"query": "red", "limit": true, "cursor": "-1"}',
        b'{"query": "red", "like": {"video": "x", "time": -1}}',
        b"[" * 100_000,
        b'{"query":' * 5_000,
        b"<?xml version='1.0'?><!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
    ):
        yield target.post(f"{API}/search", body)
    for data in (
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"PUT /api/v1/search HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ):
        yield target.raw(data)


def cross_origin(target: Target) -> Iterator[int]:
    body = json.dumps({"query": "red"}).encode()
    for origin in (
        "http://evil.example",
        "http://localhost:1",
        "http://localhost.evil.example",
        "http://localhost@evil.example",
        "null",
        "file://",
        "http://[",
        "",
    ):
        yield target.post(f"{API}/search", body, f"Origin: {origin}")
        yield target.post(f"{API}/jobs", b"{}", f"Origin: {origin}")
        yield target.send(f"DELETE {API}/videos/{target.film} HTTP/1.1\r\nOrigin: {origin}")
    for site in ("cross-site", "same-site", "unknown"):
        yield target.get(f"{API}/videos", f"Sec-Fetch-Site: {site}")
        yield target.get(f"{API}/videos/{target.film}/file", f"Sec-Fetch-Site: {site}")
        yield target.post(f"{API}/search", body, f"Sec-Fetch-Site: {site}")


def rebinding(target: Target) -> Iterator[int]:
    for host in (
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:8765",
        "10.0.0.7",
        "0.0.0.0",
        "[::2]:8765",
        "@localhost",
        "evil@localhost",
        "localhost/evil",
        "localhost#",
        "localhost?x",
        "127.1",
        "2130706433",
        "",
        None,
    ):
        yield target.get(f"{API}/health", host=host)
    yield target.get(f"{API}/health", "Host: evil.example")
    yield target.get("http://evil.example/api/v1/health", host="evil.example")


def tokens(target: Target) -> Iterator[int]:
    for token in (None, "", "wrong", TOKEN[:-1], f"{TOKEN}x", TOKEN.upper(), TOKEN * 100, "é" * 20):
        yield target.get(f"{API}/videos", token=token)
    for scheme in ("Basic", "Token", "Digest", ""):
        yield target.get(f"{API}/videos", f"Authorization: {scheme} {TOKEN}", token=None)
    for value in ("", TOKEN, session("another token of some length"), session(TOKEN)[:-1], '"' + session(TOKEN), ";=,"):
        yield target.get(f"{API}/videos", f"Cookie: {COOKIE}={value}", token=None)
    for path in (f"{API}/videos?token={TOKEN}", f"{API}/openapi.json", f"{API}/metrics", f"{API}/jobs/events"):
        yield target.get(path, token=None)
    for path in (
        f"/static/../api/v1/videos/{target.film}",
        "/login/../api/v1/videos",
        "//api/v1/videos",
        "/API/v1/videos",
    ):
        yield target.get(path, "Accept: application/json", token="wrong")
    yield target.post("/login", b"token=wrong", "Content-Type: application/x-www-form-urlencoded", token=None)


def other_ids(target: Target) -> Iterator[int]:
    """Ids of one kind in the place of another, and ids that were never given."""
    film, folder = target.film, video_id(str(target.folder / "films"))
    unlisted = video_id(str(target.folder))
    for path in ("", "/file", "/thumbnail", "/clip?start=0&end=1", "/preview?start=0&end=1", "/relevance?q=red"):
        for name in (folder, "0" * 20, film.upper(), f"{film}0", film[:-1], "0123456789abcdef"):
            if name != film:
                yield target.get(f"{API}/videos/{name}{path}")
    for name in (film, unlisted, "0" * 20, video_id("/"), video_id("/etc")):
        yield target.get(f"{API}/folders?inside={name}")
        yield target.post(f"{API}/jobs", json.dumps({"folder": name}).encode())
        yield target.send(f"DELETE {API}/library/{name} HTTP/1.1")
        yield target.send(f"DELETE {API}/jobs/{name} HTTP/1.1")
        yield target.post(f"{API}/jobs/{name}/cancel", b"")
        yield target.post(f"{API}/alignments/{name}/corrections", b'{"spans": []}')
        yield target.post(f"{API}/alignments/{name}/export", b'{"format": "srt"}')


ATTACKS: dict[str, Callable[[Target], Iterator[int]]] = {
    "paths that lead elsewhere": traversal,
    "links, pipes and files exchanged meanwhile": links_and_races,
    "too large": oversized,
    "too slow (slow loris)": slow,
    "malformed": malformed,
    "from other sites": cross_origin,
    "foreign host names (DNS rebinding)": rebinding,
    "without the token": tokens,
    "ids of other kinds": other_ids,
}


@pytest.mark.parametrize("kind", ATTACKS)
def test_all_are_refused_and_counted_in_the_guide(kind: str, target: Target) -> None:
    statuses = list(ATTACKS[kind](target))
    # a page sends people without a token to the page that asks for it
    refused = [status for status in statuses if status in REFUSALS or status in {0, 303}]
    assert len(refused) == len(statuses), statuses
    row = re.search(rf"^\| {re.escape(kind)} \| (\d+) \| (\d+) \|$", GUIDE.read_text(encoding="utf-8"), re.M)
    assert row is not None, f"| {kind} | {len(statuses)} | {len(refused)} |"
    assert (int(row[1]), int(row[2])) == (len(statuses), len(refused)), (kind, len(statuses))
    assert target.get(f"{API}/health") == 200
    assert target.get(f"{API}/videos/{target.film}/file") == 200
