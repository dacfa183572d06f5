"""Write a timeline as a table of comma-separated values."""

from __future__ import annotations

import csv
from pathlib import Path

from mova.types import Timeline

COLUMNS = ("video", "sentence", "text", "start", "end", "score", "posterior", "shown")


def write_csv(timeline: Timeline, path: Path) -> None:
    """Write one row per span, and one row without times per sentence that is not shown. Sentences count from 1.

    >>> import mova
    >>> timeline = mova.load("mova-worlds-tiny").align("film.mp4", "Two black discs shrink.")
    >>> write_csv(timeline, Path("film.csv"))
    >>> print(Path("film.csv").read_text().splitlines()[0])
    video,sentence,text,start,end,score,posterior,shown
    """
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, row in enumerate(timeline.sentences, start=1):
            shown = "" if row.shown is None else f"{row.shown:.6f}"
            for span in row.spans:
                posterior = "" if span.posterior is None else f"{span.posterior:.6f}"
                times = f"{span.span.start:.3f}", f"{span.span.end:.3f}"
                writer.writerow([timeline.video, number, row.text, *times, f"{span.score:.6f}", posterior, shown])
            if not row.spans:
                writer.writerow([timeline.video, number, row.text, "", "", "", "", shown])
