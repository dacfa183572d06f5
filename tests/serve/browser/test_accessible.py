"""Every page and state is checked with axe, light and dark; targets fit a finger; a touch says what a pointer says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make browser")
pytest.importorskip("axe_playwright_python", reason="axe is not installed: make browser")

from axe_playwright_python.sync_playwright import Axe

from mova.serve.library.catalog import video_id
from mova.serve.settings import Settings
from tests.serve.browser.conftest import CHROMIUM, Web
from tests.serve.browser.steps import PHONE, align, find, until, video
from tests.serve.conftest import JudgingEncoder, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed: make browser"),
]
GRAVE = ("serious", "critical")
FINGER = 44
"""Pixels of a target, at least; targets within a sentence or an image are exempt, as in WCAG 2.2."""


def start(page: Any, web: Web) -> None:
    page.goto("/")
    page.wait_for_selector(".card")


def results(page: Any, web: Web) -> None:
    find(page, "red")
    page.wait_for_selector(".stage:not([hidden])")
    video(page, "v.readyState >= 1")


def everything_open(page: Any, web: Web) -> None:
    results(page, web)
    page.locator("#bar-button").click()
    page.locator(".pick input").nth(1).check(force=True)
    page.wait_for_selector(".basket:not([hidden])")


def example(page: Any, web: Web) -> None:
    page.goto(f"/?like={video_id(str(web.films / 'long.mp4'))}&t=21")
    page.wait_for_selector(".find[data-state=results] .card")
    page.wait_for_selector(".alike:not([hidden])")


def filters(page: Any, web: Web) -> None:
    find(page, "blue")
    page.locator("#filters-button").click()
    until(page, "document.querySelectorAll('#filters option').length > 1")
    page.get_by_label("Folder").select_option("deep")
    page.wait_for_url("**folder=deep*")
    page.wait_for_selector(".find[data-state=results] .card")


def nothing(page: Any, web: Web) -> None:
    find(page, "nothing that has a color")


def failed(page: Any, web: Web) -> None:
    page.route("**/api/v1/search", lambda route: route.abort())
    page.goto("/?q=red")
    page.wait_for_selector(".notice.bad")


def keys(page: Any, web: Web) -> None:
    start(page, web)
    page.locator("h1").click()
    page.keyboard.press("?")
    page.wait_for_selector("dialog.keys[open]")


def write_caption(page: Any, web: Web) -> None:
    page.goto("/align")
    page.get_by_role("button", name="Align", exact=True).click()
    page.wait_for_selector(".notice:not([hidden])")


def choose_video(page: Any, web: Web) -> None:
    page.goto("/align")
    page.locator(".chooser").click()
    page.wait_for_selector("dialog.videos li")


def aligned(page: Any, web: Web) -> None:
    align(page, web.films / "long.mp4", "Everything is black. Then it turns magenta. A yellow light.")


def corrected(page: Any, web: Web) -> None:
    aligned(page, web)
    page.locator(".edge.from").nth(1).press("PageUp")
    page.wait_for_selector(".correct:not([hidden])")
    page.get_by_role("button", name="Download").click()
    page.wait_for_selector(".formats:not([hidden])")


def moved(page: Any, web: Web) -> None:
    """A span that was added and is moved, with the frame under the pointer, and the bar that saves it."""
    aligned(page, web)
    page.locator(".sentence").nth(2).locator(".add").press("Enter")
    page.keyboard.press("PageUp")
    box = page.locator(".sentence").nth(1).locator(".track").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.wait_for_selector(".sentence .tip:not([hidden])")
    page.wait_for_selector(".correct:not([hidden])")


def jobs(page: Any, web: Web) -> None:
    """One job in each state; the files that one could not read are shown."""
    whole = {"kind": "add", "name": "films", "created": 0, "file": "a.mp4", "done": 30, "total": 90, "message": ""}
    wrong = [{"name": "broken.mp4", "cause": "is no video"}]
    rows = [
        {
            **whole,
            "id": state,
            "state": state,
            "ended": time.time(),
            "counts": {"indexed": 2, "failed": 1},
            "failed": wrong,
        }
        for state in ("queued", "running", "paused", "done", "failed", "cancelled")
    ]
    page.route(
        "**/api/v1/jobs/events",
        lambda route: route.fulfill(content_type="text/event-stream", body=f"data: {json.dumps(rows)}\n\n"),
    )
    library(page, web)
    page.wait_for_selector(".job.running")
    page.locator(".job.done summary").click()


def login(page: Any, web: Web) -> None:
    settings = Settings(web.index, token="correct horse battery staple", state=web.state.with_name("guarded"))
    with running(settings, JudgingEncoder()) as url:
        page.goto(url)
        page.get_by_label("Token").fill("this is not the token")
        page.get_by_role("button", name="Continue").click()
        page.wait_for_selector("#wrong")


def library(page: Any, web: Web) -> None:
    page.goto("/library")
    page.wait_for_selector(".all .card")


def choose_folder(page: Any, web: Web) -> None:
    library(page, web)
    page.get_by_role("button", name="Add a folder").click()
    page.wait_for_selector(".folders li")


def sure(page: Any, web: Web) -> None:
    library(page, web)
    page.locator(".all .card").first.hover()
    page.locator(".all .card").first.get_by_role("button", name="Forget").click()
    page.wait_for_selector("dialog.sure[open]")


def not_found(page: Any, web: Web) -> None:
    page.goto("/nowhere")


STATES: tuple[Callable[[Any, Web], None], ...] = (
    start,
    results,
    everything_open,
    example,
    filters,
    nothing,
    failed,
    keys,
    write_caption,
    choose_video,
    aligned,
    corrected,
    moved,
    jobs,
    login,
    library,
    choose_folder,
    sure,
    not_found,
)


@pytest.fixture
def quiet(browser: Any, web: Web) -> Any:
    """A page without motion, so that no color is measured halfway."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, base_url=web.url, reduced_motion="reduce")
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_axe_finds_nothing_serious(quiet: Any, web: Web, state: Callable[[Any, Web], None]) -> None:
    state(quiet, web)
    for scheme in ("light", "dark"):
        quiet.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(quiet).response["violations"]
        grave = [
            (finding["id"], node["target"], node.get("failureSummary"))
            for finding in found
            if finding["impact"] in GRAVE
            for node in finding["nodes"]
        ]
        assert grave == [], f"{scheme}: {len(grave)} findings"


