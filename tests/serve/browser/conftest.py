"""A service over films of plain colors, and Debian's Chromium; skipped where one of them is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mova.search.index import Index
from tests.serve.conftest import JudgingEncoder, running, write_films
from tests.support.fakes import ColourEncoder, write_colours

if TYPE_CHECKING:  # the extra `serve` may be missing; then all of these tests are skipped
    from playwright.sync_api import Browser, Page

CHROMIUM = os.environ.get("MOVA_CHROMIUM") or shutil.which("chromium") or ""


@dataclass
class Web:
    """A service at an address, and its folders."""

    url: str
    films: Path
    index: str
    state: Path


@pytest.fixture(scope="package")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    from mova.serve.settings import Settings

    folder = tmp_path_factory.mktemp("web")
    films = write_films(folder / "films")
    write_colours(films / "long.mp4", [("black", 20), ("magenta", 4), ("white", 16)], size=(72, 128))
    Index(folder / "index", ColourEncoder()).add([films])
    settings = Settings(str(folder / "index"), state=folder / "state")
    with running(settings, JudgingEncoder()) as url:
        yield Web(url, films, settings.index, settings.state)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    from playwright import sync_api as playwright

    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, web: Web) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 860}, base_url=web.url)
    context.set_default_timeout(15_000)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield opened
    context.close()
    assert [problem for problem in problems if "Failed to load resource" not in problem] == []
