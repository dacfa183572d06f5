"""The process that cuts one clip for `mova.serve.files.transcode`."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

from mova.serve.files.children import report_failure
from mova.video.writer import cut_clip

MEMORY = 6 << 30
"""Bytes that the process may allocate: enough to decode 8K."""
LARGEST = 2 << 30
"""Largest file that the process may write, in bytes."""


def main(words: list[str]) -> int:
    """Cut one clip; on failure print the cause.

    Args:
        words: source, target, start and end in seconds, pixels of the shorter side (0: those of the source).
    """
    os.nice(5)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    source, target, start, end, side = words
    return report_failure(
        lambda: cut_clip(source, target, float(start), float(end), short_side=int(side) or None, crf=24)
    )
