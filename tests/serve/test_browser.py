"""The pages in a real browser: find, play, keyboard, phone width. Needs Playwright and Debian's Chromium."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make browser")

from playwright import sync_api as playwright

from mova.search.index import Index
from mova.serve.library.catalog import video_id
from mova.serve.settings import Settings
from tests.serve.conftest import JudgingEncoder, running, write_films
from tests.support.fakes import ColourEncoder, write_colours

CHROMIUM = os.environ.get("MOVA_CHROMIUM") or shutil.which("chromium") or ""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed: make browser"),
]
PHONE = {"width": 390, "height": 844}


@dataclass
class Web:
    """A service at an address, and its folders."""

    url: str
    films: Path
    index: str
    state: Path


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    folder = tmp_path_factory.mktemp("web")
    films = write_films(folder / "films")
    write_colours(films / "long.mp4", [("black", 20), ("magenta", 4), ("white", 16)], size=(72, 128))
    Index(folder / "index", ColourEncoder()).add([films])
    settings = Settings(str(folder / "index"), state=folder / "state")
    with running(settings, JudgingEncoder()) as url:
        yield Web(url, films, settings.index, settings.state)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, web: Web) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 860}, base_url=web.url)
    context.set_default_timeout(15_000)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield opened
    context.close()
    assert [problem for problem in problems if "Failed to load resource" not in problem] == []


def find(page: Any, text: str) -> None:
    page.goto("/")
    page.get_by_label("Describe what the video shows").fill(text)
    page.keyboard.press("Enter")
    page.wait_for_selector(".find[data-state=results] .card")


def until(page: Any, condition: str, seconds: float = 15) -> None:
    """Wait for a condition; Playwright's own way of waiting needs `eval`, which the pages forbid."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


def video(page: Any, condition: str) -> None:
    """Wait until the video of the stage fulfills a condition."""
    until(page, f"(() => {{ const v = document.querySelector('video'); return Boolean(v && ({condition})) }})()")


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
    assert "Of 1,000 texts" in page.locator(".panel").inner_text()


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


def test_align_and_correct_a_span(page: Any, web: Web) -> None:
    from mova.data.manifest import read_manifest

    page.goto("/align")
    page.locator(".chooser").click()
    page.get_by_label("Part of a name or folder").fill("long")
    until(page, "document.querySelectorAll('dialog.videos li').length === 1")
    page.locator("dialog.videos li button").click()
    page.get_by_label("Caption").fill("Everything is black. Then it turns magenta. A yellow light.")
    page.get_by_role("button", name="Align").click()
    page.wait_for_selector(".work .sentence")
    until(page, "document.querySelectorAll('.sentence').length === 4")  # three, and what is not described
    video(page, "v.videoWidth === 128")
    page.locator(".sentence").nth(1).locator(".chip").first.click()
    video(page, "v.currentTime >= 20 && v.currentTime < 24.2")
    edge = page.locator(".sentence").nth(1).locator(".edge.from").first
    track = page.locator(".sentence").nth(1).locator(".track").bounding_box()
    box = edge.bounding_box()
    page.mouse.move(box["x"] + 7, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(track["x"] + track["width"] * 21 / 40, box["y"] + 10, steps=6)
    page.mouse.up()
    video(page, "Math.abs(v.currentTime - 21) < 0.3")  # the picture follows the edge
    edge.press("ArrowRight")
    page.get_by_role("button", name="Save as training data").click()
    until(page, "document.querySelector('.correct').innerText.includes('has 1 row')")
    (row,) = read_manifest(web.state / "corrections.jsonl")
    magenta = row.captions[0].sentences[1]
    assert magenta.text == "Then it turns magenta."
    assert magenta.start == pytest.approx(21.1, abs=0.15)
    assert magenta.end == pytest.approx(24, abs=0.3)
    assert row.meta["corrected"] == [1]
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="SRT subtitles").click()
    assert download.value.suggested_filename == "long.srt"
    assert "magenta" in Path(download.value.path()).read_text(encoding="utf-8")


