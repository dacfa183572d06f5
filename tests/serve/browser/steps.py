"""Steps that several tests of the pages take."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from mova.serve.library.catalog import video_id

PHONE = {"width": 390, "height": 844}


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


def align(page: Any, path: Path, caption: str) -> None:
    """Align a caption with a video, and wait for the rows of its sentences."""
    page.goto(f"/align?video={video_id(str(path))}")
    page.wait_for_selector(".chooser img:not([hidden])")
    page.get_by_label("Caption").fill(caption)
    page.get_by_role("button", name="Align", exact=True).click()
    page.wait_for_selector(".work .sentence")
