"""A page of moments in a real browser. Needs Playwright and Debian's Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make browser")

from playwright import sync_api as playwright

from mova.plots.page.content import Card, Section
from mova.plots.page.document import write_page
from mova.types import MomentSentence
from mova.worlds.slideshow import write_slideshow

CHROMIUM = os.environ.get("MOVA_CHROMIUM") or shutil.which("chromium") or ""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed: make browser"),
]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 860}
TIME = "document.querySelector('video').currentTime"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    film = folder / "a film.mp4"
    pictures = np.zeros((3, 90, 160, 3), np.uint8)
    for place in range(3):
        pictures[place, :, :, place] = 200
    write_slideshow(film, list(pictures), seconds=2, fps=10, size=(160, 90))
    text = folder / "film.avi"
    text.write_text("no video", encoding="utf-8")
    row = MomentSentence("the second sentence of this passage", 4.0, 5.0, 0.9)
    cards = (
        Card(str(film), 2, 3, "strong", "score 0.7"),
        Card(str(film), 0, 6, "weak", "score 0.6", (row,)),
        Card(str(text), 0, 2, "none", "score 0.1"),
    )
    write_page(folder / "page.html", [Section("colors", cards)], searched=2, durations={str(film): 6.0})
    return (folder / "page.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def opened(browser: Any, address: str, size: dict[str, int], **options: Any) -> tuple[Any, list[str]]:
    """Open the page; the list collects errors and requests to the network."""
    page = browser.new_page(viewport=size, **options)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
    page.goto(address)
    return page, problems


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen_and_nothing_comes_from_the_network(
    browser: Any, address: str, size: dict[str, int], scheme: str
) -> None:
    page, problems = opened(browser, address, size, color_scheme=scheme)
    for place in range(2):
        page.locator(".card").nth(place).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert problems == []
    page.close()


def test_a_moment_plays_from_its_start_and_stops_at_its_end(browser: Any, address: str) -> None:
    page, _ = opened(browser, address, DESK, bypass_csp=True)  # waiting for a condition evaluates text
    page.locator(".card").nth(0).click()
    page.wait_for_function(f"{TIME} >= 2 && {TIME} < 3 && !document.querySelector('video').paused")
    page.wait_for_function("document.querySelector('video').paused")
    assert 2.5 < page.evaluate(TIME) < 4.0
    page.close()


def test_keys_choose_play_again_and_close(browser: Any, address: str) -> None:
    page, _ = opened(browser, address, DESK, bypass_csp=True)  # waiting for a condition evaluates text
    page.locator(".card").nth(0).focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator(".card").nth(0)).to_have_attribute("aria-current", "true")
    page.keyboard.press("j")
    playwright.expect(page.locator(".card").nth(1)).to_be_focused()
    playwright.expect(page.locator(".stage .facts")).to_have_text("0:00.0 – 0:06.0 of 0:06 · weak evidence · score 0.6")
    page.locator(".sentences button").click()
    page.wait_for_function(f"{TIME} >= 4")
    page.keyboard.press("k")
    playwright.expect(page.locator(".card").nth(0)).to_be_focused()
    page.keyboard.press("?")
    playwright.expect(page.locator("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    playwright.expect(page.locator("dialog")).to_be_hidden()
    playwright.expect(page.locator(".stage")).to_be_visible()
    page.keyboard.press("Escape")
    playwright.expect(page.locator(".stage")).to_be_hidden()
    page.close()


def test_a_file_that_cannot_be_played_is_named(browser: Any, address: str) -> None:
    page, _ = opened(browser, address, PHONE)
    page.locator(".card").nth(2).click()
    playwright.expect(page.locator(".message")).to_contain_text("Your browser cannot play this file:")
    playwright.expect(page.locator(".message")).to_contain_text("film.avi")
    page.locator(".card").nth(0).click()
    playwright.expect(page.locator(".message")).to_be_hidden()
    page.close()


def test_without_scripts_cards_are_links(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator(".card").nth(0).get_attribute("href") == "a%20film.mp4#t=2.000,3.000"
    playwright.expect(page.locator("#keys-button")).to_be_hidden()
    context.close()
