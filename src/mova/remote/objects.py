"""Files of this machine and objects of object storage behind the same functions: state, list, read in part.

An object is named by a URI such as `s3://bucket/films/a.mp4`. It is read in blocks, as far as the container needs it:
FFmpeg skips what it does not decode.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO, cast

from mova.errors import MovaError, UsageError, object_uri
from mova.remote.blocks import Blocks, ObjectFile
from mova.remote.systems import CREDENTIALS, Status, key_of, scheme_of, system_of


def uri_of(path: str | os.PathLike[str]) -> str | None:
    """Return the URI of an object; None for a local file.

    Example:
        >>> uri_of("s3://bucket/a.mp4"), uri_of("films/a.mp4")
        ('s3://bucket/a.mp4', None)
    """
    return object_uri(path)


def argument(path: str | Path) -> str | Path:
    """Return the URI that an argument of a command was before it became a `Path`, which has one slash; else the path.

    Example:
        >>> argument(Path("s3://bucket/a.mp4"))
        's3://bucket/a.mp4'
    """
    scheme, found, rest = str(path).partition(":/")
    return (object_uri(f"{scheme}://{rest.lstrip('/')}") if found else None) or path


def absolute(path: str | os.PathLike[str]) -> str:
    """Return a URI as it is, without a slash at its end, and any other path as an absolute one; links stay.

    Example:
        >>> absolute("s3://bucket/films/"), absolute("/films/a.mp4")
        ('s3://bucket/films', '/films/a.mp4')
    """
    uri = uri_of(path)
    return os.path.abspath(path) if uri is None else uri.rstrip("/")


def status_of(path: str | os.PathLike[str]) -> Status:
    """Return the state of a file or object.

    Raises:
        OSError: it does not exist, or cannot be reached.
        MovaError: the package that reads such objects is missing, or the URI is not one.
    """
    uri = uri_of(path)
    if uri is None:
        status = os.stat(path)
        return Status(status.st_size, status.st_mtime_ns)
    found = system_of(uri).status(key_of(uri))
    if found is None:
        raise IsADirectoryError(0, "is a folder, not a video file; choose a file in it")
    return found


def list_objects(uri: str) -> dict[str, Status]:
    """Return the object of a URI, or all objects below it: URI -> state, in order. Hidden ones are left out.

    Raises:
        UsageError: there is no such object or folder.
        MovaError: the service cannot be reached or refuses, or the package that reads it is missing.
    """
    system, key = system_of(uri), key_of(uri)
    try:
        status = system.status(key)
        if status is not None:
            return {uri: status}
        prefix = uri[: len(uri) - len(key)] if key else uri
        below = {prefix + path: state for path, state in system.walk(key) if not _hidden(path[len(key) :])}
    except FileNotFoundError as error:
        raise UsageError(f"{uri}: no such object or folder in this storage") from error
    except OSError as error:
        scheme = scheme_of(uri)
        variables = f"; are the credentials set ({CREDENTIALS[scheme]})?" if scheme in CREDENTIALS else ""
        raise MovaError(f"{uri}: cannot be listed ({reason(error)}){variables}") from error
    return dict(sorted(below.items()))


def content_key(uri: str) -> str:
    """Return a key of an object's content, from what the service states; the object is not read.

    Objects with equal keys have equal content: the key is made of the entity tag and the size, and without an entity
    tag of URI, size and time.

    Raises:
        OSError: it cannot be reached.
    """
    size, version, _ = system_of(uri).open(key_of(uri))
    return hashlib.blake2b(f"{version or uri} {size}".encode(), digest_size=16).hexdigest()


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file or object for reading.

    Raises:
        OSError: it cannot be read.
    """
    uri = uri_of(path)
    return open(path, "rb") if uri is None else open_object(uri)


def open_object(uri: str) -> BinaryIO:
    """Open an object as a file that can be read and sought.

    What was read of the last objects stays in memory while they do not change.

    Raises:
        OSError: it cannot be read.
    """
    size, version, read = system_of(uri).open(key_of(uri))
    key = uri, size, version
    with _lock:
        blocks = _opened.pop(key, None) or Blocks(size, read)
        _opened[key] = blocks
        while len(_opened) > 2:
            _opened.popitem(last=False)
    return cast(BinaryIO, ObjectFile(uri, blocks))


def forget_opened() -> None:
    """Drop what was read of the last objects."""
    with _lock:
        _opened.clear()


def reason(error: OSError) -> str:
    """Return what a service answered, in one line, without the identification of the request."""
    text = str(error.strerror or error).strip().splitlines() or [type(error).__name__]
    return text[0].partition(" (Request ID")[0]


def _hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


_lock = threading.Lock()
_opened: OrderedDict[tuple[str, int, str], Blocks] = OrderedDict()
