"""Synthetic videos in a manifest: which captions to render, and the records of rendered videos.

A row's synthetic videos are in `meta.synthetic`, a list with one object per video (`Synthetic`). They show the row's
captions (`positive`) or those of `meta.negatives` (`negative`); SynViTA renders the negatives (Zanella et al. 2025,
Section 3). Field names are the keys of the manifest: `place` is the index of the caption, `misalignment` the kind of a
negative.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from mova.data.manifest import Row
from mova.errors import DataError, UsageError
from mova.utils.text_files import brief

Role = Literal["negative", "positive"]
Which = Literal["negative", "positive", "all"]


@dataclass(frozen=True)
class RenderRequest:
    """A request to render one video of a caption.

    Attributes:
        row: id of the caption's row.
        role: whether the caption is false (`negative`) or true (`positive`) of the row's video.
        place: index of the caption among the row's negatives or captions.
        index: number of the video among those of this caption.
        text: the caption.
        misalignment: kind of a negative, if annotated.
        of: id of the row that a triplet was made from; otherwise the id of the row.
    """

    row: str
    role: Role
    place: int
    index: int
    text: str
    misalignment: str | None = None
    of: str = ""

    def seed(self, seed: int) -> int:
        """Return the seed of this video, a function of the run's seed, the row's id, the caption and the index.

        It has 48 bits, so that JSON readers with floating-point numbers only keep it exactly.
        """
        key = f"{seed}/{self.row}/{self.role}/{self.place}/{self.index}"
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest(), "big")


@dataclass(frozen=True)
class Synthetic:
    """A synthetic video, as stored in `meta.synthetic`.

    Attributes:
        video: path, relative to the manifest's folder, or absolute.
        text: the caption that it should show.
        role, place, index, misalignment: see `RenderRequest`.
        duration: seconds.
        seed: seed of its noise; None if another program made it.
        generator: generator, with all settings and versions.
        weight: weight in the losses (`data/synthetic_weights.py`); None if not computed.
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
    def from_request(
        cls, request: RenderRequest, video: str | Path, duration: float, generator: Mapping[str, Any], seed: int | None
    ) -> Synthetic:
        """Build the record of a rendered request."""
        values = {name: getattr(request, name) for name in ("text", "role", "place", "index", "misalignment")}
        return cls(video=str(video), duration=duration, seed=seed, generator=generator, **values)

    def to_json(self) -> dict[str, Any]:
        """Return the record as in a manifest, without unknown values."""
        return {name: value for name, value in asdict(self).items() if value is not None and value != {}}

    @staticmethod
    def from_json(value: Any) -> Synthetic:
        """Build a record from a parsed JSON object.

        Raises:
            DataError: a key is missing or unknown, or the role is invalid.
        """
        if not isinstance(value, dict):
            raise DataError(f"a synthetic video must be an object, not {type(value).__name__}")
        known = {field.name for field in fields(Synthetic)}
        required = {"video", "text", "role", "place", "index", "duration"}
        if wrong := (required - value.keys()) | (value.keys() - known):
            raise DataError(f"a synthetic video has missing or unknown keys: {', '.join(sorted(wrong))}")
        if value["role"] not in list(get_args(Role)):
            raise DataError(f"a synthetic video's role must be negative or positive, not {brief(value['role'])}")
        for name, kinds in _JSON_TYPES.items():
            if not isinstance(value.get(name), kinds):
                raise DataError(f"a synthetic video's {name!r} has an invalid value: {brief(value.get(name))}")
        return Synthetic(**value)


_JSON_TYPES: dict[str, Any] = {
    **dict.fromkeys(("video", "text"), str),
    **dict.fromkeys(("place", "index"), int),
    **dict.fromkeys(("generator", "weighing"), dict | None),
    "duration": int | float,
    "misalignment": str | None,
    "seed": int | None,
    "weight": int | float | None,
}
"""Key of a synthetic video -> its types in a manifest."""


def render_requests(rows: Iterable[Row], captions: Which = "negative", per_caption: int = 1) -> list[RenderRequest]:
    """Return the videos to render for a manifest, in its order.

    Args:
        rows: rows of the manifest.
        captions: which captions to render: negatives, positives or all.
        per_caption: number of videos per caption.

    Raises:
        UsageError: `captions` is unknown, or `per_caption` is below 1.
        DataError: `meta.negatives` is not a list of objects with text, or no row has such a caption.
    """
    if captions not in get_args(Which):
        raise UsageError(f"unknown captions {captions!r}; choose from {', '.join(get_args(Which))}")
    if per_caption < 1:
        raise UsageError(f"videos per caption must be at least 1, not {per_caption}")
    requests = [
        replace(request, index=index)
        for row in rows
        for request in _requests_of_row(row)
        if captions in ("all", request.role)
        for index in range(per_caption)
    ]
    if not requests:
        raise DataError(f"no row has a caption of kind {captions!r}; make negatives with `mova data contrast`")
    return requests


def _requests_of_row(row: Row) -> Iterable[RenderRequest]:
    """Yield requests for a row's negatives, then for its captions."""
    of = str(row.meta.get("of", row.id))
    negatives = row.meta.get("negatives", [])
    if not isinstance(negatives, list):
        raise DataError(f"row {row.id!r}: 'negatives' must be a list")
    for index, negative in enumerate(negatives):
        text = negative.get("text") if isinstance(negative, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"row {row.id!r}: negative {index} has no text")
        yield RenderRequest(row.id, "negative", index, 0, text.strip(), negative.get("misalignment"), of)
    for index, caption in enumerate(row.captions):
        yield RenderRequest(row.id, "positive", index, 0, caption.text.strip(), None, of)


def synthetic_videos(row: Row) -> list[Synthetic]:
    """Return the synthetic videos of a row.

    Raises:
        DataError: `meta.synthetic` is not a valid list.
    """
    listed = row.meta.get("synthetic", [])
    if not isinstance(listed, list):
        raise DataError(f"row {row.id!r}: 'synthetic' must be a list")
    try:
        return [Synthetic.from_json(value) for value in listed]
    except DataError as error:
        raise DataError(f"row {row.id!r}: {error}") from error


def with_synthetic(row: Row, videos: Sequence[Synthetic]) -> Row:
    """Return a row with these synthetic videos instead of its own."""
    meta = {key: value for key, value in row.meta.items() if key != "synthetic"}
    if videos:
        meta["synthetic"] = [video.to_json() for video in videos]
    return replace(row, meta=meta)


def with_added_videos(rows: Sequence[Row], added: Mapping[str, Sequence[Synthetic]]) -> list[Row]:
    """Add synthetic videos to rows; a video with the file of an existing one replaces it.

    Args:
        rows: rows of the manifest.
        added: id of a row -> its new videos.
    """
    result = []
    for row in rows:
        new = added.get(row.id, ())
        files = {video.video for video in new}
        kept = [video for video in synthetic_videos(row) if video.video not in files]
        result.append(with_synthetic(row, [*kept, *new]))
    return result
