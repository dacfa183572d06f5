"""Send files in ranges, as players ask for them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import BinaryIO

from anyio import to_thread
from starlette.responses import Response, StreamingResponse

CHUNK = 256 << 10
TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/mp4",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".ogv": "video/ogg",
    ".avi": "video/x-msvideo",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".ts": "video/mp2t",
}
"""Media types by suffix; any other file is sent as plain bytes."""


class UnsatisfiableRangeError(ValueError):
    """A range begins after the end of the file."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last of a Range header; None if the whole file is meant.

    Headers that are not valid, and several ranges at once, mean the whole file, as the standard allows (RFC 9110).

    Raises:
        UnsatisfiableRangeError: the range begins after the end of the file.

    Example:
        >>> parse_range("bytes=0-99", 1000), parse_range("bytes=-100", 1000), parse_range("bytes=900-", 1000)
        ((0, 100), (900, 1000), (900, 1000))
    """
    unit, _, spec = (header or "").partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or "," in spec:
        return None
    if not all(part == "" or (part.isascii() and part.isdigit() and len(part) < 20) for part in (first, last)):
        return None
    if first == "":
        if last == "":
            return None
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), size if last == "" else min(size, int(last) + 1)
        if last != "" and int(last) < start:
            return None
    if start >= size or start >= stop:
        raise UnsatisfiableRangeError(header)
    return start, stop


def send_file(
    file: BinaryIO,
    headers: Mapping[str, str],
    *,
    media_type: str,
    etag: str,
    cache: str,
    name: str | None = None,
    head: bool = False,
) -> Response:
    """Send an open file, or the requested range of it, and close it.

    Args:
        file: not buffered; it is closed at the end.
        headers: of the request.
        media_type: of the file.
        etag: hash of its content, without quotes.
        cache: value of `Cache-Control`.
        name: file name under which a browser saves it; None to show it.
        head: send the headers alone, as the answer to HEAD.
    """
    size = os.fstat(file.fileno()).st_size
    tag = f'"{etag}"'
    answer = {"accept-ranges": "bytes", "etag": tag, "cache-control": cache}
    if name is not None:
        answer["content-disposition"] = attachment(name)
    if tag in (part.strip() for part in headers.get("if-none-match", "").split(",")):
        file.close()
        return Response(status_code=304, headers=answer)
    wanted = headers.get("range") if headers.get("if-range", tag) == tag else None
    try:
        part = parse_range(wanted, size)
    except UnsatisfiableRangeError:
        file.close()
        return Response(status_code=416, headers={**answer, "content-range": f"bytes */{size}"})
    start, stop = part or (0, size)
    answer["content-length"] = str(stop - start)
    if part is not None:
        answer["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    status = 200 if part is None else 206
    if head:
        file.close()
        return Response(None, status, answer, media_type)
    return StreamingResponse(_read(file, start, stop), status, answer, media_type=media_type)


def send_path(path: Path, headers: Mapping[str, str], *, media_type: str, name: str | None = None) -> Response:
    """Send a file that this service made, whose name changes with its content."""
    file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed when it was sent
    cache = "private, max-age=31536000, immutable"
    return send_file(file, headers, media_type=media_type, etag=path.stem, cache=cache, name=name)


def attachment(name: str) -> str:
    """Return a Content-Disposition for any file name.

    Example:
        >>> attachment('a "film".mp4')
        "attachment; filename*=UTF-8''a%20%22film%22.mp4"
    """
    from urllib.parse import quote

    return f"attachment; filename*=UTF-8''{quote(name.encode('utf-8', 'replace'), safe='')}"


async def _read(file: BinaryIO, start: int, stop: int) -> AsyncIterator[bytes]:
    try:
        while start < stop:
            data = await to_thread.run_sync(os.pread, file.fileno(), min(CHUNK, stop - start), start)
            if not data:
                return
            yield data
            start += len(data)
    finally:
        file.close()
