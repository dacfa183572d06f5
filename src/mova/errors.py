"""Errors for people: what was done, where, and what to do about it.

Every error that a user can cause derives from `MovaError`; its text is one complete message, and the command line
prints it without a traceback. Errors of ours (broken invariants) stay ordinary `AssertionError`s.
"""

from __future__ import annotations

from pathlib import Path


class MovaError(Exception):
    """Base of all errors whose text is meant for a person. `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(MovaError, ValueError):
    """The request itself is wrong (an unknown name, a negative duration, ...)."""

    exit_code = 2


class VideoError(MovaError):
    """A file cannot be read as video. Carries the path and the cause."""

    def __init__(self, path: str | Path, cause: str) -> None:
        super().__init__(f"{path}: {cause}")
        self.path = str(path)
        self.cause = cause

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        return (type(self), (self.path, self.cause))


class NoVideoError(VideoError):
    """A file can be opened and holds no video stream (sound alone, say)."""


class ModelError(MovaError):
    """A model cannot be found, loaded or used as asked."""


class IndexMismatchError(MovaError):
    """An index or a feature store was built with another model, preprocessing or sampling than the one asked for."""


class DataError(MovaError):
    """A manifest, an annotation or a training set does not hold what it must."""
