"""Draw the pictures of the pages of `mova serve` in docs/images: every state, on rendered videos (`make pictures`).

Needs the extras `serve` and `browser`, and Chromium.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).resolve().parent / "images"
SEED = 900_001
WIDE, PHONE = (1280, 800), (390, 844)
COLORS = 192
"""Colors of a picture, so that all of them together stay small."""
CAPTION = 4
"""Sentences of the video that are aligned; one about something else follows."""
ABSENT = "A man pours tea into two cups."
FOREIGN = "Two huge white crosses spin in the snowy mountains."

SHOWN = "/srv/films"
"""What stands for the folder of the videos."""

FOLDERS = {
    "folders": [
        {"id": f"{number:020x}", "name": name} for number, name in enumerate(("2022", "2023", "archive", "raw"))
    ],
    "total": 4,
    "videos": 12,
}
"""Folders that the service offers, made up."""

State = Callable[[Any, list[str]], None]
"""Brings a page into a state; the sentences describe the first video."""


def settled(page: Any) -> None:
    """Wait until all pictures in view are there, and the frame of a player."""
    loaded = (
        "[...document.images].every((i) => i.complete || i.getBoundingClientRect().top > innerHeight)"
        " && [...document.querySelectorAll('.stage:not([hidden]) video')].every((v) => v.readyState > 1 || !v.src)"
    )
    for _ in range(100):
        if page.evaluate(loaded):
            break
        page.wait_for_timeout(100)
    page.wait_for_timeout(600)


def start(page: Any, _: list[str]) -> None:
    """Before the first search."""
    page.goto("/")
    page.wait_for_selector(".card")


def find(page: Any, sentences: list[str]) -> None:
    """Search for an event of the first video."""
    page.goto("/")
    page.get_by_label("Describe what the video shows").fill(query(sentences[min(2, len(sentences) - 1)]))
    page.keyboard.press("Enter")
    page.wait_for_selector(".find[data-state=results] .card")
    page.mouse.move(2, 2)


def play(page: Any, sentences: list[str]) -> None:
    """Play the best moment."""
    find(page, sentences)
    page.locator(".card").first.click()
    page.wait_for_selector("video")
    page.wait_for_timeout(900)


def nothing(page: Any, sentences: list[str]) -> None:
    """Search for something that no video shows."""
    find(page, [ABSENT])


def like(page: Any, sentences: list[str]) -> None:
    """Search for moments in the same place."""
    play(page, sentences)
    page.keyboard.press("m")
    page.wait_for_url("**like=*")
    page.wait_for_selector(".find[data-state=results] .card")
    page.get_by_label("Alike in").select_option("place")
    page.wait_for_url("**by=place*")
    page.wait_for_selector(".find[data-state=results] .card")
    page.reload()  # the time of the first search is that of loading the model
    page.wait_for_selector(".find[data-state=results] .card")


def narrow(page: Any, sentences: list[str]) -> None:
    """Open filters and false alarms, and choose moments."""
    find(page, sentences)
    page.locator("#bar-button").click()
    page.locator("#filters-button").click()
    for place in (0, 1):
        page.locator(".pick input").nth(place).evaluate("input => input.click()")


def loading(page: Any, sentences: list[str]) -> None:
    """A search that does not end."""
    page.route("**/api/v1/search", lambda route: None)
    page.goto("/?q=a+dog")
    page.wait_for_selector(".ghost")


def failed(page: Any, sentences: list[str]) -> None:
    """A search without an answer."""
    page.route("**/api/v1/search", lambda route: route.abort())
    page.goto("/?q=a+dog")
    page.wait_for_selector(".notice.bad")


def align(page: Any, sentences: list[str]) -> None:
    """Align a caption, one of whose sentences is not shown."""
    page.goto("/align")
    page.locator(".chooser").click()
    page.locator("dialog.videos li button").first.click()
    page.get_by_label("Caption").fill(" ".join([*sentences[:CAPTION], FOREIGN]))
    page.get_by_role("button", name="Align", exact=True).click()
    page.wait_for_selector(".work .sentence", timeout=120_000)
    page.locator(".chip").first.click()
    page.wait_for_timeout(1500)


def correct(page: Any, sentences: list[str]) -> None:
    """Correct a span, and point at another row."""
    align(page, sentences)
    edge = page.locator(".edge.to").first
    for _ in range(2):
        edge.press("PageDown")
    track = page.locator(".track").nth(1).bounding_box()
    page.mouse.move(track["x"] + track["width"] * 0.6, track["y"] + 10)
    page.wait_for_timeout(1500)


def write(page: Any, _: list[str]) -> None:
    """Before a caption is aligned."""
    page.goto("/align")
    page.wait_for_selector(".chooser")


def choose(page: Any, _: list[str]) -> None:
    """Choose the video of a caption."""
    write(page, _)
    page.locator(".chooser").click()
    page.wait_for_selector("dialog.videos li")
    page.mouse.move(2, 2)


def keys(page: Any, _: list[str]) -> None:
    """The keys of the page Find."""
    start(page, _)
    page.locator("h1").click()
    page.keyboard.press("?")
    page.wait_for_selector("dialog.keys[open]")


def folders(page: Any, _: list[str]) -> None:
    """Choose a folder to add."""
    page.route(re.compile("/api/v1/folders"), lambda route: route.fulfill(json=FOLDERS))
    library(page, _)
    page.get_by_role("button", name="Add a folder").click()
    page.locator(".folders button").first.click()
    page.wait_for_selector("footer .primary:not([disabled])")


def forget(page: Any, _: list[str]) -> None:
    """Asked whether a folder shall be forgotten."""
    library(page, _)
    page.locator(".roots li button").first.click()
    page.wait_for_selector("dialog.sure[open]")


def login(page: Any, _: list[str]) -> None:
    """The page that asks for a token."""
    page.goto("/login")


def missing(page: Any, _: list[str]) -> None:
    """An address without a page."""
    page.goto("/nowhere")


def library(page: Any, _: list[str]) -> None:
    """What is indexed."""
    page.goto("/library")
    page.wait_for_selector(".all .card")


def job(page: Any, _: list[str]) -> None:
    """A folder is being read; the job is made up."""

    def reading(route: Any) -> None:
        row = {
            "id": "job", "kind": "add", "name": "films/archive", "state": "running", "created": 0, "ended": 0,
            "file": "harbour.mp4", "done": 1260, "total": 3480, "counts": {}, "failed": [], "message": "",
        }  # fmt: skip
        route.fulfill(content_type="text/event-stream", body=f"data: {json.dumps([row])}\n\n")

    page.route("**/api/v1/jobs/events", reading)
    page.goto("/library")
    page.wait_for_selector(".job")
    page.wait_for_selector(".all .card")


def empty(page: Any, _: list[str]) -> None:
    """Nothing is indexed."""
    nothing = {"videos": [], "total": 0, "duration": 0}
    page.route("**/api/v1/videos?*", lambda route: route.fulfill(json=nothing))
    page.goto("/")
    page.wait_for_selector(".find[data-state=empty]")


PICTURES: tuple[tuple[str, State, tuple[int, int], str], ...] = (
    ("start", start, WIDE, "light"),
    ("find", play, WIDE, "light"),
    ("find-dark", play, WIDE, "dark"),
    ("find-phone", play, PHONE, "light"),
    ("narrow", narrow, WIDE, "light"),
    ("like", like, WIDE, "light"),
    ("nothing", nothing, WIDE, "light"),
    ("loading", loading, WIDE, "light"),
    ("failed", failed, WIDE, "light"),
    ("empty", empty, WIDE, "light"),
    ("align", align, WIDE, "light"),
    ("correct", correct, WIDE, "dark"),
    ("align-phone", align, PHONE, "light"),
    ("library", library, WIDE, "light"),
    ("job", job, WIDE, "dark"),
    ("library-phone", library, PHONE, "dark"),
    ("write", write, WIDE, "light"),
    ("choose", choose, WIDE, "light"),
    ("folders", folders, WIDE, "light"),
    ("forget", forget, WIDE, "light"),
    ("keys", keys, WIDE, "dark"),
    ("login", login, WIDE, "light"),
    ("missing", missing, WIDE, "light"),
)


def wanted(names: list[str], every: bool) -> Iterator[tuple[str, State, tuple[int, int], str]]:
    """Yield the pictures to draw; with `every`, each state at both widths, light and dark."""
    if not every:
        yield from (row for row in PICTURES if not names or row[0] in names)
        return
    for state in dict.fromkeys(row[1] for row in PICTURES):
        for size in (WIDE, PHONE):
            for scheme in ("light", "dark"):
                if not names or state.__name__ in names:
                    yield f"{state.__name__}-{size[0]}-{scheme}", state, size, scheme


@contextmanager
def service(films: Path, folder: Path) -> Iterator[str]:
    """Index videos, and serve them; the address."""
    mova = [sys.executable, "-m", "mova"]
    index = ["--index", str(folder / "index"), "--model", "mova-worlds-tiny"]
    subprocess.run([*mova, "index", films.name, *index], cwd=films.parent, check=False)  # one file is no video
    log = folder / "log"
    with open(log, "w", encoding="utf-8") as lines:
        run = subprocess.Popen([*mova, "serve", "--port", "0", *index], cwd=films.parent, stdout=lines, stderr=lines)
    try:
        while not (found := re.search(r"mova is at (\S+)", log.read_text(encoding="utf-8"))):
            assert run.poll() is None, log.read_text(encoding="utf-8")
            time.sleep(0.2)
        yield found.group(1)
    finally:
        run.terminate()
        run.wait()


def render(films: Path) -> None:
    """Render videos in two folders, and put a file beside them that is no video."""
    from mova.worlds.writer import write_worlds

    for name, videos, style in (("garden", 6, "flat"), ("studio", 3, "shaded")):
        write_worlds(films / name, videos, 40, style, SEED)
    (films / "garden" / "unfinished.mp4").write_text("not a video", encoding="utf-8")


def sentences_of(films: Path) -> list[str]:
    """Return what the first video shows, in the order of time."""
    with open(films / "garden" / "manifest.jsonl", encoding="utf-8") as rows:
        row = json.loads(rows.readline())
    return [sentence["text"] for sentence in row["captions"][0]["sentences"]]


def query(sentence: str) -> str:
    """Return a sentence without the words that place it in time.

    Example:
        >>> query("After that, a star flickers.")
        'a star flickers.'
    """
    return re.sub(r"^[A-Z][a-z ]+, ", "", sentence)


def save(data: bytes, path: Path) -> None:
    """Write a picture with few colors."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.quantize(COLORS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Draw the pictures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="pictures to draw (default: all)")
    parser.add_argument("--every", action="store_true", help="every state at both widths, light and dark, to look at")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    parser.add_argument("--films", type=Path, help="folder of the videos, rendered if it does not exist")
    asked = parser.parse_args()
    chromium = os.environ.get("MOVA_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as name:
        films = (asked.films or Path(name) / "films").resolve()
        if not films.exists():
            render(films)
        sentences = sentences_of(films)
        with service(films, Path(name)) as url, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])

            def hide(route: Any) -> None:
                answer = route.fetch()
                route.fulfill(response=answer, body=answer.text().replace(str(films), SHOWN))

            for picture, state, (width, height), scheme in wanted(asked.names, asked.every):
                phone = width == PHONE[0]
                context = browser.new_context(
                    viewport={"width": width, "height": height},
                    base_url=url,
                    color_scheme=scheme,
                    has_touch=phone,
                    is_mobile=phone,
                )
                context.set_default_timeout(60_000)
                page = context.new_page()
                page.route(re.compile("/api/v1/library"), hide)
                state(page, sentences)
                settled(page)
                save(page.screenshot(), asked.out / f"serve-{picture}.png")
                sys.stdout.write(f"serve-{picture}.png\n")
                sys.stdout.flush()
                context.close()
            browser.close()


if __name__ == "__main__":
    main()
