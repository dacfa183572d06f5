"""The process that draws one timeline for `mova.serve.aligner`; the timeline comes on standard input."""

from __future__ import annotations

import os
import pickle
import resource
import sys
from contextlib import suppress

from mova.plots.timeline import draw
from mova.serve.files.children import report_failure

MEMORY = 6 << 30
"""Bytes that the process may allocate: enough to decode 8K."""


def main(words: list[str]) -> int:
    """Draw a timeline; on failure print the cause.

    Args:
        words: the PNG file to write.
    """
    os.nice(5)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    timeline = pickle.loads(sys.stdin.buffer.read())  # of the service, never of a client
    return report_failure(lambda: draw(timeline, words[0]))
