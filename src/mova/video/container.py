"""Open video files with FFmpeg: choose the video stream, and read its packets.

Time 0 is the start time of the container (the smallest over its streams), as in players. The other modules of this
folder build on this one; nothing else should need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.format import Flags

from mova.errors import MovaError, NoVideoError, VideoError
from mova.remote.objects import open_object, uri_of
from mova.video import structure
from mova.video.limits import MAX_PIXELS, TOO_LARGE, check_file, limit_decoder, lists_files, open_options, progress

NOT_VIDEO = frozenset({"ansi", "bintext", "xbin", "idf"})
"""Codecs with which FFmpeg renders text files as pictures; a text file is not a video."""

PICTURES = frozenset({"image2", "jpeg_pipe"})
"""FFmpeg's formats of photographs. A truncated JPEG would otherwise be decoded with a gray area."""

ENCRYPTED = "is encrypted, so its pictures cannot be decoded; decrypt it with the program that it was made for"

BROKEN = "play it to see what is left, or recover that part with: ffmpeg -i IN -c:v libx264 OUT.mp4"


@contextmanager
def open_video(path: str | Path, threads: int | None = None) -> Iterator[tuple[Any, Any]]:
    """Open a file and choose its video stream.

    If there are several video streams, the one that FFmpeg (and most players) choose is used: `av_find_best_stream`,
    which prefers the default stream and the largest resolution. Attached pictures (cover art) are not video.

    Args:
        path: a file, whose name may start with a dash or contain colons, or the URI of an object.
        threads: decoding threads; None lets FFmpeg choose by the number of cores.

    Yields:
        PyAV's container and stream.

    Raises:
        VideoError: the file is missing, a folder, empty, or not readable as media.
        NoVideoError: the file has no video.
    """
    check_file(path)
    uri = uri_of(path)
    path = path if uri is None else uri
    try:
        with ffmpeg_errors():
            source = f"file:{Path(path)}" if uri is None else open_object(uri)
            container = av.open(source, metadata_errors="replace", options=open_options())
    except (av.FFmpegError, OSError) as error:
        if lists_files(path):
            raise VideoError(path, "holds a list of files, not a video; name the listed files themselves") from error
        if isinstance(error, av.InvalidDataError) and structure.is_scrambled(path):
            raise VideoError(path, ENCRYPTED) from error
        raise VideoError(
            path, f"cannot be opened as video ({reason(error)}); check that it is a complete video file"
        ) from error
    with container:
        yield container, _choose(path, container, threads)


def _choose(path: str | Path, container: Any, threads: int | None) -> Any:
    stream = container.streams.best("video") if container.streams.video else None
    if stream is not None and _is_cover(stream):
        moving = [other for other in container.streams.video if not _is_cover(other)]
        stream = max(moving, key=lambda other: other.width * other.height, default=None)
        if stream is None and container.streams.audio:
            raise NoVideoError(path, "holds only audio and a cover picture; choose a file with video")
    if stream is None:
        kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
        raise NoVideoError(path, f"contains no video stream (only {', '.join(kinds)}); choose a file with video")
    if stream.codec_context is None or stream.codec_context.name in NOT_VIDEO:
        raise NoVideoError(path, "contains no video that can be decoded (text, or an unknown codec)")
    _check_content(path, container, stream)
    stream.thread_type = "AUTO"
    limit_decoder(path, stream.codec_context, threads)
    if container.format.name in PICTURES and stream.codec_context.name == "mjpeg":
        stream.codec_context.options = {**stream.codec_context.options, "err_detect": "explode"}
    return stream


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _check_content(path: str | Path, container: Any, stream: Any) -> None:
    """Check that FFmpeg decodes the pictures of a stream, and not something else.

    Raises:
        VideoError: they are encrypted, or those of an animated WebP.
    """
    try:
        if container.format.name.startswith("mov"):
            encrypted = stream.id in structure.encrypted_tracks(path)
        elif container.format.name == "mpegts":
            encrypted = structure.is_scrambled(path, stream.id)
        else:
            encrypted = "enc_key_id" in stream.metadata  # Matroska and WebM
        animated = container.format.name == "webp_pipe" and structure.animated_webp(path)
    except OSError as error:
        raise VideoError(path, f"cannot be read ({reason(error)}); check the file") from error
    if encrypted:
        raise VideoError(path, ENCRYPTED)
    if animated:
        raise VideoError(path, "is an animated WebP, which is not supported; convert it to MP4 or GIF")


@contextmanager
def ffmpeg_errors() -> Iterator[None]:
    """Convert errors that PyAV itself raises for inconsistent data to FFmpeg errors.

    A packet of a stream that is not in the header raises an `IndexError`, a number beyond 64 bits an `OverflowError`.
    """
    try:
        yield
    except av.FFmpegError:
        raise
    except MemoryError as error:
        raise av.error.MemoryError(0, "not enough memory") from error
    except (IndexError, ValueError, OverflowError) as error:
        raise av.InvalidDataError(0, f"the data are inconsistent: {error}") from error


@contextmanager
def video_errors(path: str | Path) -> Iterator[None]:
    """Convert every error that decoding and converting frames of a file can raise to a `VideoError` of the file.

    Raises:
        VideoError: of the file, with the cause.
    """
    try:
        yield
    except MovaError:
        raise
    except MemoryError as error:
        raise VideoError(path, TOO_LARGE) from error
    except (av.FFmpegError, OSError, ValueError, ArithmeticError, LookupError) as error:
        raise VideoError(path, f"cannot be decoded ({reason(error)}): the file is damaged; {BROKEN}") from error


def read_packets(container: Any, *tracks: Any) -> Iterator[Any]:
    """Yield the packets of some streams (default: all) from the current position.

    Raises:
        av.FFmpegError: the file cannot be read further, or its sound is encrypted.
        VideoError: its pictures are encrypted.
    """
    with ffmpeg_errors():
        for packet in container.demux(*tracks):
            progress.packets += 1
            if packet.has_sidedata("encryption_info"):
                if packet.stream.type == "video":
                    raise VideoError(container.name.removeprefix("file:"), ENCRYPTED)
                raise av.InvalidDataError(0, "it is encrypted")
            yield packet


def reason(error: BaseException) -> str:
    """Return FFmpeg's message of an error, without its number and path."""
    if isinstance(error, av.ArgumentError) and "avcodec" in str(error):  # all that the decoder says of a large frame
        return f"invalid data, or a frame of more than {MAX_PIXELS // 10**6} million pixels, the most that is decoded"
    return str(getattr(error, "strerror", None) or error)


def start_seconds(container: Any) -> float | None:
    """Return the container's start time in seconds, which is time 0 for us; None if only its frames have times."""
    return float(container.start_time) / av.time_base if container.start_time is not None else None


def cut_off(container: Any, packet: Any) -> bool:
    """Return whether the file ends within a packet. FFmpeg would make up its picture from earlier ones.

    Transport streams are broadcast: a corrupt packet there is not the end, and its picture is what viewers saw.
    """
    return packet.is_corrupt and container.format.name != "mpegts"


def frame_step(stream: Any) -> float:
    """Return seconds per frame by the stream's rate; 1/25 if it has none, as FFmpeg assumes for stills.

    The average rate of a raw stream (`.h264`) is a default; its coded rate, if any, is the guessed one.
    """
    raw = stream.container.format.flags & Flags.no_timestamps.value
    rate = (raw and stream.guessed_rate) or stream.average_rate or stream.guessed_rate or stream.base_rate
    return 1.0 / float(rate) if rate else 0.04
