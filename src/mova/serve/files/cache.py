"""Files that can be made again, kept on disk up to a limit: those not used for longest go first."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mova.errors import UsageError


class DiskCache:
    """A folder of files by key. It may be used by several threads; each key is made by one of them at a time.

    Args:
        folder: created if it does not exist; files left by an earlier run are used.
        limit: bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder}: cannot create this folder ({error.strerror}); choose another one") from error
        self._lock = threading.Lock()
        self._making: dict[str, tuple[threading.Lock, int]] = {}
        for part in folder.glob("*.part"):
            part.unlink(missing_ok=True)
        self._bytes = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._bytes

    def get(self, key: str, suffix: str, make: Callable[[Path], object]) -> Path:
        """Return the file of a key; if it is not there, `make` writes it to the path that it is given."""
        path = self._folder / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}{suffix}"
        with self._alone(path.name):
            if path.is_file():
                with suppress(OSError):
                    os.utime(path)
                return path
            part = path.with_name(f"{path.name}.part")
            try:
                make(part)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
            with self._lock:
                self._bytes += path.stat().st_size
                if self._bytes > self._limit:
                    self._shrink(path)
            return path

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Let one thread at a time make a file."""
        with self._lock:
            lock, users = self._making.get(name, (threading.Lock(), 0))
            self._making[name] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                users = self._making[name][1] - 1
                if users:
                    self._making[name] = lock, users
                else:
                    del self._making[name]

    def _shrink(self, newest: Path) -> None:
        """Remove the files that were not used for longest, to three quarters of the limit."""
        files = []
        for file in self._folder.iterdir():
            with suppress(OSError):
                status = file.stat()
                files.append((status.st_mtime_ns, status.st_size, file))
        self._bytes = sum(size for _, size, _ in files)
        for _, size, file in sorted(files, key=lambda row: row[0]):
            if self._bytes <= self._limit * 3 // 4:
                return
            if file != newest and file.suffix != ".part":
                file.unlink(missing_ok=True)
                self._bytes -= size
