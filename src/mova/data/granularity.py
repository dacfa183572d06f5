"""Granularities of videos and texts, and which one a pair is of (GEXIA, arXiv 2412.07704, sections 3.1 and 4.1).

    name    video    text
    IT      image    short
    SVST    short    short
    SVLT    short    long
    LVST    long     short
    LVLT    long     long

A manifest's row may say its own in `meta.granularity`, as `mova data expand` writes it. Where it does not, lengths
decide. The paper sets granularities by hand for each data set (Table 10); the bounds here lie in the middle between the
longest mean that it calls short and the shortest that it calls long: 17.5 and 31.5 seconds, 16.0 and 49.2 words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mova.data.manifest import Row
from mova.errors import DataError, UsageError


class Sizes(NamedTuple):
    """What a granularity says of a video ("image", "short", "long") and of a text ("short", "long")."""

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
    """What is long, where nobody has said so.

    Attributes:
        seconds: a video of more is long.
        words: a text of more is long.
    """

    seconds: float = 24.5
    words: int = 32

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and self.words > 0):
            raise UsageError(f"long_seconds and long_words must be above 0, not {self.seconds} and {self.words}")

    def video(self, seconds: float, frames: int | None = None) -> str:
        """Size of a video: "image" if it is one frame, else by its seconds."""
        if frames == 1:
            return "image"
        return "long" if seconds > self.seconds else "short"

    def text(self, text: str) -> str:
        """Size of a text by its words, which stand between white space."""
        return "long" if len(text.split()) > self.words else "short"

    def row(self, row: Row) -> str:
        """Granularity of a manifest's row by its length and its first caption.

        A row without a known length, such as an image file, counts as an image.
        """
        seconds = row.duration if row.start is None or row.end is None else row.end - row.start
        if seconds is None:
            return "IT"  # whatever its text: images with long texts are no granularity of their own
        sizes = Sizes(self.video(seconds), self.text(row.captions[0].text))
        return next(name for name, own in GRANULARITIES.items() if own == sizes)


def require_granularity(name: object, where: str) -> str:
    """A granularity's name, or an error that says what there is.

    A second one of a kind (`LVLT2`, as `mova data expand` names it) is of that kind.

    Raises:
        DataError: an unknown name.
    """
    kind = str(name).rstrip("0123456789")
    if kind not in GRANULARITIES:
        raise DataError(f"{where}: granularity {name!r} is not known; there are {', '.join(GRANULARITIES)}")
    return kind
