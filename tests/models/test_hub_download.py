"""`mova models pull` against a server on loopback that answers as the Hub does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """A model repository in a folder, served as `someone/clip`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self.asked: list[str] = []


class Answer(BaseHTTPRequestHandler):
    """Model information and files; everything else is missing."""

    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlparse(self.path).path
        self.server.asked.append(f"{self.command} {path}")
        if path in ("/api/models/someone/clip", "/api/models/someone/clip/revision/main"):
            siblings = [{"rfilename": name, "size": len(content)} for name, content in self.server.files.items()]
            self.answer(json.dumps({"id": "someone/clip", "sha": COMMIT, "siblings": siblings}).encode(), {})
            return
        if path == f"/api/models/someone/clip/tree/{COMMIT}":
            rows = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.server.files.items()
            ]
            self.answer(json.dumps(rows).encode(), {})
            return
        prefix, _, name = path.rpartition("/")
        if prefix == f"/someone/clip/resolve/{COMMIT}" and name in self.server.files:
            content = self.server.files[name]
            self.answer(content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT})
            return
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, content: bytes, headers: dict[str, str]) -> None:
        """Send one document; its size alone to HEAD."""
        self.send_response(200)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Be silent."""


@pytest.fixture
def hub(tiny_clip: Path) -> Iterator[Hub]:
    server = Hub(tiny_clip)
    server.files |= {"README.md": b"# A card", "model.onnx": b"not needed"}
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def pull(hub: Hub, home: Path, *words: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    """Run `mova models pull` in a process of its own: the Hub's client reads its address when it is imported."""
    settings = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    return subprocess.run(
        [sys.executable, "-m", "mova", "models", "pull", *words],
        env={**os.environ, **settings, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        input=answer,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_model_is_downloaded_once_after_a_yes(hub: Hub, tmp_path: Path, tiny_clip: Path) -> None:
    refused = pull(hub, tmp_path, "someone/clip", answer="n\n")
    assert refused.returncode != 0
    assert "Download it?" in refused.stderr
    assert "not downloaded; --yes" in refused.stderr
    assert not hub.asked

    pulled = pull(hub, tmp_path, "someone/clip", "--json", answer="y\n")
    assert pulled.returncode == 0, pulled.stderr
    folder = Path(json.loads(pulled.stdout)["folder"])
    for name in ("config.json", "model.safetensors"):
        assert (folder / name).read_bytes() == (tiny_clip / name).read_bytes()
    assert not (folder / "model.onnx").exists()
    assert "downloading someone/clip" in pulled.stderr

    hub.asked.clear()
    again = pull(hub, tmp_path, "someone/clip", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["folder"] == str(folder)
    assert not hub.asked

    (folder / "tokenizer.json").unlink()  # as after a download that was interrupted
    assert pull(hub, tmp_path, "someone/clip", "--yes").returncode == 0
    assert (folder / "tokenizer.json").read_bytes() == (tiny_clip / "tokenizer.json").read_bytes()


def test_a_model_that_does_not_exist_is_one_message(hub: Hub, tmp_path: Path) -> None:
    missing = pull(hub, tmp_path, "someone/nothing", "--yes")
    assert missing.returncode != 0
    assert "someone/nothing" in missing.stderr
    assert "Traceback" not in missing.stderr
