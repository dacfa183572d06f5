"""The page Align in a real browser: align, correct, save, download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make browser")

from mova.serve.library.catalog import video_id
from tests.serve.browser.conftest import CHROMIUM, Web
from tests.serve.browser.steps import PHONE, align, find, until, video

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed: make browser"),
]


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


def test_a_caption_is_read_from_a_subtitle_file(page: Any, web: Web, tmp_path: Path) -> None:
    subtitles = tmp_path / "film.srt"
    subtitles.write_text(
        "1\n00:00:01,000 --> 00:00:02,000\nEverything is black.\n\n2\n00:00:03,000 --> 00:00:04,000\nThen magenta.\n",
        encoding="utf-8",
    )
    page.goto(f"/align?video={video_id(str(web.films / 'long.mp4'))}")
    page.locator("#file").set_input_files(subtitles)
    until(page, "document.querySelector('#caption').value !== ''")
    assert page.get_by_label("Caption").input_value().split() == ["Everything", "is", "black.", "Then", "magenta."]
    page.locator("#file").set_input_files({"name": "x.srt", "mimeType": "text/plain", "buffer": b"\x00\x01"})
    page.wait_for_selector(".notice.bad")


def test_by_keyboard_alone_a_span_is_added_moved_removed_and_saved(page: Any, web: Web) -> None:
    align(page, web.films / "long.mp4", "Everything is black. Then it turns magenta. Then it turns white. A red light.")
    video(page, "v.readyState >= 1")
    absent = page.locator(".sentence").nth(3)
    assert "Probably not shown" in absent.inner_text()
    page.locator(".curve").focus()
    for key in ("Home", "PageUp", "PageUp"):  # 8 s
        page.keyboard.press(key)
    video(page, "Math.abs(v.currentTime - 8) < 0.3")
    absent.locator(".add").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.classList.contains('to')")
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowLeft")
    assert absent.locator(".chip").first.inner_text().startswith("0:08.0 – 0:10.9")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Delete")
    assert page.locator(".correct").is_hidden()
    absent.locator(".add").focus()
    page.keyboard.press("Enter")  # at 10.9 s: the player has followed the edge
    page.locator("#save").focus()
    with page.expect_request("**/corrections") as request:
        page.keyboard.press("Enter")
    ((start, end),) = request.value.post_data_json["spans"][3]
    assert (start, end) == (pytest.approx(10.9, abs=0.1), pytest.approx(12.9, abs=0.1))
    page.get_by_text("Saved.").wait_for()


DOWNLOADS = {
    "JSON": ("long.json", b'"posterior"'),
    "PNG": ("long.png", b"\x89PNG"),
    "OTIO": ("long.otio", b'"OTIO_SCHEMA": "Timeline.1"'),
    "SRT": ("long.srt", b"00:00:20,000 --> 00:00:24,000"),
    "CSV": ("long.csv", b"Then it turns magenta."),
}


def test_an_alignment_is_downloaded_in_every_format(page: Any, web: Web) -> None:
    pytest.importorskip("opentimelineio", reason="the extra `edit` is not installed")
    align(page, web.films / "long.mp4", "Everything is black. Then it turns magenta.")
    for label, (name, part) in DOWNLOADS.items():
        page.get_by_role("button", name="Download").click()
        with page.expect_download(timeout=60_000) as download:
            page.locator(".formats button", has_text=label).click()
        assert download.value.suggested_filename == name
        assert part in Path(download.value.path()).read_bytes()
