"""The page Library in a real browser: add a folder, pause, cancel, forget."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make browser")

from mova.search.index import Index
from mova.serve.settings import Settings
from tests.serve.browser.conftest import CHROMIUM
from tests.serve.browser.steps import PHONE, until
from tests.serve.conftest import running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed: make browser"),
]


def test_the_library_adds_and_forgets(browser: Any, tmp_path: Path) -> None:
    """With a model that the process of the job can load, from the empty index to a search."""
    from mova.worlds.writer import write_worlds

    write_worlds(tmp_path / "films", 2, 10, "flat", seed=3, size=48, fps=4.0)
    (tmp_path / "films" / "no film.mp4").write_text("text", encoding="utf-8")
    with running(
        Settings(str(tmp_path / "index"), "mova-worlds-tiny", folders=(tmp_path,), state=tmp_path / "s")
    ) as url:
        context = browser.new_context(viewport=PHONE, base_url=url)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.goto("/")
        page.get_by_role("link", name="Open the library").click()
        page.get_by_text("Nothing is indexed yet").wait_for()
        page.get_by_role("button", name="Add a folder").click()
        page.locator(".folders button").first.click()
        page.locator(".folders button", has_text="films").click()
        until(page, "document.querySelector('footer .small').innerText.startsWith('3 videos')")
        page.get_by_role("button", name="Add this folder").click()
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Resume").click()
        until(page, "document.querySelector('.job.done') !== null", seconds=180)
        until(page, "document.querySelectorAll('.all .card').length === 2")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        page.locator(".all .card").first.get_by_role("button", name="Forget").click()
        page.locator("dialog.sure").get_by_role("button", name="Forget").click()
        until(page, "document.querySelectorAll('.all .card').length === 1")
        assert len(Index(tmp_path / "index")) == 1
        assert "no film.mp4" in page.locator(".trouble").inner_text()
        page.get_by_role("button", name="Look for changes").click()
        page.get_by_role("button", name="Pause").click()
        page.wait_for_selector(".job.paused")
        page.locator(".job.paused").get_by_role("button", name="Cancel").click()
        page.wait_for_selector(".job.cancelled")
        page.locator(".job.cancelled").get_by_role("button", name="Dismiss").click()
        until(page, "document.querySelector('.job.cancelled') === null")
        page.locator(".roots").get_by_role("button", name="Forget").click()
        page.locator("dialog.sure").get_by_role("button", name="Keep").click()
        assert page.locator(".roots li").count() == 1
        page.locator(".roots").get_by_role("button", name="Forget").click()
        page.locator("dialog.sure").get_by_role("button", name="Forget").click()
        until(page, "document.querySelectorAll('.roots li').length === 0")
        assert len(Index(tmp_path / "index")) == 0
        assert (tmp_path / "films" / "no film.mp4").exists()
        context.close()


def test_long_lists_of_folders_are_shown_in_pages(page: Any) -> None:
    """The service offers two folders, its own and that of the films; here, a page has one."""
    page.route(
        "**/api/v1/folders?*", lambda route: route.continue_(url=re.sub(r"limit=\d+", "limit=1", route.request.url))
    )
    page.goto("/library")
    page.get_by_role("button", name="Add a folder").click()
    until(page, "document.querySelectorAll('.folders button').length === 1")
    page.locator(".inside").get_by_role("button", name="Show more").click()
    until(page, "document.querySelectorAll('.folders button').length === 2")
    assert page.locator(".inside .more").is_hidden()
    names = page.locator(".folders button").all_inner_texts()
    assert len(set(names)) == 2
