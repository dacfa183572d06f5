"""The page Find in a real browser: search, play, keyboard, phone width, export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make browser")

from mova.search.index import Index
from mova.serve.library.catalog import video_id
from tests.serve.browser.conftest import CHROMIUM, Web
from tests.serve.browser.steps import PHONE, find, until, video
from tests.support.fakes import ColourEncoder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed: make browser"),
]


def test_find_and_play_a_moment(page: Any) -> None:
    find(page, "magenta")
    first = page.locator(".card").first
    assert "long.mp4" in first.inner_text()
    first.click()
    video(page, "v.videoWidth === 128 && v.currentTime >= 20 && !v.paused")
    video(page, "v.paused && Math.abs(v.currentTime - 24) < 0.5")  # stops at the end of the moment
    until(page, "document.querySelector('.thumb img').naturalWidth > 0")
    assert first.get_attribute("aria-current") == "true"
    assert page.locator(".lane button").count() >= 1
    painted = page.evaluate(
        "(() => { const c = document.querySelector('.curve canvas');"
        " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((x) => x > 0) })()"
    )
    assert painted, "the strip has no curve"


def test_by_keyboard_alone(page: Any) -> None:
    page.goto("/")
    page.wait_for_selector(".card")
    page.keyboard.press("/")
    page.keyboard.type("red")
    page.keyboard.press("Enter")
    page.wait_for_selector(".find[data-state=results] .card")
    page.keyboard.press("Escape")
    current = ".card[aria-current=true]"
    page.keyboard.press("j")
    until(page, "document.activeElement.classList.contains('card')")
    second = page.locator(current).get_attribute("aria-label")
    page.keyboard.press("k")
    assert page.locator(current).get_attribute("aria-label") != second
    video(page, "v.readyState >= 1")
    page.locator(".curve").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    video(page, "Math.abs(v.currentTime - 1) < 0.3")
    assert page.locator(".curve").get_attribute("aria-valuetext").startswith("0:01")
    page.keyboard.press("?")
    page.wait_for_selector("dialog.keys[open]")
    page.keyboard.press("Escape")


def test_marks_and_strip_seek(page: Any) -> None:
    find(page, "red")
    page.wait_for_selector(".lane button")
    video(page, "v.readyState >= 1")
    box = page.locator(".curve").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    video(page, "Math.abs(v.currentTime - v.duration / 2) < 0.3")


def test_the_address_keeps_the_query(page: Any) -> None:
    find(page, "blue")
    page.get_by_text("One per video").click()
    page.wait_for_url("**one=1*")
    page.wait_for_selector(".find[data-state=results] .card")
    page.reload()
    page.wait_for_selector(".find[data-state=results] .card")
    assert page.get_by_label("Describe what the video shows").input_value() == "blue"
    names = page.locator(".card .name").all_inner_texts()
    assert len(names) == len(set(names))
    page.go_back()
    page.go_back()
    page.wait_for_selector(".find[data-state=start]")


def test_fits_a_phone(browser: Any, web: Web) -> None:
    context = browser.new_context(viewport=PHONE, base_url=web.url, has_touch=True, is_mobile=True)
    page = context.new_page()
    find(page, "blue")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.locator(".card").nth(1).tap()
    video(page, "v.videoWidth > 0")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    box = page.locator(".screen").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"] + 0.5
    context.close()


def test_a_format_that_browsers_do_not_play_gets_a_preview(page: Any, web: Web) -> None:
    import av
    import numpy as np

    path = web.films / "old.avi"
    with av.open(str(path), "w") as container:
        track = container.add_stream("mpeg4", rate=8)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        for _ in range(24):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), (40, 210, 210), np.uint8), format="rgb24")
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    Index(web.index, ColourEncoder()).add([web.films])
    find(page, "cyan")
    assert "old.avi" in page.locator(".card").first.inner_text()
    page.locator(".card").first.click()
    video(page, "v.src.includes('/preview') && v.videoWidth === 64")


def test_errors_are_said_and_can_be_tried_again(page: Any) -> None:
    page.goto("/")
    page.wait_for_selector(".card")
    page.route("**/api/v1/search", lambda route: route.abort())
    page.get_by_label("Describe what the video shows").fill("red")
    page.keyboard.press("Enter")
    page.wait_for_selector(".notice.bad")
    assert "does not answer" in page.locator(".notice").inner_text()
    page.unroute("**/api/v1/search")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".find[data-state=results] .card")


def test_nothing_here_shows_that(page: Any) -> None:
    find(page, "nothing that has a color")
    assert "Nothing here shows that" in page.locator(".notice").inner_text()
    assert page.locator(".stage").is_hidden()
    assert page.locator(".card.faint").count() == page.locator(".card").count() > 0
    find(page, "red")
    assert page.locator(".card:not(.faint) .word").count() >= 2
    page.locator("#bar-button").click()
    page.locator("#rate").press("Home")
    page.wait_for_url("**rate=0.001*")
    assert "Of 1,000 texts" in page.locator(".panel.rate").inner_text()


def test_more_like_a_picture(page: Any) -> None:
    find(page, "magenta")
    page.locator(".card").first.click()
    video(page, "v.currentTime >= 20")
    page.keyboard.press("m")
    page.wait_for_url("**like=*")
    page.wait_for_selector(".like:not([hidden])")
    page.wait_for_selector(".find[data-state=results] .card")
    page.reload()
    page.wait_for_selector(".like:not([hidden]) img")
    page.get_by_role("button", name="Search by words alone").click()
    page.wait_for_selector(".find[data-state=start]")


def test_chosen_moments_are_exported(page: Any, tmp_path: Path) -> None:
    import zipfile

    find(page, "red")
    page.keyboard.press("Escape")
    page.keyboard.press("x")
    page.locator(".pick input").nth(1).check(force=True)
    assert page.locator(".basket .count").inner_text().startswith("2 moments")
    with page.expect_download() as download:
        page.get_by_role("button", name="EDL").click()
    assert "FROM CLIP NAME" in Path(download.value.path()).read_text(encoding="utf-8")
    with page.expect_download(timeout=60_000) as download:
        page.get_by_role("button", name="Clips (ZIP)").click()
    names = zipfile.ZipFile(download.value.path()).namelist()
    assert len(names) == 3
    assert "moments.csv" in names
    page.get_by_role("button", name="Clear", exact=True).last.click()
    assert page.locator(".basket").is_hidden()


def test_more_like_the_last_frame_is_no_error(page: Any) -> None:
    find(page, "magenta")
    page.locator(".card").first.click()
    video(page, "v.currentTime >= 20")
    page.locator(".curve").press("End")
    video(page, "v.currentTime >= v.duration - 0.05")
    page.keyboard.press("m")
    page.wait_for_selector(".find[data-state=results] .card")
    page.get_by_text("One per video").click()
    page.wait_for_url("**one=1*")
    page.wait_for_selector(".find[data-state=results] .card")
    names = page.locator(".card .name").all_inner_texts()
    assert len(names) == len(set(names))


def test_an_example_that_is_gone_is_said(page: Any, web: Web) -> None:
    page.goto(f"/?like={video_id(str(web.films / 'long.mp4'))}&t=99")
    page.wait_for_selector(".notice.bad")
    assert "ends before" in page.locator(".notice").inner_text()


def test_a_long_query_names_its_moments_in_short(page: Any) -> None:
    find(page, "The room turns red and stays so for a while. " * 40)
    page.keyboard.press("Escape")
    page.locator(".pick input").first.check(force=True)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    assert "turns red" in Path(download.value.path()).read_text(encoding="utf-8")


def test_what_cannot_be_converted_says_why(page: Any, web: Web) -> None:
    page.route("**/file", lambda route: route.abort())
    page.route(
        "**/preview?*", lambda route: route.fulfill(status=503, json={"error": {"status": 503, "message": "busy"}})
    )
    find(page, "magenta")
    page.locator(".card").first.click()
    until(page, "document.querySelector('.screen .message').innerText === 'Busy.'")
    page.unroute("**/preview?*")
    page.route("**/preview?*", lambda route: route.fulfill(status=200, content_type="video/mp4", body=b"broken"))
    page.reload()
    page.wait_for_selector(".card")
    page.locator(".card").first.click()
    page.get_by_role("link", name="Save the file").wait_for()
