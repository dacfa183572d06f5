"""Write the moments that a search found as clips."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mova.errors import UsageError, VideoError
from mova.types import Moment
from mova.utils.files import ELSEWHERE, is_address, shorten_name, surely_gone
from mova.video.isolated import Isolated
from mova.video.writer import cut_clip

NAME_BYTES = 120
"""Bytes of a video's name in the name of a clip; file systems allow 255 per name (some 143)."""
MISSING = (
    "no such file: it was moved or deleted since it was indexed; run `mova index` on its present folder, or "
    "`mova forget PATH` with the same --index"
)


def export_clips(
    moments: Sequence[Moment], folder: str | Path, *, decoder: Isolated | None = None
) -> tuple[list[Path], list[tuple[str, str]]]:
    """Write a clip of each moment. If one clip fails, the others are still written.

    Args:
        moments: in order of rank.
        folder: created if it does not exist.
        decoder: decodes and encodes in a child process; None: directly.

    Returns:
        The clips written, as `01_name_0012.50-0018.00.mp4` (rank, the video's name in safe characters, seconds), and
        (path, cause) of each failure: the video is gone, has changed or cannot be read, or the clip cannot be written.

    Raises:
        UsageError: the folder cannot be created.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{target}: cannot create this folder ({error.strerror or error}); choose another one"
        ) from error
    cut = cut_clip if decoder is None else decoder.cut_clip
    digits = max(2, len(str(len(moments))))
    clips: list[Path] = []
    failures: list[tuple[str, str]] = []
    for rank, moment in enumerate(moments, start=1):
        if is_address(moment.video):
            failures.append((moment.video, ELSEWHERE))
            continue
        if surely_gone(moment.video):
            failures.append((moment.video, MISSING))
            continue
        name = re.sub(r"[^\w.-]+", "_", Path(moment.video).stem).strip("._-")[:80]
        name = shorten_name(name, NAME_BYTES) or "video"
        clip = target / f"{rank:0{digits}d}_{name}_{moment.start:07.2f}-{moment.end:07.2f}.mp4"
        try:
            clips.append(cut(moment.video, clip, moment.start, moment.end))
        except VideoError as error:
            failures.append((error.path, error.cause))
        except UsageError as error:  # the file is shorter now than when it was indexed
            failures.append((moment.video, str(error).removeprefix(f"{moment.video}: ")))
        except (MemoryError, OSError, ValueError) as error:
            failures.append((moment.video, f"the clip cannot be written: {error or type(error).__name__}"))
    return clips, failures
