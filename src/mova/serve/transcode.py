"""Cut and re-encode a part of a video in a process of its own, which is ended if it takes too long."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from mova.serve.cache import DiskCache
from mova.serve.catalog import Catalog, Entry, descriptor_path
from mova.serve.problems import Busy, NotFound, Problem

AT_ONCE = 2
WAIT = 60.0
"""Seconds that a request may wait for its turn."""
START_SECONDS, SECONDS_PER_SECOND = 60.0, 10.0
"""Time limit of a process: for its start, and per second of video."""
LONGEST = 600.0
"""Longest clip, in seconds."""
MAIN = "from mova.serve.clip_process import main; sys.exit(main(sys.argv[1:]))"
PREVIEW_SIDE = 540
"""Pixels of the shorter side of a preview."""


class Transcoder:
    """Makes previews and clips, kept on disk. It may be used by several threads."""

    def __init__(self, catalog: Catalog, cache: DiskCache) -> None:
        self._catalog, self._cache = catalog, cache
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """End the running processes."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for process in running:
            process.kill()

    def clip(self, entry: Entry, start: float, end: float, short_side: int | None = None) -> Path:
        """Return an MP4 file (H.264, AAC) of `[start, end)`.

        Raises:
            NotFound: the file cannot be decoded there.
            Problem: the range is not valid, the file is gone or has changed, or too much is asked at once.
        """
        end = min(end, entry.record.duration)
        if not 0 <= start < end:
            raise Problem(f"{entry.name}: a clip needs 0 <= start < end within {entry.record.duration:.3f} s")
        if end - start > LONGEST:
            raise Problem(f"{entry.name}: a clip has at most {LONGEST:g} s, not {end - start:.0f}")
        key = f"clip {entry.record.content} {start:.3f} {end:.3f} {short_side}"
        return self._cache.get(key, ".mp4", lambda path: self._make(entry, path, start, end, short_side))

    def _make(self, entry: Entry, target: Path, start: float, end: float, short_side: int | None) -> None:
        if not self._turns.acquire(timeout=WAIT):
            raise Busy("too many clips are asked for at once; try again")
        try:
            with self._catalog.file(entry) as file:
                source = descriptor_path(file.fileno()) or entry.record.path
                words = [source, str(target), repr(start), repr(end), str(short_side or 0)]
                code, text = self._run(words, START_SECONDS + SECONDS_PER_SECOND * (end - start))
        finally:
            self._turns.release()
        if code is None:
            raise Busy(f"{entry.name}: this part takes too long to convert")
        if code:
            cause = text.replace(f"{source}: ", "").replace(source, entry.name)
            raise NotFound(f"{entry.name}: {cause or 'this part cannot be decoded'}")

    def _run(self, words: list[str], limit: float) -> tuple[int | None, str]:
        """Run the process; return its exit code (None if it was ended for its time) and its last line."""
        with self._lock:
            if self._closed:
                raise Busy("the service is stopping")
            process = subprocess.Popen(
                [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {MAIN}", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            self._running.add(process)
        try:
            output, _ = process.communicate(timeout=limit)
            return process.returncode, output.decode(errors="replace").strip()[-300:]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None, ""
        finally:
            with self._lock:
                self._running.discard(process)
