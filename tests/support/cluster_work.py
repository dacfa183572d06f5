"""Work for the nodes of a cluster, in a module that imports next to nothing: every worker imports it anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mova.errors import DataError
from mova.video.reader import read_count


def squares(wrong: int) -> Callable[[int], int]:
    """A worker that squares numbers, and raises for one."""

    def square(number: int) -> int:
        if number == wrong:
            raise DataError(f"{number} cannot be squared")
        return number * number

    return square


def by_brightness(calls: Path) -> tuple[str, Callable[[Path, Sequence[str]], list[float]]]:
    """A model without weights; it leaves a file for each video that it is asked about."""

    def score(video: Path, texts: Sequence[str]) -> list[float]:
        mean = float(read_count(video, 1).pixels.mean()) / 255
        (calls / video.name).touch()
        return [mean / len(text) for text in texts]

    return "brightness", score
