"""Synthetic videos in a manifest: which captions want one, and what a row says of those that it has.

A row's synthetic videos stand in `meta.synthetic`, a list with one object a video (`Synthetic`). The captions that
they show are the row's own (`positive`) or those of `meta.negatives` (`negative`); SynViTA renders the negative ones
(Zanella et al., papers/synvita.txt, Section 3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from mova.data.manifest import Row
from mova.errors import DataError, UsageError

Role = Literal["negative", "positive"]
Which = Literal["negative", "positive", "all"]


@dataclass(frozen=True)
class Order:
    """One video that is wanted of a caption.

    Attributes:
        row: id of the caption's row.
        role: whether the caption is false or true of the row's own video.
        place: the caption's place among the row's negatives or captions.
        index: the video's place among those of this caption.
        text: the caption.
        misalignment: how a negative differs from its caption, where the row says so.
        of: id of the row that a triplet was made from; the row's own elsewhere.
    """

    row: str
    role: Role
    place: int
    index: int
    text: str
    misalignment: str | None = None
    of: str = ""

    def seed(self, seed: int) -> int:
        """The seed of this video: a pure function of a run's seed, the row's id, the caption's place and the index.

        It has 48 bits, so that JSON readers that know only floating point keep it.
        """
        key = f"{seed}/{self.row}/{self.role}/{self.place}/{self.index}"
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest(), "big")


@dataclass(frozen=True)
class Synthetic:
    """A synthetic video, as `meta.synthetic` holds it.

    Attributes:
        video: path; in a manifest relative to its folder, or absolute.
        text: the caption that it should show.
        role, place, index, misalignment: see `Order`.
        duration: seconds.
        seed: of its noise; None where another program made it.
        generator: what made it, with all settings and versions.
        weight: how far to trust it (`data/synthetic_weights.py`); None where nobody has said.
        weighing: scores, strategy and models behind the weight.
    """

    video: str
    text: str
    role: Role
    place: int
    index: int
    duration: float
    misalignment: str | None = None
    seed: int | None = None
    generator: Mapping[str, Any] = field(default_factory=dict)
    weight: float | None = None
    weighing: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def made(
        cls, order: Order, video: str | Path, duration: float, generator: Mapping[str, Any], seed: int | None
    ) -> Synthetic:
        """The answer to an order."""
        told = {name: getattr(order, name) for name in ("text", "role", "place", "index", "misalignment")}
        return cls(video=str(video), duration=duration, seed=seed, generator=generator, **told)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest; what is not known is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None and value != {}}

    @staticmethod
    def from_json(value: Any) -> Synthetic:
        """The video of a parsed JSON object.

        Raises:
            DataError: keys that are missing or unknown, or a role that does not exist.
        """
        if not isinstance(value, dict):
            raise DataError(f"a synthetic video must be an object, not {type(value).__name__}")
        known = {each.name for each in fields(Synthetic)}
        required = {"video", "text", "role", "place", "index", "duration"}
        if wrong := (required - value.keys()) | (value.keys() - known):
            raise DataError(f"a synthetic video lacks or does not know {', '.join(sorted(wrong))}")
        if value["role"] not in get_args(Role):
            raise DataError(f"a synthetic video's role must be negative or positive, not {value['role']!r}")
        return Synthetic(**value)


def orders(rows: Iterable[Row], captions: Which = "negative", per_caption: int = 1) -> list[Order]:
    """The videos wanted of a manifest, in its order.

    Raises:
        UsageError: no such kind of captions, or `per_caption` below 1.
        DataError: `meta.negatives` is no list of objects with text; or no row has such a caption.
    """
    if captions not in get_args(Which):
        raise UsageError(f"captions {captions!r} are not known; there are {', '.join(get_args(Which))}")
    if per_caption < 1:
        raise UsageError(f"at least one video a caption must be wanted, not {per_caption}")
    found = [
        replace(each, index=index)
        for row in rows
        for each in _of_row(row)
        if captions in ("all", each.role)
        for index in range(per_caption)
    ]
    if not found:
        raise DataError(f"no row has a caption of kind {captions!r}; negatives come from `mova data contrast`")
    return found


def _of_row(row: Row) -> Iterable[Order]:
    """First orders of a row's negatives, then of its captions."""
    of = str(row.meta.get("of", row.id))
    negatives = row.meta.get("negatives", [])
    if not isinstance(negatives, list):
        raise DataError(f"row {row.id!r}: 'negatives' must be a list")
    for place, negative in enumerate(negatives):
        text = negative.get("text") if isinstance(negative, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"row {row.id!r}: negative {place} has no text")
        yield Order(row.id, "negative", place, 0, text.strip(), negative.get("misalignment"), of)
    for place, caption in enumerate(row.captions):
        yield Order(row.id, "positive", place, 0, caption.text.strip(), None, of)


def synthetic_videos(row: Row) -> list[Synthetic]:
    """The synthetic videos of a row.

    Raises:
        DataError: `meta.synthetic` is something else.
    """
    listed = row.meta.get("synthetic", [])
    if not isinstance(listed, list):
        raise DataError(f"row {row.id!r}: 'synthetic' must be a list")
    try:
        return [Synthetic.from_json(value) for value in listed]
    except DataError as error:
        raise DataError(f"row {row.id!r}: {error}") from error


def with_synthetic(row: Row, videos: Sequence[Synthetic]) -> Row:
    """A row with these synthetic videos instead of those that it had."""
    meta = {key: value for key, value in row.meta.items() if key != "synthetic"}
    if videos:
        meta["synthetic"] = [each.to_json() for each in videos]
    return replace(row, meta=meta)


def joined(rows: Sequence[Row], made: Mapping[str, Sequence[Synthetic]]) -> list[Row]:
    """Rows with more synthetic videos, by row id; one whose file a row has already takes the old one's place."""
    found = []
    for row in rows:
        new = made.get(row.id, ())
        fresh = {each.video for each in new}
        kept = [each for each in synthetic_videos(row) if each.video not in fresh]
        found.append(with_synthetic(row, [*kept, *new]))
    return found
