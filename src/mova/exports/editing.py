"""Write a timeline for video editors, through OpenTimelineIO: the video as one clip with a marker per span."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mova.errors import UsageError
from mova.exports.subtitles import cues
from mova.types import Timeline

RATE = 1000.0
"""Ticks per second: times are milliseconds, independent of the frame rate of the video."""
SURE, LIKELY = 0.8, 0.5
"""Posteriors from which a marker is green or yellow; others are red."""


def write_otio(timeline: Timeline, path: Path) -> None:
    """Write an OpenTimelineIO file (`.otio`), with sentence and posterior in the name and metadata of every marker.

    Raises:
        UsageError: OpenTimelineIO is not installed.

    >>> import mova
    >>> timeline = mova.load("mova-worlds-tiny").align("film.mp4", "Two black discs shrink.")
    >>> write_otio(timeline, Path("film.otio"))  # pip install 'mova[edit]'
    >>> '"name": "Two black discs shrink."' in Path("film.otio").read_text()
    True
    """
    otio = opentimelineio()
    duration = time_range(otio, 0.0, timeline.duration)
    source = Path(timeline.video)
    url = source.resolve().as_uri() if source.exists() else timeline.video
    media = otio.schema.ExternalReference(target_url=url, available_range=duration)
    clip = otio.schema.Clip(name=source.name, media_reference=media, source_range=duration)
    for cue, text in cues(timeline):
        values = {"sentence": text, **cue.to_json()}
        marker = otio.schema.Marker(
            name=text,
            marked_range=time_range(otio, cue.span.start, cue.span.end),
            color=_color(cue.posterior),
            metadata={"mova": values},
        )
        clip.markers.append(marker)
    track = otio.schema.Track(name="video", kind=otio.schema.TrackKind.Video, children=[clip])
    document = otio.schema.Timeline(name=source.name)
    document.tracks.append(track)
    otio.adapters.write_to_file(document, str(path), adapter_name="otio_json")


def opentimelineio() -> Any:
    """Return the module.

    Raises:
        UsageError: it is not installed.

    >>> opentimelineio().__name__  # pip install 'mova[edit]'
    'opentimelineio'
    """
    try:
        import opentimelineio as otio
    except ImportError as error:
        raise UsageError("OpenTimelineIO is not installed; pip install 'mova[edit]'") from error
    return otio


def time_range(otio: Any, start: float, end: float) -> Any:
    """Return a range of time in milliseconds, from seconds.

    >>> time_range(opentimelineio(), 1.0, 2.5).duration.to_seconds()  # pip install 'mova[edit]'
    1.5
    """
    first, last = round(RATE * start), round(RATE * end)
    return otio.opentime.TimeRange(
        otio.opentime.RationalTime(first, RATE), otio.opentime.RationalTime(last - first, RATE)
    )


def _color(posterior: float | None) -> str:
    if posterior is None or posterior >= SURE:
        return "GREEN"
    return "YELLOW" if posterior >= LIKELY else "RED"
