"""Encode the videos of a manifest, each clip once, a bounded number of them in memory at a time.

Unreadable clips are excluded and reported with the reason; they are never replaced. Rows of the same clip, such as
several questions about one video, share one pass.

Shape legend: T frames, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mova.data.concat import concat_files
from mova.data.manifest import Row, Segment
from mova.data.shards.members import video_file
from mova.errors import VideoError
from mova.models.encoder import DualEncoder, VideoEmbedding

EncodeRow = Callable[[Row], Any]
"""Encodes a row's clip for a scoring form (two-tower models: a `VideoEmbedding`), with `times` in seconds of the file;
raises `VideoError` if the clip cannot be read."""
Progress = Callable[[int, int], None]
"""(clips done, total)."""
Group = list[tuple[Any, list[Row]]]
"""Clips held together, each with its rows."""

GROUP_CLIPS = 32
GROUP_FRAMES = 8192
"""A group is complete at this many clips or frames: 25 MB of vectors at width 768."""


def decode_rows(model: DualEncoder, folder: str | Path, fps: float | None = None) -> Callable[[Row], VideoEmbedding]:
    """Return a function that decodes and encodes a row: the whole file, the frames of its clip, or all its parts.

    Args:
        model: encodes.
        folder: of the manifest; paths of rows are relative to it.
        fps: frames per second to sample. Default: the model's own rate.

    Raises:
        UsageError: the model does not support this rate.
    """
    model.sampling_rate(fps)

    def encode(row: Row) -> VideoEmbedding:
        """Decode and encode the clip of a row; several parts are encoded as one video."""
        if row.parts:
            with concat_files(row.parts, folder) as concat:
                return model.encode_video(concat, fps)
        with video_file(Path(folder) / row.video) as path:
            return model.encode_video(path, fps, row.start or 0.0, row.end)

    return encode


def encode_groups(
    rows: Sequence[Row],
    encode: EncodeRow,
    broken: dict[str, str],
    progress: Progress | None = None,
    in_flight: int = GROUP_CLIPS,
) -> Iterator[Group]:
    """Encode every distinct clip of the rows once, in order of appearance.

    Args:
        rows: of one manifest.
        encode: see `EncodeRow`.
        broken: receives the id of every row whose clip cannot be read, with the reason.
        progress: called after every clip.
        in_flight: clips per group.

    Yields:
        Non-empty groups. Memory holds two groups at most: one in use and one being filled.
    """
    clips: dict[tuple[Segment, ...], list[Row]] = {}
    for row in rows:
        clips.setdefault(row.parts or (Segment(row.video, row.start or 0.0, row.end),), []).append(row)
    group: Group = []
    frames = 0
    for done, clip_rows in enumerate(clips.values(), start=1):
        try:
            embedding = encode(clip_rows[0])
        except VideoError as error:
            broken.update((row.id, error.cause) for row in clip_rows)
        else:
            group.append((embedding, clip_rows))
            frames += len(embedding.times)
        if len(group) >= in_flight or frames >= GROUP_FRAMES:
            yield group
            group, frames = [], 0
        if progress is not None:
            progress(done, len(clips))
    if group:
        yield group
