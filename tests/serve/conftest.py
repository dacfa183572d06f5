"""A service over three films of plain colours, whose moments can be computed by hand."""

from __future__ import annotations

import random
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mova.models.encoder import DualEncoder
from mova.search.index import Index
from tests.support.fakes import NAMES, ColourEncoder, write_colours

if TYPE_CHECKING:  # the extra `serve` may be missing; then the files of tests are skipped
    from fastapi.testclient import TestClient

    from mova.serve.settings import Settings

API = "/api/v1"


@dataclass
class Site:
    """A client of the service, and what it serves."""

    client: TestClient
    films: Path
    settings: Settings

    def video(self, name: str) -> str:
        """Address of a film of the folder."""
        from mova.serve.library.catalog import video_id

        return f"{API}/videos/{video_id(str(self.films / name))}"

    def search(self, text: str, **more: Any) -> dict[str, Any]:
        answer = self.client.post(f"{API}/search", json={"query": text, **more})
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document


class JudgingEncoder(ColourEncoder):
    """Colors with a background: mixtures that are never as near to a frame as the name of its color."""

    background = tuple(" ".join(random.Random(number).choices(NAMES, k=5)) for number in range(60))


def write_films(folder: Path) -> Path:
    write_colours(folder / "a.mp4", [("red", 2), ("blue", 3), ("green", 1)])
    write_colours(folder / "b.mp4", [("green", 2), ("red", 1), ("yellow", 2)])
    write_colours(folder / "deep" / "c.mp4", [("blue", 2), ("white", 2)])
    return folder


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three films and their index, and a copy of it, from which each test starts."""
    folder = tmp_path_factory.mktemp("site") / "place"
    films = write_films(folder / "films")
    Index(folder / "index", ColourEncoder()).add([films])
    shutil.copytree(folder, folder.with_name("copy"))
    return folder


@pytest.fixture
def site(place: Path, tmp_path: Path) -> Iterator[Site]:
    from fastapi.testclient import TestClient

    from mova.serve.app import build
    from mova.serve.settings import Settings

    shutil.rmtree(place)
    shutil.copytree(place.with_name("copy"), place)  # with times: an index looks at them
    films = place / "films"
    settings = Settings(str(place / "index"), state=tmp_path / "state")
    with TestClient(build(settings, ColourEncoder()), base_url="http://localhost:8765") as client:
        yield Site(client, films, settings)


def other(site: Site, **changes: Any) -> TestClient:
    """Another service over the same index; without its lifespan."""
    from fastapi.testclient import TestClient

    from mova.serve.app import build

    settings = replace(site.settings, **changes)
    return TestClient(build(settings, ColourEncoder()), base_url="http://localhost:8765", raise_server_exceptions=False)


@contextmanager
def running(settings: Settings, encoder: DualEncoder | None = None) -> Iterator[str]:
    """Serve in a thread; the address."""
    import uvicorn

    from mova.serve.app import build
    from mova.serve.server import PatientProtocol

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        config = uvicorn.Config(build(settings, encoder), http=PatientProtocol, log_config=None, ws="none")
        config.timeout_graceful_shutdown = 1
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            deadline = time.monotonic() + 30
            while not server.started and time.monotonic() < deadline:
                time.sleep(0.02)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(timeout=30)