def edge_of(page: Any, sentence: int) -> Any:
    return page.locator(".sentence").nth(sentence).locator(".edge.from").first


def test_only_what_a_hand_has_moved_is_a_correction(page: Any, web: Web) -> None:
    """With spans whose times are not multiples of a hundredth, which the rows show rounded."""
    sent: list[Any] = []

    def uneven(route: Any) -> None:
        answer = route.fetch()
        document = answer.json()
        for sentence in document["sentences"]:
            for span in sentence["spans"]:
                span["start"], span["end"] = span["start"] + 0.004, span["end"] - 0.004
        sent.append(document)
        route.fulfill(response=answer, json=document)

    page.route("**/align", lambda route: uneven(route) if route.request.method == "POST" else route.continue_())
    page.goto(f"/align?video={video_id(str(web.films / 'long.mp4'))}")
    page.get_by_label("Caption").fill("Everything is black. Then it turns magenta.")
    page.get_by_role("button", name="Align", exact=True).click()
    page.wait_for_selector(".work .sentence")
    assert page.locator(".correct").is_hidden()
    spans = [[[span["start"], span["end"]] for span in row["spans"]] for row in sent[0]["sentences"]]
    box = edge_of(page, 1).bounding_box()
    page.mouse.move(box["x"] + 7, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 10, steps=4)
    edge_of(page, 1).dispatch_event("pointercancel", {"pointerId": 1})  # the system takes the pointer away
    page.mouse.up()
    assert page.locator(".correct").is_hidden()
    edge_of(page, 1).press("ArrowLeft")
    edge_of(page, 1).press("ArrowRight")
    assert page.locator(".correct").is_hidden()
    edge_of(page, 1).press("ArrowLeft")
    assert "1 sentence corrected" in page.locator(".correct").inner_text()
    with page.expect_request("**/corrections") as request:
        page.get_by_role("button", name="Save as training data").click()
    saved = request.value.post_data_json["spans"]
    assert saved[0] == spans[0]
    assert saved[1][0] == [pytest.approx(spans[1][0][0] - 0.1, abs=0.006), spans[1][0][1]]


def test_a_drag_that_is_taken_away_makes_no_span(page: Any, web: Web) -> None:
    page.goto(f"/align?video={video_id(str(web.films / 'long.mp4'))}")
    page.get_by_label("Caption").fill("Everything is black. Then it turns magenta.")
    page.get_by_role("button", name="Align", exact=True).click()
    page.wait_for_selector(".work .sentence")
    track = page.locator(".sentence").nth(1).locator(".track")
    before = track.locator(".span").count()
    box = track.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 50, box["y"] + 10, steps=4)
    assert track.locator(".span").count() == before + 1
    track.dispatch_event("pointercancel", {"pointerId": 1})
    assert track.locator(".span").count() == before
    page.mouse.move(box["x"] + 90, box["y"] + 10, steps=4)
    assert track.locator(".span").count() == before
    page.mouse.up()
    assert page.locator(".correct").is_hidden()


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


def test_align_fits_a_phone(browser: Any, web: Web) -> None:
    context = browser.new_context(viewport=PHONE, base_url=web.url, has_touch=True, is_mobile=True)
    page = context.new_page()
    find(page, "magenta")
    page.locator(".card").first.tap()
    page.locator(".align-link").tap()
    page.wait_for_url("**/align?video=*")
    page.get_by_label("Caption").fill("Everything is black. Then it turns magenta.")
    page.get_by_role("button", name="Align").tap()
    page.wait_for_selector(".work .sentence")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    context.close()


def test_the_library_adds_and_forgets(browser: Any, tmp_path: Path) -> None:
    """With a model that the process of the job can load, from the empty index to a search."""
    from mova.worlds.writer import write_worlds

    write_worlds(tmp_path / "films", 2, 10, "flat", seed=3, size=48, fps=4.0)
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
        until(page, "document.querySelector('footer .small').innerText.startsWith('2 videos')")
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
        context.close()
