"""Which of the found moments are an answer: a page of them, or the best one of each video."""

from __future__ import annotations

from collections.abc import Iterable

from mova.types import Moment
from mova.utils.numbers import require_whole


def require_page(k: int, skip: int) -> None:
    """Raise if an answer cannot have k moments after the first `skip`.

    Raises:
        UsageError: k is below 1, or `skip` below 0, or one is not a whole number.
    """
    require_whole("k", k, 1)
    require_whole("skip", skip, 0)


def first_of_each_video(moments: Iterable[Moment]) -> list[Moment]:
    """Return the first moment of each video, in the order given.

    Example:
        >>> rows = [Moment("a.mp4", 0, 1, 0.9), Moment("a.mp4", 4, 5, 0.8), Moment("b.mp4", 0, 1, 0.7)]
        >>> [(moment.video, moment.score) for moment in first_of_each_video(rows)]
        [('a.mp4', 0.9), ('b.mp4', 0.7)]
    """
    first: dict[str, Moment] = {}
    for moment in moments:
        first.setdefault(moment.video, moment)
    return list(first.values())
