"""Found moments as comma-separated values, with the same columns for one query and for many."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mova.utils.tables import guard_cell

if TYPE_CHECKING:
    from mova.types import Moment

COLUMNS = ("id", "query", "rank", "video", "start", "end", "score", "false_alarm", "evidence")


def to_csv(answers: Iterable[tuple[str, str, Sequence[Moment]]], measure: str = "score") -> str:
    """Return one row per moment. Texts that a spreadsheet would run as formulas are guarded.

    Args:
        answers: id and text of each query, and its moments, best first.
        measure: name of the column of scores.

    >>> from mova.types import Moment
    >>> print(to_csv([("1", "a dog", [Moment("a.mp4", 2.0, 5.5, 0.25)])]))
    id,query,rank,video,start,end,score,false_alarm,evidence
    1,a dog,1,a.mp4,2.000,5.500,0.250000,,
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([measure if column == "score" else column for column in COLUMNS])
    for name, text, moments in answers:
        for rank, m in enumerate(moments, start=getattr(moments, "skip", 0) + 1):
            rate = "" if m.false_alarm is None else f"{m.false_alarm:.6f}"
            names = guard_cell(name), guard_cell(text), rank, guard_cell(m.video)
            writer.writerow((*names, f"{m.start:.3f}", f"{m.end:.3f}", f"{m.score:.6f}", rate, m.evidence or ""))
    return buffer.getvalue()
