"""Write a timeline as a table of comma-separated values."""

from __future__ import annotations

import csv
from pathlib import Path

from mova.types import Timeline
from mova.utils.tables import guard_cell

COLUMNS = ("video", "sentence", "text", "start", "end", "score", "posterior", "shown")


def write_csv(timeline: Timeline, path: Path) -> None:
    """Write one row per span, and one row without times per sentence that is not shown. Sentences count from 1.

    A text that a spreadsheet would run as a formula gets an apostrophe (`mova.utils.tables.guard_cell`).

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
            names = guard_cell(timeline.video), number, guard_cell(row.text)
            shown = "" if row.shown is None else f"{row.shown:.6f}"
            for span in row.spans:
                posterior = "" if span.posterior is None else f"{span.posterior:.6f}"
                times = f"{span.span.start:.3f}", f"{span.span.end:.3f}"
                writer.writerow([*names, *times, f"{span.score:.6f}", posterior, shown])
            if not row.spans:
                writer.writerow([*names, "", "", "", "", shown])
