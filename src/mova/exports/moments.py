"""Write moments of several videos as a table, an edit list, a timeline for editors, or subtitles.

In the edit list, the timeline and the subtitles, the moments are played one after another.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from mova.errors import UsageError
from mova.exports.editing import opentimelineio, time_range
from mova.exports.subtitles import one_line, timestamp
from mova.utils.tables import guard_cell

RATES = (24, 25, 30, 50, 60)
"""Frames per second of time codes without dropped numbers."""
NTSC = 0.002
"""Largest relative distance of a video's rate from one of `RATES` that has its numbers: 29.97 is counted as 30."""
MOST_EVENTS = 999
"""Events that an edit list of CMX 3600 can number."""


@dataclass(frozen=True)
class Clip:
    """A part of a video.

    Attributes:
        name: file name of the video.
        start, end: seconds.
        label: what it shows, such as the query.
        duration: seconds of the whole video; None if not known.
        url: where a timeline finds the video; its name if empty.

    Raises:
        UsageError: not `0 <= start < end`.
    """

    name: str
    start: float
    end: float
    label: str = ""
    duration: float | None = None
    url: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise UsageError(f"{self.name}: a moment needs 0 <= start < end in seconds, not [{self.start}, {self.end})")


def to_csv(clips: Sequence[Clip]) -> str:
    """Return one row per moment. Texts that a spreadsheet would run as formulas are guarded.

    Example:
        >>> print(to_csv([Clip("a.mp4", 2.0, 5.5, "a dog")]))
        video,start,end,label
        a.mp4,2.000,5.500,a dog
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("video", "start", "end", "label"))
    for clip in clips:
        name, label = guard_cell(clip.name), guard_cell(clip.label)
        writer.writerow((name, f"{clip.start:.3f}", f"{clip.end:.3f}", label))
    return buffer.getvalue()


def to_edl(clips: Sequence[Clip], rate: float, title: str = "mova") -> str:
    """Return an edit list (CMX 3600) with the names of the files in comments.

    A time code is the number of a frame, written with the nearest of `RATES`. For 23.976, 29.97 and 59.94 frames per
    second it therefore runs slower than the clock: the frame at 1 h of 29.97 has the code 00:59:56:12.

    Args:
        clips: at most `MOST_EVENTS`.
        rate: frames per second of all clips; for videos of several rates, that of the first.
        title: of the list.

    Raises:
        UsageError: too many moments.

    Example:
        >>> print(to_edl([Clip("a.mp4", 2.0, 5.5)], 25))
        TITLE: mova
        FCM: NON-DROP FRAME
        <BLANKLINE>
        001  AX       V     C        00:00:02:00 00:00:05:13 00:00:00:00 00:00:03:13
        * FROM CLIP NAME: a.mp4
        <BLANKLINE>
    """
    if len(clips) > MOST_EVENTS:
        raise UsageError(f"an edit list has at most {MOST_EVENTS} events, not {len(clips)}")
    frames = min(RATES, key=lambda known: abs(known - rate))
    real = rate if abs(rate / frames - 1) < NTSC else frames
    lines = [f"TITLE: {one_line(title)}", "FCM: NON-DROP FRAME", ""]
    at = 0
    for number, clip in enumerate(clips, start=1):
        first = round(clip.start * real)
        length = max(1, round(clip.end * real) - first)
        codes = " ".join(_code(value, frames) for value in (first, first + length, at, at + length))
        lines += [f"{number:03d}  AX       V     C        {codes}", f"* FROM CLIP NAME: {one_line(clip.name)}"]
        if clip.label:
            lines.append(f"* COMMENT: {one_line(clip.label)}")
        lines.append("")
        at += length
    return "\n".join(lines)


def to_srt(clips: Sequence[Clip]) -> str:
    """Return the labels as subtitles of the moments played one after another.

    Example:
        >>> print(to_srt([Clip("a.mp4", 2.0, 5.5, "a dog"), Clip("b.mp4", 1.0, 2.0)]))
        1
        00:00:00,000 --> 00:00:03,500
        a dog
        <BLANKLINE>
        2
        00:00:03,500 --> 00:00:04,500
        b.mp4
        <BLANKLINE>
    """
    blocks, at = [], 0.0
    for number, clip in enumerate(clips, start=1):
        end = at + clip.end - clip.start
        text = one_line(clip.label or clip.name)
        blocks.append(f"{number}\n{timestamp(at, ',')} --> {timestamp(end, ',')}\n{text}\n")
        at = end
    return "\n".join(blocks)


def to_otio(clips: Sequence[Clip], title: str = "mova") -> str:
    """Return a timeline of OpenTimelineIO in which the moments follow each other.

    Raises:
        UsageError: OpenTimelineIO is not installed.
    """
    otio = opentimelineio()
    track = otio.schema.Track(name="video", kind=otio.schema.TrackKind.Video)
    for clip in clips:
        whole = None if clip.duration is None else time_range(otio, 0.0, clip.duration)
        media = otio.schema.ExternalReference(target_url=clip.url or clip.name, available_range=whole)
        metadata = {"mova": {"label": clip.label}}
        name = clip.label or clip.name
        span = time_range(otio, clip.start, clip.end)
        track.append(otio.schema.Clip(name=name, media_reference=media, source_range=span, metadata=metadata))
    timeline = otio.schema.Timeline(name=title)
    timeline.tracks.append(track)
    text: str = otio.adapters.write_to_string(timeline, "otio_json")
    return text


def _code(frames: int, rate: int) -> str:
    seconds, rest = divmod(frames, rate)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{rest:02d}"
