"""Write a timeline as subtitles (SubRip, WebVTT) or as chapters (FFmpeg metadata)."""

from __future__ import annotations

import html
from pathlib import Path

from mova.types import ScoredSpan, Timeline

Cue = tuple[ScoredSpan, str]


def cues(timeline: Timeline) -> list[Cue]:
    """Return all spans with their sentences, in order of time.

    >>> import mova
    >>> timeline = mova.load("mova-worlds-tiny").align("film.mp4", "Two black discs shrink.")
    >>> [(cue.span.start, text) for cue, text in cues(timeline)]
    [(3.0, 'Two black discs shrink.')]
    """
    pairs = [(span, row.text) for row in timeline.sentences for span in row.spans]
    return sorted(pairs, key=lambda cue: (cue[0].span, cue[1]))


def write_srt(timeline: Timeline, path: Path) -> None:
    """Write SubRip subtitles: one numbered cue per span.

    >>> import mova
    >>> timeline = mova.load("mova-worlds-tiny").align("film.mp4", "Two black discs shrink.")
    >>> write_srt(timeline, Path("film.srt"))
    >>> print(Path("film.srt").read_text().strip())
    1
    00:00:03,000 --> 00:00:06,500
    Two black discs shrink.
    """
    blocks = [
        f"{i}\n{timestamp(cue.span.start, ',')} --> {timestamp(cue.span.end, ',')}\n{one_line(text)}\n"
        for i, (cue, text) in enumerate(cues(timeline), start=1)
    ]
    path.write_text("\n".join(blocks), encoding="utf-8")


def write_vtt(timeline: Timeline, path: Path) -> None:
    """Write WebVTT subtitles; the posterior of a span is in the note before its cue.

    >>> import mova
    >>> timeline = mova.load("mova-worlds-tiny").align("film.mp4", "Two black discs shrink.")
    >>> write_vtt(timeline, Path("film.vtt"))
    >>> print(Path("film.vtt").read_text().splitlines()[-2])
    00:00:03.000 --> 00:00:06.500
    """
    blocks = ["WEBVTT\n"]
    for cue, text in cues(timeline):
        sure = "" if cue.posterior is None else f"NOTE posterior {cue.posterior:.3f}\n\n"
        times = f"{timestamp(cue.span.start, '.')} --> {timestamp(cue.span.end, '.')}"
        blocks.append(f"{sure}{times}\n{html.escape(one_line(text), quote=False)}\n")
    path.write_text("\n".join(blocks), encoding="utf-8")


def write_chapters(timeline: Timeline, path: Path) -> None:
    """Write chapters as FFmpeg metadata: one per span, cut where the next one begins. Chapters do not overlap.

    Insert them without encoding: `ffmpeg -i film.mp4 -i chapters.txt -map_metadata 1 -map_chapters 1 -c copy out.mp4`.

    >>> import mova
    >>> timeline = mova.load("mova-worlds-tiny").align("film.mp4", "Two black discs shrink.")
    >>> write_chapters(timeline, Path("chapters.txt"))
    >>> print(Path("chapters.txt").read_text().strip())
    ;FFMETADATA1
    [CHAPTER]
    TIMEBASE=1/1000
    START=3000
    END=6500
    title=Two black discs shrink.
    """
    lines = [";FFMETADATA1"]
    ordered = cues(timeline)
    starts = [round(1000 * cue.span.start) for cue, _ in ordered]
    for i, (cue, text) in enumerate(ordered):
        end = min([round(1000 * cue.span.end), *(start for start in starts[i + 1 : i + 2])])
        if end > starts[i]:
            title = _escape(one_line(text))
            lines += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={starts[i]}", f"END={end}", f"title={title}"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def timestamp(seconds: float, point: str) -> str:
    """Format a time as hh:mm:ss, a decimal sign, and milliseconds.

    >>> timestamp(3725.5, ",")
    '01:02:05,500'
    """
    minutes, milliseconds = divmod(round(1000 * seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"


def one_line(text: str) -> str:
    """Join lines: an empty line would end a cue. An arrow inside a text would be read as a time line.

    >>> one_line("a dog\\n--> a cat")
    'a dog -> a cat'
    """
    return " ".join(text.split()).replace("-->", "->")


def _escape(text: str) -> str:
    """Escape the characters that have a meaning in FFmpeg metadata."""
    return "".join(f"\\{c}" if c in "=;#\\" else c for c in text)
