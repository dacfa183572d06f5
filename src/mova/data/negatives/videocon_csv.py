"""Write triplets with the columns of VideoCon's `videocon_llm_entailment.csv`.

`mova data convert videocon-llm` reads that table; a table that was read is written back unchanged.
Texts that a spreadsheet would run as a formula (`= + - @`, tab) get an apostrophe, which reading removes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from mova.data.negatives.generate import Triplet
from mova.data.readers.annotations import source_video
from mova.utils.tables import guard_cell

COLUMNS = ("source", "videopath", "caption", "neg_caption", "split", "misalignment", "youtube_key")


def write_videocon(path: str | Path, triplets: Iterable[Triplet]) -> Path:
    """Write one line per triplet; `source` and `youtube_key` are empty where a row does not have them."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(COLUMNS)
            table.writerows(map(_line, triplets))
        return temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _line(triplet: Triplet) -> tuple[str, ...]:
    row = triplet.row
    origin = str(row.meta.get("source_video") or "")
    key = "" if origin == source_video(row.video) else origin
    source = str(row.meta.get("source_set") or row.source or "")
    kind = triplet.negative.source_kind or ""
    cells = (source, row.video, triplet.positive, triplet.negative.text, row.split, kind, key)
    return tuple(map(guard_cell, cells))
