"""Videos of a manifest through one callable, each clip once, a bounded number of them held at a time.

A clip that cannot be read takes no part and is named with its cause; nothing stands in for it. Rows that show the same
clip (questions about one video, say) share one pass.

Shape legend: T frames, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mova.data.concat import VideoConcat
from mova.data.manifest import Row, Segment
from mova.errors import VideoError
from mova.models.encoder import DualEncoder, VideoEmbedding

EncodeRow = Callable[[Row], Any]
"""A row's clip as its form of scoring takes it (a `VideoEmbedding`, for two towers), with `times` in seconds of the
file; raises `VideoError` where it cannot be read."""
Progress = Callable[[int, int], None]
"""(clips done, of how many)."""
Group = list[tuple[Any, list[Row]]]
"""Clips held together, each with the rows that show it."""

GROUP_CLIPS = 32
GROUP_FRAMES = 8192
"""A group of clips is passed on when it has so many clips or frames: 25 MB of vectors at width 768."""


def decode_rows(model: DualEncoder, folder: str | Path, fps: float | None = None) -> Callable[[Row], VideoEmbedding]:
    """The callable that decodes: the whole file of a row, the frames of its clip, or of all its parts.

    Args:
        model: encodes.
        folder: of the manifest; paths of rows start there.
        fps: frames a second to look at; the model's own rate if left out.

    Raises:
        UsageError: a rate that the model does not understand.
    """
    model.sampling_rate(fps)

    def encode(row: Row) -> VideoEmbedding:
        """Raises VideoError where a file cannot be read."""
        if row.parts:
            return model.encode_video(VideoConcat.of(row.parts, folder), fps)
        return model.encode_video(Path(folder) / row.video, fps, row.start or 0.0, row.end)

    return encode


def encode_groups(
    rows: Sequence[Row],
    encode: EncodeRow,
    broken: dict[str, str],
    progress: Progress | None = None,
    in_flight: int = GROUP_CLIPS,
) -> Iterator[Group]:
    """Every distinct clip of the rows once, in order of appearance.

    Args:
        rows: of one manifest.
        encode: see `EncodeRow`.
        broken: takes the id of every row whose clip cannot be read, with the cause.
        progress: told after every clip.
        in_flight: clips in a group.

    Yields:
        Groups that are never empty; memory is that of two groups at most, one in use and one that fills.
    """
    clips: dict[tuple[Segment, ...], list[Row]] = {}
    for row in rows:
        clips.setdefault(row.parts or (Segment(row.video, row.start or 0.0, row.end),), []).append(row)
    group: Group = []
    frames = 0
    for done, shown in enumerate(clips.values(), start=1):
        try:
            embedding = encode(shown[0])
        except VideoError as error:
            broken.update((row.id, error.cause) for row in shown)
        else:
            group.append((embedding, shown))
            frames += len(embedding.times)
        if len(group) >= in_flight or frames >= GROUP_FRAMES:
            yield group
            group, frames = [], 0
        if progress is not None:
            progress(done, len(clips))
    if group:
        yield group
