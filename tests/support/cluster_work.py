"""Work for the nodes of a cluster, in a module that imports next to nothing: every worker imports it anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mova.errors import DataError
from mova.search.ingest.stages import Encoded, EncodeWindow, Window
from mova.video.reader import read_count


def squares(wrong: int) -> Callable[[int], int]:
    """A worker that squares numbers, and raises for one."""

    def square(number: int) -> int:
        if number == wrong:
            raise DataError(f"{number} cannot be squared")
        return number * number

    return square


def deadly_squares(deadly: int) -> Callable[[int], int]:
    """A worker that squares numbers, and dies of one each time, as of a crash."""

    def square(number: int) -> int:
        if number == deadly:
            os._exit(1)
        return number * number

    return square


def failing(unexpected: str) -> Callable[[int], int]:
    """A worker with a mistake."""

    def fail(number: int) -> int:
        raise RuntimeError(f"\x1b[31m{unexpected}\x1b[0m of {number}")

    return fail


class DeadlyEncodeWindow(EncodeWindow):
    """Dies of each file whose name has "deadly", and once of each whose name has "once"."""

    def _encoded(self, window: Window) -> Encoded:
        path = Path(window.task.path)
        mark = path.with_suffix(".died")
        if "deadly" in path.name or ("once" in path.name and not mark.exists()):
            mark.touch()
            os._exit(1)
        return super()._encoded(window)


def by_brightness(calls: Path) -> tuple[str, Callable[[Path, Sequence[str]], list[float]]]:
    """A model without weights; it leaves a file for each video that it is asked about."""

    def score(video: Path, texts: Sequence[str]) -> list[float]:
        mean = float(read_count(video, 1).pixels.mean()) / 255
        (calls / video.name).touch()
        return [mean / len(text) for text in texts]

    return "brightness", score
