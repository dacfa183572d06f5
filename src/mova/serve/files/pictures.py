"""Thumbnails: the frame on display at a time, decoded in a process that can be ended, kept on disk."""

from __future__ import annotations

import io
import threading
from pathlib import Path

from PIL import Image

from mova.errors import MovaError, VideoError
from mova.serve.files.cache import DiskCache
from mova.serve.library.catalog import Catalog, Entry, descriptor_path
from mova.serve.problems import Busy, NotFound
from mova.types import Pixels
from mova.video.isolated import Isolated

DECODERS = 2
"""Files decoded at once."""
TIME_LIMIT = 20.0
"""Seconds without progress after which a decoder is ended."""
WAIT = 30.0
"""Seconds that a thumbnail may wait for its turn."""
HEIGHTS = (180, 360)
"""Pixels of the shorter side, ascending."""
QUALITY = 82
SLIVER = 0.04
"""Seconds before the end of a video at which its last thumbnail is taken."""


class Pictures:
    """Makes thumbnails. It may be used by several threads. Close it at the end."""

    def __init__(self, catalog: Catalog, cache: DiskCache) -> None:
        self._catalog, self._cache = catalog, cache
        self._decoder = Isolated(TIME_LIMIT)
        self._turns = threading.BoundedSemaphore(DECODERS)

    def close(self) -> None:
        """End the decoding processes."""
        self._decoder.close()

    def thumbnail(self, entry: Entry, time: float, height: int) -> Path:
        """Return a JPEG file of the frame on display at a time (seconds), `height` pixels on its shorter side.

        Raises:
            NotFound: there is no picture at this time, or the file cannot be decoded.
            Problem: the file is gone or has changed, or too much is asked at once.
        """
        time = round(min(max(0.0, time), max(0.0, entry.record.duration - SLIVER)), 2)
        key = f"thumbnail {entry.record.content} {time:.2f} {height}"
        return self._cache.get(key, ".jpg", lambda path: path.write_bytes(self._jpeg(entry, time, height)))

    def rate(self, entry: Entry) -> float:
        """Return the frames per second of a video.

        Raises:
            NotFound: the file cannot be decoded.
            Problem: the file is gone or has changed.
        """
        with self._catalog.file(entry) as file:
            path = descriptor_path(file.fileno()) or entry.record.path
            try:
                return self._decoder.probe(path).fps
            except VideoError as error:
                raise NotFound(f"{entry.name}: {error.cause.replace(path, entry.name)}") from error

    def _jpeg(self, entry: Entry, time: float, height: int) -> bytes:
        if not self._turns.acquire(timeout=WAIT):
            raise Busy("too many pictures are asked for at once; try again")
        try:
            pixels = self._decode(entry, time, height)
        finally:
            self._turns.release()
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY, optimize=True, progressive=True)
        return buffer.getvalue()

    def _decode(self, entry: Entry, time: float, height: int) -> Pixels:
        with self._catalog.file(entry) as file:
            path = descriptor_path(file.fileno()) or entry.record.path
            try:
                # A rate with one sample in the range: the answer is read to its end, so the process lives on.
                parts = list(
                    self._decoder.stream(path, fps=1.0, start=time, end=time + 0.5, short_side=height, threads=1)
                )
            except VideoError as error:
                raise NotFound(f"{entry.name}: {error.cause.replace(path, entry.name)}") from error
            except MovaError as error:
                raise Busy(f"{entry.name}: no picture ({error})") from error
        if not parts or not len(parts[0]):
            raise NotFound(f"{entry.name}: shows no picture at {time:.2f} s")
        return parts[0].pixels[0]
