"""The page Find in a real browser: search, play, keyboard, phone width, export."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make browser")

from mova.search.index import Index
from mova.serve.library.catalog import video_id
from mova.serve.settings import Settings
from tests.serve.browser.conftest import CHROMIUM, Web
from tests.serve.browser.steps import PHONE, find, until, video
from tests.serve.conftest import JudgingEncoder, running
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
    written = page.evaluate(
        "import('/static/dom.js').then(({ bounds }) => [[2, 2.4], [2, 9.7], [59.9, 60.3]]"
        ".map(([start, end]) => bounds({ start, end }).join(' – ')))"
    )
    assert written == ["0:02.0 – 0:02.4", "0:02 – 0:10", "0:59.9 – 1:00.3"], "no moment looks empty"
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


def test_more_like_a_moment_whose_video_is_not_loaded_yet(page: Any) -> None:
    page.route("**/file", lambda route: None)
    find(page, "magenta")
    page.locator(".card").first.click()
    page.keyboard.press("m")
    page.wait_for_url(re.compile(r"[?&]t=20(&|$)"))
    page.wait_for_selector(".find[data-state=results] .card")


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


EXPORTS = {
    "EDL": ("moments.edl", b"TITLE: "),
    "OTIO": ("moments.otio", b'"OTIO_SCHEMA": "Timeline.1"'),
    "SRT": ("moments.srt", b" --> "),
    "CSV": ("moments.csv", b"long.mp4"),
}


def test_the_times_of_moments_are_exported_in_every_format(page: Any) -> None:
    pytest.importorskip("opentimelineio", reason="the extra `edit` is not installed")
    find(page, "magenta")
    page.locator(".pick input").first.check(force=True)
    for label, (name, part) in EXPORTS.items():
        with page.expect_download() as download:
            page.locator(".basket").get_by_role("button", name=label, exact=True).click()
        assert download.value.suggested_filename == name
        assert part in Path(download.value.path()).read_bytes()


def test_a_moment_is_saved_as_a_clip(page: Any) -> None:
    from mova.video.probe import probe

    find(page, "magenta")
    page.locator(".card").first.click()
    video(page, "v.readyState >= 1")
    with page.expect_download(timeout=60_000) as download:
        page.get_by_role("link", name="Save this moment as a clip").click()
    assert download.value.suggested_filename.endswith(".mp4")
    assert probe(download.value.path()).duration == pytest.approx(4, abs=0.5)


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


def test_filters_choose_which_videos_are_searched(page: Any) -> None:
    find(page, "blue")
    page.locator("#filters-button").click()
    folder = page.get_by_label("Folder")
    until(page, "document.querySelectorAll('#filters option').length > 1")
    folder.select_option("deep")
    page.wait_for_url("**folder=deep*")
    page.wait_for_selector(".find[data-state=results] .card")
    assert set(page.locator(".card .folder").all_inner_texts()) == {"deep"}
    assert "1 searched" in page.locator(".summary").inner_text()
    page.reload()
    page.wait_for_selector(".find[data-state=results] .card")
    assert page.locator("#filters-button").inner_text() == "Filters (1)"
    assert set(page.locator(".card .folder").all_inner_texts()) == {"deep"}
    page.locator("#filters-button").click()
    page.get_by_label("from").nth(1).fill("500")
    page.get_by_label("from").nth(1).press("Tab")
    page.get_by_text("No video passes these filters").wait_for()
    page.get_by_role("button", name="Clear the filters").last.click()
    page.wait_for_selector(".find[data-state=results] .card")
    assert page.locator("#filters-button").inner_text() == "Filters"
    assert "deep" not in page.url


def test_the_last_day_of_a_filter_counts_whole(page: Any) -> None:
    page.goto("/?q=blue&after=2024-05-01&before=2024-12-31&longer=0.5&shorter=2")
    with page.expect_request("**/api/v1/search") as request:
        page.reload()
    sent = request.value.post_data_json["filter"]
    assert sent == {"after": "2024-05-01", "before": "2025-01-01", "longer": 30, "shorter": 120}


def test_more_like_in_one_respect_or_with_words(page: Any, web: Web) -> None:
    page.goto(f"/?like={video_id(str(web.films / 'long.mp4'))}&t=21")
    page.wait_for_selector(".find[data-state=results] .card")
    until(page, "document.querySelectorAll('#by option').length > 3")
    page.get_by_label("Alike in").select_option("color")
    page.wait_for_url("**by=color*")
    page.wait_for_selector(".find[data-state=results] .card")
    page.get_by_label("Alike in").select_option(label="these values…")
    page.get_by_label("Values to tell apart").fill("magenta, white")
    page.get_by_label("Values to tell apart").press("Enter")
    page.wait_for_url("**by=magenta*")
    page.wait_for_selector(".find[data-state=results] .card")
    page.reload()
    until(page, "document.querySelector('#values').value === 'magenta, white'")
    page.wait_for_selector(".find[data-state=results] .card")
    page.get_by_label("Describe what the video shows").fill("white")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=white*")
    page.wait_for_selector(".find[data-state=results] .card")
    assert "by=" not in page.url
    assert page.get_by_label("Alike in").is_disabled()
    page.get_by_label("Weight of the words").press("End")
    page.wait_for_url("**words=1*")
    page.wait_for_selector(".find[data-state=results] .card")


def test_an_unknown_respect_says_which_are_known(page: Any, web: Web) -> None:
    page.goto(f"/?like={video_id(str(web.films / 'long.mp4'))}&t=21&by=mood")
    page.wait_for_selector(".notice.bad")
    assert "place" in page.locator(".notice").inner_text()


def test_more_moments_follow_the_first(page: Any) -> None:
    def three(route: Any) -> None:
        route.continue_(post_data={**route.request.post_data_json, "limit": 3})

    page.route("**/api/v1/search", three)
    find(page, "blue")
    first = page.locator(".card").evaluate_all("cards => cards.map((card) => card.getAttribute('aria-label'))")
    assert len(first) == 3
    page.get_by_role("button", name="More moments").click()
    until(page, "document.querySelectorAll('.card').length > 3")
    every = page.locator(".card").evaluate_all("cards => cards.map((card) => card.getAttribute('aria-label'))")
    assert every[:3] == first
    assert len(set(every)) == len(every)


def test_a_pointer_on_the_strip_shows_the_frame(page: Any) -> None:
    find(page, "magenta")
    box = page.locator(".curve").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 21 / 40, box["y"] + 10)
    until(page, "document.querySelector('.curve .tip img').naturalWidth > 0 && !document.querySelector('.tip').hidden")
    assert page.locator(".curve .tip").inner_text().startswith("0:21")
    page.mouse.move(5, 5)
    assert page.locator(".curve .tip").is_hidden()


def test_a_video_of_the_library_is_played(page: Any) -> None:
    page.goto("/library")
    page.get_by_role("link", name="Play long.mp4").click()
    video(page, "v.videoWidth === 128")
    assert "long.mp4" in page.locator(".stage").inner_text()


def test_a_browser_sends_the_token_once(browser: Any, web: Web) -> None:
    token = "correct horse battery staple"
    settings = Settings(web.index, token=token, state=web.state.with_name("signed-in"))
    with running(settings, JudgingEncoder()) as url:
        context = browser.new_context(base_url=url)
        page = context.new_page()
        page.goto("/?q=magenta")
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Continue").click()
        page.wait_for_selector(".card")
        until(page, "document.querySelector('.thumb img').naturalWidth > 0")
        find(page, "magenta")
        page.locator(".card").first.click()
        video(page, "v.videoWidth === 128")
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], token in cookie["value"]) == (True, "Strict", False)
        context.close()


def test_the_player_and_the_basket_leave_room_for_the_results(browser: Any, web: Web) -> None:
    context = browser.new_context(viewport=PHONE, base_url=web.url, has_touch=True, is_mobile=True)
    page = context.new_page()
    find(page, "red")
    page.locator(".card").first.tap()
    page.locator(".pick input").first.evaluate("input => input.click()")
    page.wait_for_selector(".basket:not([hidden])")
    hidden = """(card) => {
      card.focus();
      const box = card.querySelector(".thumb").getBoundingClientRect();
      return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2)?.closest(".card") !== card;
    }"""
    for width, height in ((PHONE["width"], PHONE["height"]), (844, 390), (1000, 700), (1000, 810), (820, 1180)):
        page.set_viewport_size({"width": width, "height": height})
        for place in (4, 0, 2):
            assert not page.locator(".card").nth(place).evaluate(hidden), (width, height, place)
    context.close()


def test_long_names_fit_a_phone(browser: Any, web: Web) -> None:
    context = browser.new_context(viewport=PHONE, base_url=web.url, has_touch=True, is_mobile=True)
    page = context.new_page()

    def rename(route: Any) -> None:
        answer = route.fetch()
        document = answer.json()
        for row in document["results"]:
            row["video"]["name"] = "holiday_" * 20 + ".mp4"
            row["video"]["folder"] = "a folder with a long name/" * 6
        route.fulfill(response=answer, json=document)

    page.route("**/api/v1/search", rename)
    find(page, "red")
    page.locator(".card").first.tap()
    video(page, "v.videoWidth > 0")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    context.close()
