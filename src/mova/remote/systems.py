"""The services that hold objects: PyArrow's file systems for `s3://`, `gs://` and `az://`, fsspec's for others.

Credentials are those of the environment, in the variables that LanceDB reads for an index by URI.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from mova.errors import NotInstalledError, UsageError

SECOND = 1_000_000_000
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION (AWS_SKIP_SIGNATURE=true for a public bucket, "
    "AWS_ENDPOINT_URL for another server than Amazon's)",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS (GOOGLE_SKIP_SIGNATURE=true for a public bucket)",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
"""Variables that hold the credentials of a service."""
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}
"""Packages with which fsspec reads a service."""
SAME = {"gcs": "gs", "abfs": "az", "abfss": "az"}
"""Other schemes of a service."""


class Status(NamedTuple):
    """The state of a file or object: two states differ if its content was replaced.

    Attributes:
        size: bytes.
        mtime_ns: time of its last modification, in nanoseconds; of an object in whole seconds.
    """

    size: int
    mtime_ns: int


class FileSystem(Protocol):
    """A file system whose paths are those of a service: a bucket or container, and a key."""

    def status(self, path: str) -> Status | None:
        """Return the state of an object; None for a folder. Raise `FileNotFoundError` if there is neither."""

    def walk(self, path: str) -> Iterator[tuple[str, Status]]:
        """Yield the objects below a folder."""

    def open(self, path: str) -> tuple[int, str, Callable[[int, int], bytes]]:
        """Return size and version of an object, and a function that reads `count` bytes from `start`."""


def scheme_of(uri: str) -> str:
    """Return the service of a URI."""
    scheme = uri.partition("://")[0].lower()
    return SAME.get(scheme, scheme)


def key_of(uri: str) -> str:
    """Return the path of an object in its file system; the account of Azure is not part of it."""
    place, _, key = uri.partition("://")[2].partition("/")
    return f"{place.partition('@')[0]}/{key}".rstrip("/")


def system_of(uri: str) -> FileSystem:
    """Return the file system of a URI.

    Raises:
        UsageError: the URI names no bucket.
        NotInstalledError: the package that reads it is missing.
    """
    place = uri.partition("://")[2].partition("/")[0]
    if not place:
        raise UsageError(f"{uri}: names no bucket; write {scheme_of(uri)}://BUCKET/FOLDER")
    return _system(scheme_of(uri), place)


@lru_cache(maxsize=16)
def _system(scheme: str, place: str) -> FileSystem:
    native = {"s3": _s3, "gs": _gs, "az": _az}.get(scheme)
    if native is not None:
        try:
            return _Arrow(native(place))
        except ImportError:  # this build of PyArrow lacks it
            pass
    package = PACKAGES.get(scheme, "fsspec")
    try:
        import fsspec

        return _Fsspec(fsspec.filesystem(scheme))
    except (ImportError, ValueError) as error:
        raise NotInstalledError(
            f"{scheme}:// needs the package {package}, which is not installed; pip install {package}"
        ) from error


def _s3(bucket: str) -> Any:
    from pyarrow import fs

    environment = os.environ
    endpoint = next(
        (environment[name] for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") if environment.get(name)), ""
    )
    options: dict[str, Any] = {"connect_timeout": 10, "request_timeout": 60}
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if endpoint:
        address = urlsplit(endpoint)
        options |= {"scheme": address.scheme, "endpoint_override": address.netloc + address.path.rstrip("/")}
        region = region or "us-east-1"
    if _is_set("AWS_SKIP_SIGNATURE"):
        options["anonymous"] = True
    return fs.S3FileSystem(region=region or fs.resolve_s3_region(bucket), **options)


def _gs(_bucket: str) -> Any:
    from pyarrow import fs

    options: dict[str, Any] = {"retry_time_limit": timedelta(seconds=60), "anonymous": _is_set("GOOGLE_SKIP_SIGNATURE")}
    if endpoint := os.environ.get("GOOGLE_BASE_URL"):
        address = urlsplit(endpoint)
        options |= {"scheme": address.scheme, "endpoint_override": address.netloc}
    return fs.GcsFileSystem(**options)


def _az(container: str) -> Any:
    from pyarrow import fs

    account = container.partition("@")[2].partition(".")[0] or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
    if not account:
        raise UsageError(f"az://{container}: names no account; set {CREDENTIALS['az']}")
    key, token = os.environ.get("AZURE_STORAGE_ACCOUNT_KEY"), os.environ.get("AZURE_STORAGE_SAS_TOKEN")
    options: dict[str, Any] = {"account_key": key} if key else {"sas_token": token}
    if _is_set("AZURE_STORAGE_USE_EMULATOR"):
        address = urlsplit(os.environ.get("AZURITE_BLOB_STORAGE_URL", "http://127.0.0.1:10000"))
        for service in ("blob", "dfs"):
            options |= {f"{service}_storage_authority": address.netloc, f"{service}_storage_scheme": address.scheme}
    return fs.AzureFileSystem(account, **options)


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true")


class _Arrow:
    """A file system of PyArrow."""

    def __init__(self, system: Any) -> None:
        self._system = system

    def status(self, path: str) -> Status | None:
        """Return the state of an object; None for a folder."""
        info = self._system.get_file_info(path)
        if info.type.name == "NotFound":
            raise FileNotFoundError(2, "no such object")
        return _state(info) if info.is_file else None

    def walk(self, path: str) -> Iterator[tuple[str, Status]]:
        """Yield the objects below a folder."""
        from pyarrow.fs import FileSelector

        for info in self._system.get_file_info(FileSelector(path, recursive=True)):
            if info.is_file:
                yield info.path, _state(info)

    def open(self, path: str) -> tuple[int, str, Callable[[int, int], bytes]]:
        """Return size and version of an object, and a function that reads `count` bytes from `start`."""
        file = self._system.open_input_file(path)
        stated = {str(name).lower(): value for name, value in (file.metadata() or {}).items()}
        version = stated.get("etag") or stated.get("last-modified") or b""
        return file.size(), version.decode(errors="replace"), lambda start, count: bytes(file.read_at(count, start))


class _Fsspec:
    """A file system of fsspec."""

    def __init__(self, system: Any) -> None:
        self._system = system

    def status(self, path: str) -> Status | None:
        """Return the state of an object; None for a folder."""
        return self._state(path, self._system.info(path))

    def walk(self, path: str) -> Iterator[tuple[str, Status]]:
        """Yield the objects below a folder."""
        for name, info in self._system.find(path, detail=True).items():
            state = self._state(name, info)
            if state is not None:
                yield str(name).lstrip("/"), state

    def open(self, path: str) -> tuple[int, str, Callable[[int, int], bytes]]:
        """Return size and version of an object, and a function that reads `count` bytes from `start`."""
        info = self._system.info(path)
        version = str(info.get("ETag") or info.get("etag") or f"{path} {self._modified(path)}")
        return int(info["size"]), version, lambda start, count: self._system.cat_file(path, start, start + count)

    def _state(self, path: str, info: dict[str, Any]) -> Status | None:
        return Status(int(info["size"]), self._modified(path)) if info["type"] == "file" else None

    def _modified(self, path: str) -> int:
        return int(self._system.modified(path).timestamp() * SECOND)


def _state(info: Any) -> Status:
    """Return the state of an object; a listing may state fractions of a second that the object itself does not."""
    return Status(int(info.size), int(info.mtime_ns or 0) // SECOND * SECOND)
