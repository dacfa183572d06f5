"""Granularities of videos and texts, and the granularity of a row (GEXIA, arXiv 2412.07704, sections 3.1 and 4.1).

    name    video    text
    IT      image    short
    SVST    short    short
    SVLT    short    long
    LVST    long     short
    LVLT    long     long

A row of a manifest may state its granularity in `meta.granularity`, as `mova data expand` writes it; otherwise it
follows from lengths. The paper sets granularities by hand for each data set (Table 10). The bounds here are midway
between the longest mean that it calls short and the shortest that it calls long: 17.5 and 31.5 seconds, 16.0 and 49.2
words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mova.data.manifest import Row
from mova.errors import DataError, UsageError


class Sizes(NamedTuple):
    """The size of a granularity's videos ("image", "short", "long") and of its texts ("short", "long")."""

    video: str
    text: str


GRANULARITIES: dict[str, Sizes] = {
    "IT": Sizes("image", "short"),
    "SVST": Sizes("short", "short"),
    "SVLT": Sizes("short", "long"),
    "LVST": Sizes("long", "short"),
    "LVLT": Sizes("long", "long"),
}


@dataclass(frozen=True)
class LengthRule:
    """Thresholds that decide the granularity of rows that do not state one.

    Attributes:
        seconds: a longer video is "long".
        words: a text with more words is "long".

    >>> lengths = LengthRule()
    >>> lengths.video(60.0), lengths.text("A dog runs.")
    ('long', 'short')
    """

    seconds: float = 24.5
    words: int = 32

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and self.words > 0):
            raise UsageError(f"long_seconds and long_words must be positive, not {self.seconds} and {self.words}")

    def video(self, seconds: float, frames: int | None = None) -> str:
        """Return the size of a video: "image" if it has one frame, otherwise by its duration."""
        if frames == 1:
            return "image"
        return "long" if seconds > self.seconds else "short"

    def text(self, text: str) -> str:
        """Return the size of a text by its number of words, separated by white space."""
        return "long" if len(text.split()) > self.words else "short"

    def row(self, row: Row) -> str:
        """Return the granularity of a row by its duration and its first caption.

        A row of unknown duration, such as an image file, counts as an image.
        """
        seconds = row.duration if row.start is None or row.end is None else row.end - row.start
        if seconds is None:
            return "IT"  # with texts of any length: images with long texts are not a separate granularity
        row_sizes = Sizes(self.video(seconds), self.text(row.captions[0].text if row.captions else ""))
        return next(name for name, sizes in GRANULARITIES.items() if sizes == row_sizes)


def row_granularity(row: Row, names: Sequence[str], lengths: LengthRule) -> str:
    """Return the granularity that a row states; otherwise the only one of `names`, or the one by its lengths.

    Raises:
        DataError: the row states an unknown granularity.

    >>> row_granularity(Row("a", "a.jpg", None, "train", ()), ["IT", "SVST"], LengthRule())
    'IT'
    """
    stated = row.meta.get("granularity")
    if stated is not None:
        return require_granularity(stated, f"row {row.id!r}")
    return names[0] if len(names) == 1 else lengths.row(row)


def require_granularity(name: object, where: str) -> str:
    """Return a granularity without its number (`LVLT2`, as `mova data expand` names a second one, is `LVLT`).

    Raises:
        DataError: an unknown name.

    >>> require_granularity("LVLT2", "row 'a'")
    'LVLT'
    """
    base = str(name).rstrip("0123456789")
    if base not in GRANULARITIES:
        raise DataError(f"{where}: granularity {name!r} is unknown; choose from {', '.join(GRANULARITIES)}")
    return base