def test_axe_would_find_something(quiet: Any) -> None:
    quiet.goto("/align")
    quiet.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert "button-name" in {finding["id"] for finding in Axe().run(quiet).response["violations"]}


SMALL = f"""(() => {{
  const small = [];
  for (const node of document.querySelectorAll("a, button, input, select, textarea, summary, [role=slider]")) {{
    const box = node.getBoundingClientRect();
    if (!box.width || node.closest("[hidden], .unseen, .skip") || getComputedStyle(node).opacity === "0") continue;
    const label = node.closest("label")?.getBoundingClientRect() ?? box;
    const tall = Math.max(box.height, label.height), wide = Math.max(box.width, label.width);
    if (tall < {FINGER} - 0.5 || wide < {FINGER} - 0.5) small.push([node.outerHTML.slice(0, 120), wide, tall]);
  }}
  return small;
}})()"""
EXEMPT = ("edge", "gap", "skip", 'class="chip', "faint", "Moment from")
"""Parts of a time axis, whose width is time, and times within text."""


@pytest.mark.parametrize("state", [start, results, everything_open, example, choose_video, library, choose_folder])
def test_targets_fit_a_finger(browser: Any, web: Web, state: Callable[[Any, Web], None]) -> None:
    context = browser.new_context(viewport=PHONE, base_url=web.url, has_touch=True, is_mobile=True)
    page = context.new_page()
    if state is results or state is everything_open:
        find(page, "red")
        page.locator(".card").first.tap()
        page.wait_for_selector(".stage:not([hidden])")
        if state is everything_open:
            page.locator("#bar-button").tap()
            page.locator(".pick input").first.tap()
            page.wait_for_selector(".basket:not([hidden])")
    else:
        state(page, web)
    small = [target for target in page.evaluate(SMALL) if not any(word in target[0] for word in EXEMPT)]
    assert small == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    context.close()


def test_a_touch_shows_the_frame_and_the_weight(browser: Any, web: Web) -> None:
    context = browser.new_context(viewport=PHONE, base_url=web.url, has_touch=True, is_mobile=True)
    page = context.new_page()
    align(page, web.films / "long.mp4", "Everything is black. Then it turns magenta.")
    track = page.locator(".sentence").nth(1).locator(".track")
    track.scroll_into_view_if_needed()
    box = track.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 22 / 40, box["y"] + box["height"] / 2)
    tip = "document.querySelectorAll('.sentence')[1].querySelector('.tip')"
    until(page, f"!{tip}.hidden && /0:2[12].* %$/.test({tip}.innerText) && {tip}.querySelector('img').naturalWidth > 0")
    context.close()
