"""Scores of many texts with many videos, filled video by video, in a temporary file if they are large.

Shape legend: Q texts, N videos.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mova.errors import UsageError

IN_MEMORY = 1 << 28
"""Bytes of scores that are held in memory; more are in a temporary file, of which the system holds what fits."""

_F32 = npt.NDArray[np.float32]


class ScoreTable:
    """Scores (Q, N), float32, stored by video: a video's scores with all texts lie together. NaN until they are set.

    Args:
        texts: Q.
        videos: N.

    Raises:
        UsageError: the file for temporary data has no room for the table.

    >>> table = ScoreTable(texts=3, videos=2)
    >>> table.set(1, np.array([0.1, 0.2, 0.3], np.float32))
    >>> table.keep(texts=[0, 2], videos=[1])
    array([[0.1],
           [0.3]], dtype=float32)
    """

    def __init__(self, texts: int, videos: int) -> None:
        size = 4 * texts * videos
        self._rows: _F32
        if size <= IN_MEMORY:
            self._rows = np.full((videos, texts), np.nan, dtype=np.float32)
            return
        with tempfile.TemporaryFile(prefix="mova-scores-") as file:
            _reserve(file.fileno(), size)
            self._rows = np.frombuffer(mmap.mmap(file.fileno(), size), dtype=np.float32).reshape(videos, texts)
        for row in self._rows:
            row[:] = np.nan

    def set(self, video: int, scores: npt.ArrayLike) -> None:
        """Set the scores (Q,) of a video."""
        self._rows[video] = scores

    def keep(self, texts: Sequence[int], videos: Sequence[int]) -> _F32:
        """Return the scores of some texts and videos, in ascending order. The table is used up: the others are lost."""
        everything = len(texts) == self._rows.shape[1]
        if everything and len(videos) == len(self._rows):
            return self._rows.T
        for place, video in enumerate(videos):  # never behind what is still to be read: videos[place] >= place
            self._rows[place, : len(texts)] = self._rows[video] if everything else self._rows[video][texts]
        return self._rows[: len(videos), : len(texts)].T


def _reserve(file: int, size: int) -> None:
    """Set the size of a file, with its space on disk where the system can (a full disk then is an error at once)."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
        else:
            os.ftruncate(file, size)
    except OSError as error:
        folder, cause = tempfile.gettempdir(), error.strerror
        raise UsageError(
            f"the scores take {size / 1e9:.1f} GB, and {folder} has no room for them ({cause}); "
            "set TMPDIR to a folder that has"
        ) from error
