"""Errors meant for people: what went wrong, where, and what to do about it.

Every error that a user can cause derives from `MovaError`. Its text is one complete message, and the command line
prints it without a traceback. Bugs in mova (broken invariants) raise ordinary `AssertionError`s.
"""

from __future__ import annotations

from pathlib import Path


class MovaError(Exception):
    """Base class of all errors whose text is meant for a person. `exit_code` is the exit code of the command line."""

    exit_code = 1


class UsageError(MovaError, ValueError):
    """The request itself is wrong (an unknown name, a negative duration, ...)."""

    exit_code = 2


class VideoError(MovaError):
    """A file cannot be read as video. The path and the cause are attributes.

    Example:
        >>> print(VideoError("a.mp4", "the file is empty (0 bytes); copy or download it again"))
        a.mp4: the file is empty (0 bytes); copy or download it again
    """

    def __init__(self, path: str | Path, cause: str) -> None:
        super().__init__(f"{path}: {cause}")
        self.path = str(path)
        self.cause = cause

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        return (type(self), (self.path, self.cause))


class NoVideoError(VideoError):
    """A file can be opened but has no video stream (only sound, for example)."""


class ModelError(MovaError):
    """A model cannot be found, loaded or used as asked."""


class IndexMismatchError(MovaError):
    """An index or a feature store was built with another model, preprocessing or sampling than requested."""


class DataError(MovaError):
    """A manifest, an annotation file or a training set has missing or invalid content."""


def refused_pickle(name: object) -> ModelError:
    """Return the error of a model whose weights are a pickle that holds more than weights; PyTorch does not run it."""
    return ModelError(
        f"{name}: its weights are a pickle (pytorch_model.bin) that is damaged or asks to run code, which was not run; "
        "use a checkpoint with model.safetensors, from a source that you trust"
    )
