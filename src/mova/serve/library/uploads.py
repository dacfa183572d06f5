"""Files that clients send: kept apart until a process with limits has decoded them, then a job indexes them."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path, PurePath

from anyio import to_thread

from mova.serve.files.children import Children
from mova.serve.problems import Busy, Problem
from mova.utils.files import SUFFIXES, shorten_name

QUARANTINE = ".quarantine"
"""Folder, inside of that for uploads, for files that have not been checked; hidden files are not indexed."""
AT_ONCE = 2
CHECK_SECONDS = 120.0
RESERVE = 1 << 30
"""Bytes of the disk that stay free."""
NAME_BYTES = 200


class Uploads:
    """Takes files into a folder. Its coroutines run in one thread.

    Args:
        folder: for files that were checked; None if uploads are off.
        most: largest file, in bytes.
        children: runs the process that decodes.
    """

    def __init__(self, folder: Path | None, most: int, children: Children) -> None:
        self._folder, self.most, self._children = folder, most, children
        self._open = 0

    def start(self) -> None:
        """Make the folders, and remove what an earlier run left unchecked."""
        if self._folder is not None:
            quarantine = self._folder / QUARANTINE
            quarantine.mkdir(parents=True, exist_ok=True, mode=0o700)
            for left in quarantine.iterdir():
                with suppress(OSError):
                    left.unlink()

    async def take(self, name: str, size: int | None, parts: AsyncIterator[bytes]) -> Path:
        """Receive and check one file; return where it is now.

        Args:
            name: file name that the client proposes; only its last part is used.
            size: number of bytes that the client announces.
            parts: the content.

        Raises:
            Problem: uploads are off, the name has no suffix of videos, the file is too large or is not a video, or the
                disk is full.
            Busy: too many files are sent at once.
        """
        folder, target = self._folder, safe_name(name)
        if folder is None:
            raise Problem("uploads are off; the service offers them with `mova serve --uploads DIR`", 403)
        if size is None:
            raise Problem("the length of the file is missing", 411)
        self._require_room(folder, size)
        if self._open >= AT_ONCE:
            raise Busy("other files are being sent; try again when they are there")
        self._open += 1
        kept = folder / QUARANTINE / secrets.token_hex(12)
        try:
            await self._receive(kept, size, parts)
            failure = await to_thread.run_sync(
                self._children.run, "mova.serve.library.upload_process", [str(kept)], CHECK_SECONDS
            )
            if failure is not None:
                cause = failure.cause.replace(f"{kept}: ", "").replace(str(kept), target)
                raise Problem(f"{target}: {cause}", 415 if failure.status == 404 else failure.status)
            return await to_thread.run_sync(_release, kept, folder, target)
        finally:
            self._open -= 1
            kept.unlink(missing_ok=True)

    def _require_room(self, folder: Path, size: int) -> None:
        if size > self.most:
            raise Problem(f"the file has {size:,} bytes; at most {self.most:,} are taken", 413)
        if shutil.disk_usage(folder).free < size + RESERVE:
            raise Problem("there is no room for this file on the disk of the service", 507)

    async def _receive(self, kept: Path, size: int, parts: AsyncIterator[bytes]) -> None:
        descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        written = 0
        with os.fdopen(descriptor, "wb") as file:
            async for part in parts:
                written += len(part)
                if written > size:
                    raise Problem("the file is longer than was announced", 400)
                await to_thread.run_sync(file.write, part)
        if written != size:
            raise Problem(f"the file is not complete: {written:,} of {size:,} bytes", 400)


def safe_name(name: str) -> str:
    """Return a file name that can be used in a folder: the last part of what was proposed, without control characters.

    Raises:
        Problem: it does not end as the name of a video.

    Example:
        >>> safe_name("../../etc/beach.MP4"), safe_name("a\\\\b\\x00.mkv"), safe_name(".mp4")
        ('beach.MP4', 'b.mkv', 'video.mp4')
    """
    last = "".join(char for char in PurePath(name.replace("\\", "/")).name if char.isprintable()).strip()
    stem, suffix = os.path.splitext(last)
    if not suffix and last.startswith("."):
        stem, suffix = "", last
    if suffix.lower() not in SUFFIXES:
        raise Problem(f"{last or 'the file'}: does not end as videos do (.mp4, .mkv, .webm, ...)", 415)
    return (shorten_name(stem.lstrip(". "), NAME_BYTES) or "video") + suffix


def _release(kept: Path, folder: Path, name: str) -> Path:
    """Move a checked file out of the quarantine, under a name that is free; nothing is replaced."""
    stem, suffix = os.path.splitext(name)
    for number in range(1, 10_000):
        target = folder / (name if number == 1 else f"{stem} ({number}){suffix}")
        try:
            os.link(kept, target)
        except FileExistsError:
            continue
        except OSError:  # a file system without links
            if target.exists():
                continue
            shutil.copyfile(kept, target)
        os.chmod(target, 0o644)
        return target
    raise Problem(f"{name}: there are too many files of this name", 409)
