"""The running server: clients that never finish, ports in use, `mova serve` from start to Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from mova.errors import MovaError
from mova.serve import server
from mova.serve.settings import Settings, state_folder
from mova.utils.file_lock import sole_writer
from mova.worlds.writer import write_worlds


def serve(folder: Path, *words: str) -> tuple[subprocess.Popen[str], str]:
    """Start `mova serve`; return the process and its address."""
    command = [sys.executable, "-m", "mova", "serve", "--index", str(folder / "index"), "--port", "0", *words]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("mova is at http://"), line + process.stderr.read()
    return process, line.removeprefix("mova is at ").strip()


@pytest.mark.slow
def test_serve_from_start_to_stop(tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    """The shipped model searches rendered films, as in the quick start; a stop ends it at once, and leaves no file."""
    write_worlds(tmp_path / "films", 2, 10, "flat", seed=3, size=48, fps=4.0)
    assert call("index", tmp_path / "films", "--index", tmp_path / "index", "--model", "mova-worlds-tiny")[0] == 0
    process, url = serve(tmp_path)
    try:
        request = urllib.request.Request(
            f"{url}api/v1/search", json.dumps({"query": "a red ring"}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        assert found["model"] == "mova-worlds-tiny"
        assert found["results"]
        with urllib.request.urlopen(f"{url}{found['results'][0]['thumbnail'].lstrip('/')}", timeout=60) as answer:
            assert answer.read(2) == b"\xff\xd8"
    finally:
        known = (tmp_path / "index" / "service.json").exists()
        process.terminate()
        code = process.wait(timeout=30)
        assert process.stderr is not None
        rest = process.stderr.read()
    assert "Traceback" not in rest
    assert code == 0
    assert known
    assert not (tmp_path / "index" / "service.json").exists()  # by which commands find the service


def test_a_port_in_use_is_one_message(call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        code, _, error = call("serve", "--index", tmp_path / "index", "--port", port)
    assert code == 1
    assert f"127.0.0.1:{port}: cannot listen there" in error


def test_answers_are_sent_without_delay() -> None:
    """Head and body are two packets; without TCP_NODELAY, the second waits 40 ms for the first to be acknowledged."""

    async def main(listening: socket.socket) -> int:
        made: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            made.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        running = await asyncio.start_server(connected, sock=listening)
        async with running:
            _, writer = await asyncio.open_connection(*listening.getsockname()[:2])
            value = await made
            writer.close()
        return value

    with server.listen("127.0.0.1", 0) as listening:
        assert asyncio.run(main(listening)) != 0


def test_only_a_port_that_cannot_be_opened_is_reported_as_one(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise PermissionError(13, "Permission denied", "jobs.json")

    monkeypatch.setattr(server, "build", broken)
    code, _, error = call("serve", "--index", tmp_path / "index", "--port", 0)
    assert code == 1
    assert "jobs.json" in error
    assert "cannot listen" not in error


def test_a_second_service_leaves_the_files_of_the_first_alone(tmp_path: Path) -> None:
    part = tmp_path / "state" / "cache" / "film.mp4.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half a film")
    with sole_writer(tmp_path / "state"), pytest.raises(MovaError, match="another process"):
        server.run(Settings(str(tmp_path / "index"), port=0, state=tmp_path / "state"), lambda _: None)
    assert part.read_bytes() == b"half a film"


def test_tokens_that_are_missing_or_short_are_wrong_usage(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, error = call("serve", "--index", tmp_path, "--token-file", tmp_path / "none")
    assert (code, "cannot be read" in error) == (2, True)
    monkeypatch.setenv("MOVA_TOKEN", "short")
    code, _, error = call("serve", "--index", tmp_path)
    assert (code, "at least 16" in error) == (2, True)


def test_an_address_of_a_proxy_gets_a_token(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Settings] = []
    monkeypatch.setattr(server, "run", lambda settings, *_: taken.append(settings))
    monkeypatch.delenv("MOVA_TOKEN", raising=False)
    proxy = ("--public-url", "https://films.example.org")
    assert call("serve", "--index", tmp_path / "index")[0] == 0
    assert call("serve", "--index", tmp_path / "index", *proxy)[0] == 0
    monkeypatch.setenv("MOVA_TOKEN", " correct horse battery staple\n")
    assert call("serve", "--index", tmp_path / "index", *proxy)[0] == 0
    assert taken[0].token is None
    assert len(taken[1].token or "") >= 32
    assert taken[2].token == "correct horse battery staple"


@pytest.mark.slow
def test_a_token_is_made_for_other_addresses(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "MOVA_TOKEN"}
    command = [sys.executable, "-m", "mova", "serve", "--index", "index", "--port", "0", "--host", "0.0.0.0"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(2)]
    answers = lines[0].split()[-1].replace("0.0.0.0", "127.0.0.1")
    with urllib.request.urlopen(answers, timeout=60) as page:  # in background jobs, Ctrl-C is ignored until then
        assert page.status == 200
    if sys.platform == "linux":  # torch is loaded by the first request that needs it
        assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8")
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=30)
    assert process.returncode in {0, 130}
    assert "Traceback" not in rest
    assert "other machines can connect" in lines[1]
    assert len(lines[1].split()[-1]) >= 32


def test_clients_that_never_finish_their_headers_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    import uvicorn

    from mova.serve.app import build

    monkeypatch.setattr(server, "HEADER_SECONDS", 0.3)
    listening = server.listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    app = build(Settings(str(tmp_path / "none"), state=tmp_path / "state"))
    running = uvicorn.Server(uvicorn.Config(app, http=server.PatientProtocol, log_config=None, ws="none"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        slow = []
        for head in (b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"):
            client = socket.create_connection(("127.0.0.1", port), timeout=10)
            client.sendall(head)
            slow.append(client)
        client = socket.create_connection(("127.0.0.1", port), timeout=10)  # a second request that never ends
        client.sendall(b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.sendall(b"GET / HTTP/1.1\r\n")
        slow.append(client)
        began = time.monotonic()
        for client in slow:
            while client.recv(65536):
                pass
            client.close()
        assert time.monotonic() - began < 5
    finally:
        running.should_exit = True
        thread.join(timeout=20)


def test_what_the_service_keeps_is_beside_the_index(tmp_path: Path) -> None:
    assert state_folder(str(tmp_path / "index")) == tmp_path / "index.serve"
    assert state_folder("s3://bucket/index") == Path(".mova/serve")
