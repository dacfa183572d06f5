"""Limits on files from anyone: formats that are opened, pixels that are decoded, and memory that decoding may take."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mova.errors import VideoError, refuse_url
from mova.remote.objects import open_file, reason, status_of, uri_of

MAX_PIXELS = 100_000_000
"""Pixels per frame; a larger frame is decoded at an eighth of its size if its codec can do that, else refused."""

TIME_LIMIT = 60.0
"""Seconds without any progress after which a decoder is ended."""

MAX_THREAD_BYTES = 128 << 20
"""Frames that decoding threads may hold: each thread holds one, so large frames get few threads."""

_OPENING = """
    concat concatf dash hls applehttp imf mlv sdp webm_dash_manifest vobsub avisynth vapoursynth
"""
REFERENCES = frozenset([*_OPENING.split(), "hls,applehttp"])
"""FFmpeg's formats that open other files, or run a script."""

LIST_STARTS = (b"ffconcat", b"#EXTM3U", b"<MPD", b"v=0")
"""First bytes of files that list others."""

_SCALABLE = "mjpeg mpeg1video mpeg2video mpeg4 h263 flv wmv1 wmv2 msmpeg4v1 msmpeg4v2 msmpeg4"
SCALABLE = frozenset(_SCALABLE.split())
"""Decoders that can decode at an eighth of the size (FFmpeg's `lowres` 3)."""

LOWRES = 3
INT_MAX = 2**31 - 1


EMPTY = "the file is empty (0 bytes); copy or download it again"
UNREAD = "{} bytes after the end of the video are not read: another video begins there; split the file"
TOO_LARGE = "its frames do not fit into memory; scale it down, or free some memory"


@dataclass
class Progress:
    """Counts the packets that this process has read or written: a watcher can see whether it stands still."""

    packets: int = 0


progress = Progress()


@cache
def _formats() -> str:
    """Return the names of FFmpeg's formats that read one file only, separated by commas."""
    import av
    from av.format import ContainerFormat

    names = set()
    for name in av.formats_available - REFERENCES:
        try:
            form = ContainerFormat(name, "r")
        except ValueError:  # it can only be written
            continue
        if name == "image2" or not form.no_file:  # the others without a file of their own are devices and networks
            names.update(name.split(","))
    return ",".join(sorted(names - REFERENCES))


def open_options() -> dict[str, str]:
    """Return the options with which a file is opened: it alone is read, and its frames are limited."""
    return {
        "format_whitelist": _formats(),
        "protocol_whitelist": "file",
        "pattern_type": "none",  # "img%d.jpg" is this file, not the first of a numbered series
        "max_pixels": str(MAX_PIXELS),
    }


def check_file(path: str | Path) -> None:
    """Raise a clear error for a path that FFmpeg would reject with an obscure one, or wait for without end.

    Raises:
        VideoError: the path is missing, a folder, not a regular file, empty, or not permitted. An object of a URI is
            looked up.
        UsageError: it is a URL.
    """
    if uri_of(path) is not None:
        _check_object(path)
        return
    file = Path(path)
    try:
        status = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        refuse_url(path)
        raise VideoError(path, "no such file (or a broken link); check the path") from None
    except OSError as error:
        raise VideoError(path, f"cannot be accessed ({error.strerror}); check the file permissions") from error
    except ValueError as error:
        raise VideoError(path, f"its name is not valid ({error}); rename it") from error
    if stat.S_ISDIR(status.st_mode):
        if not os.access(file, os.R_OK | os.X_OK):
            raise VideoError(path, "permission denied: cannot list this folder, so its videos are skipped")
        raise VideoError(path, "is a folder, not a video file; choose a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(path, "is a pipe, socket or device, not a file; save its data to a file first")
    if status.st_size == 0:
        raise VideoError(path, EMPTY)


def _check_object(path: str | Path) -> None:
    try:
        size = status_of(path).size
    except FileNotFoundError:
        raise VideoError(path, "no such object; check the URI") from None
    except OSError as error:
        raise VideoError(path, f"cannot be read ({reason(error)})") from error
    if size == 0:
        raise VideoError(path, EMPTY)


def lists_files(path: str | Path) -> bool:
    """Return whether a file begins like a list of other files: a playlist, a manifest, or a session description."""
    try:
        with open_file(path) as file:
            head = file.read(4096)
    except OSError:
        return False
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return text.startswith(LIST_STARTS) or (text.startswith(b"<?xml") and b"<MPD" in head)


def limit_decoder(path: str | Path, context: Any, threads: int | None) -> None:
    """Set the number of threads and the largest frame of a decoder.

    Args:
        path: the file, for messages.
        context: PyAV's codec context of a video stream; it is not open yet.
        threads: decoding threads; None lets FFmpeg choose by the number of cores.

    Raises:
        VideoError: the frames are too large, and the decoder cannot scale them down.
    """
    width, height = context.width, context.height
    options = {"max_pixels": str(MAX_PIXELS)}
    if width * height > MAX_PIXELS or (not width and context.name in SCALABLE):
        if context.name not in SCALABLE:
            raise VideoError(
                path,
                f"claims frames of {width}x{height} pixels, more than {MAX_PIXELS // 10**6} million; scale it down "
                "with: ffmpeg -i IN -vf scale=3840:-2 OUT.mp4",
            )
        options = {"max_pixels": str(min(INT_MAX, MAX_PIXELS << 2 * LOWRES)), "lowres": str(LOWRES)}
    context.options = {**context.options, **options}
    bits = max((component.bits for component in context.format.components), default=8) if context.format else 8
    fitting = max(1, MAX_THREAD_BYTES // max(1, width * height * (3 if bits > 8 else 1.5)))
    automatic = (os.cpu_count() or 1) + 1
    context.thread_count = threads or 0 if min(threads or automatic, 16) <= fitting else int(fitting)
