"""Who is answered: hosts, origins, tokens, sizes, methods; headers of every answer."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from fastapi.testclient import TestClient

from mova.errors import UsageError
from mova.serve.guard import COOKIE, session
from mova.serve.settings import BODY_BYTES, Settings
from tests.serve.conftest import API, Site, other

TOKEN = "correct horse battery staple"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "10.0.0.7", "[::2]:8765", "@localhost"],
)
def test_other_host_names_are_refused(site: Site, host: str) -> None:
    answer = site.client.get(f"{API}/health", headers={"Host": host})
    assert answer.status_code in {400, 421}


@pytest.mark.parametrize("host", ["localhost", "localhost:9999", "127.0.0.1:8765", "[::1]:8765", "LOCALHOST:8765"])
def test_the_names_of_this_machine_are_answered(site: Site, host: str) -> None:
    assert site.client.get(f"{API}/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost:1", "https://localhost.evil.example", "file://", "http://[", ""],
)
def test_changing_requests_of_other_origins_are_refused(site: Site, origin: str) -> None:
    answer = site.client.post(f"{API}/search", json={"query": "red"}, headers={"Origin": origin})
    assert answer.status_code == 403


def test_the_own_origin_and_programs_are_answered(site: Site) -> None:
    assert (
        site.client.post(
            f"{API}/search", json={"query": "red"}, headers={"Origin": "http://localhost:8765"}
        ).status_code
        == 200
    )
    assert site.client.post(f"{API}/search", json={"query": "red"}).status_code == 200


def test_other_sites_cannot_embed_videos_or_pictures_but_can_link_here(site: Site) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert site.client.get(f"{site.video('a.mp4')}/thumbnail", headers=headers).status_code == 403
    assert site.client.get(f"{site.video('a.mp4')}/file", headers=headers).status_code == 403
    assert site.client.get("/", headers=headers).status_code == 200


def test_no_answer_allows_other_origins_to_read_it(site: Site) -> None:
    answer = site.client.get(f"{API}/health", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_every_answer_has_the_security_headers(site: Site) -> None:
    for path in (
        "/",
        "/nothing",
        f"{API}/health",
        f"{API}/nothing",
        "/static/base.css",
        "/static/palette.css",
        f"{site.video('a.mp4')}/file",
    ):
        headers = site.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "script-src 'self'" in policy, path
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    assert site.client.get("/", headers={"Host": "evil.example"}).headers["x-frame-options"] == "DENY"


def test_pages_keep_to_their_policy(site: Site) -> None:
    """Nothing inline, nothing from elsewhere."""
    for path in ("/", "/login", "/nothing"):
        page = site.client.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", page), path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page), path
        assert not re.search(r"""(?:src|href|action)=["'](?:https?:)?//""", page), path


def test_methods_that_are_not_used_are_refused(site: Site) -> None:
    for method in ("PUT", "PATCH", "OPTIONS", "TRACE"):
        assert site.client.request(method, f"{API}/health").status_code == 405
    assert site.client.post(f"{API}/health").status_code == 405


def test_large_bodies_are_refused_with_and_without_a_length(site: Site) -> None:
    body = b" " * (BODY_BYTES + 1)
    assert site.client.post(f"{API}/search", content=body).status_code == 413
    pieces = (body[i : i + 65536] for i in range(0, len(body), 65536))
    assert site.client.post(f"{API}/search", content=pieces).status_code == 413


