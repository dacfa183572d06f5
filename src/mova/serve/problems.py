"""Errors with a status code, for people and programs that use the service."""

from __future__ import annotations

from mova.errors import MovaError


class Problem(MovaError):
    """A request that cannot be answered. The text is meant for a person; `status` is the status code of HTTP."""

    status = 400

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status


class NotFound(Problem):
    """There is no such thing, or it is no longer in the index."""

    status = 404


class Changed(Problem):
    """A file is no longer the one that was indexed."""

    status = 409


class Gone(Problem):
    """A file was moved or deleted since it was indexed."""

    status = 410


class Busy(Problem):
    """Too much is asked at once."""

    status = 503
