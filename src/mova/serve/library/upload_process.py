"""The process that decodes a file from a client, with limits, before anything else reads it."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

from mova.errors import VideoError
from mova.serve.files.children import report_failure
from mova.video.container import open_video, video_errors
from mova.video.frame_converter import is_picture
from mova.video.probe import probe
from mova.video.reader import stream

MEMORY = 6 << 30
"""Bytes that the process may allocate: enough to decode 8K."""
SECONDS = 90
"""Of the processor."""
LOOKED_AT = 10.0
"""Seconds of video that are decoded."""


def main(words: list[str]) -> int:
    """Decode the beginning of a file; on failure print the cause.

    Args:
        words: the file.
    """
    os.nice(5)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes nothing
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    return report_failure(lambda: _decode(words[0]))


def _decode(path: str) -> None:
    probe(path)
    with video_errors(path), open_video(path, threads=1) as (container, _):
        if is_picture(container):
            raise VideoError(path, "is a picture, not a video")
    frames = sum(len(part) for part in stream(path, fps=1.0, end=LOOKED_AT, short_side=64, threads=1))
    if not frames:
        raise VideoError(path, "shows no picture")
