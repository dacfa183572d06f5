"""Verdicts as CSV: one row per sentence."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from mova.judge.verdict import Verdict
from mova.utils.replacing import replacing
from mova.utils.tables import guard_cell

COLUMNS = ("video", "sentence", "text", "finding", "holds", "start", "end", "kind", "said", "instead")


def write_csv(verdicts: Sequence[Verdict], path: str | Path) -> None:
    """Write the finding of every sentence, its most probable span in seconds, and what is shown instead.

    Raises:
        OSError: the file cannot be written.

    >>> from mova.judge.judges import load_judge
    >>> write_csv([load_judge("mova-worlds-tiny").judge("film.mp4", "Two black discs shrink.")], "verdict.csv")
    >>> Path("verdict.csv").read_text(encoding="utf-8").splitlines()[1].split(",")[:4]
    ['film.mp4', '1', 'Two black discs shrink.', 'shown']
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for verdict in verdicts:
            for number, row in enumerate(verdict.sentences, start=1):
                best = max(row.spans, key=lambda span: span.posterior or 0.0, default=None)
                seconds = ["", ""] if best is None else [f"{best.span.start:.3f}", f"{best.span.end:.3f}"]
                change = None if row.contradiction is None else row.contradiction.change
                words = ["", "", ""] if change is None else [change.kind, change.said, change.instead]
                cells = [verdict.video, str(number), row.text, row.finding, f"{row.holds:.6f}", *seconds, *words]
                writer.writerow(map(guard_cell, cells))
