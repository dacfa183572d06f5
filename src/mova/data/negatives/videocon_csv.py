"""VideoCon's table of captions and negatives, `videocon_llm_entailment.csv`, written with its own columns.

It is read by `mova data convert videocon-llm`; what was read is written back as it was.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from mova.data.negatives.generate import Triplet
from mova.data.readers.annotations import source_video

COLUMNS = ("source", "videopath", "caption", "neg_caption", "split", "misalignment", "youtube_key")


def write_videocon(path: str | Path, triplets: Iterable[Triplet]) -> Path:
    """Write triplets, a line each; `source` and `youtube_key` are empty where a row does not tell them."""
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
    name = str(row.meta.get("source_set") or row.source or "")
    return (name, row.video, triplet.positive, triplet.negative.text, row.split, triplet.negative.name or "", key)