def test_slow_bodies_are_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    from mova.serve import guard

    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)
    sent = []

    async def never() -> dict[str, object]:
        await asyncio.sleep(10)
        return {}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/x", "headers": [(b"host", b"localhost")]}
    asyncio.run(guard.Guard(site.client.app, site.settings)(scope, never, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 408


def test_addresses_of_this_machine_need_no_token_and_others_do() -> None:
    assert Settings("index").token is None
    assert Settings("index", host="::1").is_local
    for host in ("0.0.0.0", "192.168.1.7", "::", "films.example"):
        with pytest.raises(UsageError, match="token"):
            Settings("index", host=host)
        assert Settings("index", host=host, token=TOKEN)
    with pytest.raises(UsageError, match="at least 16"):
        Settings("index", token="short")
    with pytest.raises(UsageError, match=r"--public-url .* so a token is needed"):
        Settings("index", public_urls=("https://films.example.org",))
    for token in ("schlüssel der filme", f"{TOKEN}\n", f" {TOKEN}", "sixteen\tcharacters"):
        with pytest.raises(UsageError, match="printable ASCII"):
            Settings("index", token=token)


def test_with_a_token_everything_asks_for_it(site: Site) -> None:
    client = other(site, token=TOKEN)
    for path in (f"{API}/health", f"{API}/videos", f"{site.video('a.mp4')}/file", f"{API}/openapi.json"):
        answer = client.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
        wrong = client.get(path, headers={"Authorization": f"Bearer {TOKEN}x"})
        assert wrong.status_code == 401
        assert client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200, path
    page = client.get("/", follow_redirects=False)
    assert (page.status_code, page.headers["location"]) == (303, "/login")


def test_a_browser_sends_the_token_once(site: Site) -> None:
    client = other(site, token=TOKEN)
    assert "A token is needed" in client.get("/login").text
    wrong = client.post("/login", data={"token": "wrong"})
    assert wrong.status_code == 403
    assert not client.cookies
    answer = client.post("/login", data={"token": TOKEN}, follow_redirects=False)
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert client.get("/").status_code == 200
    client.cookies.clear()
    assert (
        client.get("/", headers={"Cookie": f"{COOKIE}={session('another token of some length')}"}).url.path == "/login"
    )


def test_a_reverse_proxy_has_a_host_name_of_its_own(site: Site) -> None:
    client = other(site, public_urls=("https://films.example.org",), token=TOKEN)
    headers = {"Host": "films.example.org", "Authorization": f"Bearer {TOKEN}"}
    assert client.get(f"{API}/health", headers=headers).status_code == 200
    assert client.get(f"{API}/health", headers={**headers, "Host": "other.example.org"}).status_code == 421
    signed = client.post("/login", data={"token": TOKEN}, headers=headers, follow_redirects=False)
    assert "Secure" in signed.headers["set-cookie"]
    with pytest.raises(UsageError, match="without a path"):
        Settings("index", public_urls=("https://films.example.org/mova",))


def test_an_open_address_is_answered_by_number_but_not_by_foreign_names(site: Site) -> None:
    client = other(site, host="0.0.0.0", token=TOKEN)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert client.get(f"{API}/health", headers={**headers, "Host": "192.168.1.7:8765"}).status_code == 200
    assert client.get(f"{API}/health", headers={**headers, "Host": "evil.example"}).status_code == 421


def test_the_description_of_the_api_is_complete(site: Site) -> None:
    document = site.client.get(f"{API}/openapi.json").json()
    assert {f"{API}/search", f"{API}/health", f"{API}/videos/{{video}}/file"} <= document["paths"].keys()
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            assert about.get("summary"), (path, method)
            assert about.get("description"), (path, method)
            assert "422" not in about["responses"], "a request that is not valid is answered with 400"
            for parameter in about.get("parameters", ()):
                assert "example" in parameter or "examples" in parameter["schema"], (path, method, parameter["name"])
            documents = [about.get("requestBody", {}), *about["responses"].values()]
            for content in (part.get("content", {}).get("application/json") for part in documents):
                assert content is None or not content["schema"] or "example" in content, (path, method)
            (error,) = about["responses"]["default"]["content"].values()
            assert error["schema"]["$ref"].endswith("/ErrorAnswer"), (path, method)


def test_too_many_waiting_requests_are_told_to_come_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from mova.serve import engine

    monkeypatch.setattr(engine, "WAITING", 0)
    answer = site.client.post(f"{API}/search", json={"query": "red"})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


def test_web_sockets_are_closed(site: Site) -> None:
    from starlette.websockets import WebSocketDisconnect

    client = TestClient(site.client.app, base_url="http://localhost")
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/anything"):
        pass
