"""Chosen moments as one file: clips in an archive, or their times in the formats of editors."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import BinaryIO

from mova.exports.moments import Clip, to_csv, to_edl, to_otio, to_srt
from mova.serve.files.pictures import Pictures
from mova.serve.files.transcode import Transcoder
from mova.serve.library.catalog import Entry
from mova.serve.problems import Problem
from mova.utils.files import shorten_name

MOST_SECONDS = 1800.0
"""Seconds of video in one archive."""
NAME_BYTES = 120
FORMATS = {
    "zip": ("application/zip", "moments.zip"),
    "csv": ("text/csv", "moments.csv"),
    "edl": ("text/plain", "moments.edl"),
    "otio": ("application/json", "moments.otio"),
    "srt": ("application/x-subrip", "moments.srt"),
}
"""Name of a format -> media type and file name."""
Chosen = Sequence[tuple[Entry, Clip]]


def collect(kind: str, chosen: Chosen, transcoder: Transcoder, pictures: Pictures) -> BinaryIO:
    """Return a file of chosen moments, open at its start; it is deleted when it is closed.

    Raises:
        Problem: the moments are too long together, or none of the clips can be cut.
    """
    clips = [clip for _, clip in chosen]
    if kind == "zip":
        return _archive(chosen, transcoder)
    if kind == "edl":
        text = to_edl(clips, pictures.rate(chosen[0][0]))
    else:
        text = {"csv": to_csv, "otio": to_otio, "srt": to_srt}[kind](clips)
    file = tempfile.TemporaryFile(prefix="mova-serve-")  # noqa: SIM115 - closed when it was sent
    file.write(text.encode("utf-8", "replace"))
    file.seek(0)
    return file


def _archive(chosen: Chosen, transcoder: Transcoder) -> BinaryIO:
    if sum(clip.end - clip.start for _, clip in chosen) > MOST_SECONDS:
        raise Problem(f"an archive has at most {MOST_SECONDS / 60:.0f} minutes of video; choose fewer moments")
    digits = max(2, len(str(len(chosen))))
    failures = []
    file = tempfile.TemporaryFile(prefix="mova-serve-")  # noqa: SIM115 - closed when it was sent
    try:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for rank, (entry, clip) in enumerate(chosen, start=1):
                try:
                    path: Path = transcoder.clip(entry, clip.start, clip.end)
                except Problem as problem:
                    failures.append(f"{clip.name} {clip.start:.2f}-{clip.end:.2f}: {problem}")
                    continue
                stem = re.sub(r"[^\w.-]+", "_", PurePath(clip.name).stem).strip("._-")
                name = shorten_name(stem, NAME_BYTES) or "video"
                archive.write(path, f"{rank:0{digits}d}_{name}_{clip.start:07.2f}-{clip.end:07.2f}.mp4")
            if len(failures) == len(chosen):
                raise Problem(f"none of the clips can be cut; the first: {failures[0]}")
            archive.writestr("moments.csv", to_csv([clip for _, clip in chosen]))
            if failures:
                archive.writestr("not_exported.txt", "\n".join(failures) + "\n")
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file
