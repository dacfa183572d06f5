"""Errors of an index's files: damaged, not readable, no space to write. One message each, no foreign traceback."""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from mova.errors import IndexMismatchError, MovaError
from mova.search.storage.checksums import NAME as CHECKSUMS
from mova.utils.files import local_folder

FOREIGN = (
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    ArithmeticError,
)
"""Errors that LanceDB, pyarrow and NumPy raise for files that are not as they were written."""

CAUSE_CHARACTERS = 160


class IndexDamagedError(IndexMismatchError):
    """A file of an index was changed, cut off or deleted, or stored values are not possible."""

    def __init__(self, uri: str, cause: str) -> None:
        super().__init__(
            f"{uri}: the index is damaged ({cause}). Delete this folder and make it again with "
            f"`mova index PATH... --index {uri}`; `mova index --verify --index {uri}` lists what is wrong"
        )
        self.uri = uri
        self.cause = cause


class IndexVanishedError(MovaError):
    """The folder of an index that was open is not there any more: its drive was removed, or it was moved."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            f"{uri}: the index is not there any more. Is the drive mounted, or was the folder moved? Nothing that was "
            "finished is lost: when it is back, run the same command again"
        )
        self.uri = uri


class _HasPath(Protocol):
    @property
    def path(self) -> str: ...


class FixedState:
    """A reader of one state of an index, which nobody changes: what is missing there is damage."""

    uri: str

    def require_complete(self, rows: int) -> None:
        """Raise: the records name more frames than the state has.

        Raises:
            IndexDamagedError: always.
        """
        raise IndexDamagedError(self.uri, f"stored frames are missing, only {rows} are left")

    def require_removed(self, record: _HasPath) -> None:
        """Raise: the record is still there.

        Raises:
            IndexDamagedError: always.
        """
        raise IndexDamagedError(self.uri, f"the stored frames of {record.path} are not complete")


class _HasUri(Protocol):
    uri: str


_Owner = TypeVar("_Owner", bound=_HasUri)
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def guarded(
    method: Callable[Concatenate[_Owner, _Arguments], _Result],
) -> Callable[Concatenate[_Owner, _Arguments], _Result]:
    """Convert the foreign errors of a method of an object that has a `uri`; see `index_errors`."""

    @functools.wraps(method)
    def call(self: _Owner, *args: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        with index_errors(self.uri):
            return method(self, *args, **options)

    return call


def steady(
    method: Callable[Concatenate[_Owner, _Arguments], _Result],
) -> Callable[Concatenate[_Owner, _Arguments], _Result]:
    """Repeat a method once if the index seems damaged: the end of a run elsewhere removes files that it superseded."""

    @functools.wraps(method)
    def call(self: _Owner, *args: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        """Call the method, at most twice."""
        try:
            return method(self, *args, **options)
        except IndexDamagedError:
            return method(self, *args, **options)

    return call


@contextmanager
def index_errors(uri: str) -> Iterator[None]:
    """Convert the errors that reading and writing an index's files can raise.

    Raises:
        IndexDamagedError: the files are not as they were written.
        IndexVanishedError: the folder is missing or empty, as the mount point of a drive that was removed.
        MovaError: there is no space, no permission, another writer, or no connection.
    """
    try:
        yield
    except IndexDamagedError as error:
        if is_vanished(uri):
            raise IndexVanishedError(uri) from error
        raise
    except MovaError:
        raise
    except FOREIGN as error:
        raise _converted(uri, error) from error
    except BaseException as error:  # of Rust code and of pyarrow: by name, so that pyarrow is not imported here
        bases = {base.__name__ for base in type(error).__mro__}
        if "PanicException" in bases:
            raise (IndexVanishedError(uri) if is_vanished(uri) else IndexDamagedError(uri, _short(error))) from error
        if "ArrowException" in bases:
            raise _converted(uri, error) from error
        raise


def _converted(uri: str, error: BaseException) -> MovaError:
    text = str(error).lower()
    codes = {error.errno} if isinstance(error, OSError) else set()
    codes |= {
        code for code in {*NOTED, *UNREACHABLE} if os.strerror(code).lower() in text or f"os error {code})" in text
    }
    for code, advice in NOTED.items():
        if code in codes:
            return MovaError(f"{uri}: {os.strerror(code)}; {advice}. The index is sound, run the same command again")
    if is_vanished(uri):
        return IndexVanishedError(uri)
    for code in UNREACHABLE & codes:
        return MovaError(
            f"{uri}: {os.strerror(code)}; the drive or network folder does not answer. Check that it is connected and "
            "without errors, and run the same command again"
        )
    if "commit conflict" in text or "too many concurrent writers" in text:
        return MovaError(f"{uri}: another process wrote to this index at the same time; run this again")
    if "://" in uri and not uri.startswith("file:"):
        return MovaError(f"{uri}: cannot be read or written ({_short(error)}); check the connection, or make it again")
    return IndexDamagedError(uri, _short(error))


NOTED = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "the limit on file sizes is too low",
    errno.EACCES: "check the permissions of the folder",
    errno.EPERM: "check the permissions of the folder",
    errno.EROFS: "write to another folder",
    errno.EMFILE: "allow more open files (`ulimit -n`)",
    errno.ENFILE: "allow more open files",
}
"""Errors of the system that say nothing about the files, and what to do."""


UNREACHABLE = frozenset(
    {errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN}
)
"""Errors of the system for a drive or a network folder that was removed, or that has faults."""


def is_vanished(uri: str) -> bool:
    """Return whether a local index has no folder, or one with neither checksums nor a version of a table."""
    folder = local_folder(uri)
    if folder is None:
        return False
    try:
        return not (folder / CHECKSUMS).exists() and not any(folder.glob("*.lance/_versions/*.manifest"))
    except OSError:
        return True


SOURCE = re.compile(r", /\S+\.rs:\d+")
"""Where Rust libraries name a line of their source code."""


def _short(error: BaseException) -> str:
    """Return the first words of a foreign message, on one line, without addresses of source code."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = SOURCE.split(text.removeprefix("lance error: "), maxsplit=1)[0]
    return text if len(text) <= CAUSE_CHARACTERS else text[: CAUSE_CHARACTERS - 3] + "..."
