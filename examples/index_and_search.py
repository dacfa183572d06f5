"""Index a folder of videos and search it.

Offline, about 20 seconds: the videos are rendered Worlds, the model is the small one that ships with mova. For your own
videos, pass their folder and a pretrained model:

    python examples/index_and_search.py
    python examples/index_and_search.py films/ google/siglip2-base-patch32-256 "a woman opens a door"
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import mova
from mova.data.manifest import read_manifest
from mova.worlds.writer import write_worlds


def main(folder: Path, model: str, query: str, index_folder: Path) -> list[mova.Moment]:
    """Index the folder and return the best moments for the query."""
    index = mova.Index(index_folder, model)
    report = index.add(folder)  # incremental: a second run reads only new and changed files
    print(f"{len(report.indexed)} videos indexed, {report.frames} frames, {len(report.failed)} files could not be read")
    moments = index.search(query, k=5)
    print(f"search: {query}")
    for moment in moments:
        print(f"{moment.score:.3f}  {moment.start:6.1f} - {moment.end:6.1f} s  {Path(moment.video).name}")
    return moments


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        if len(sys.argv) > 1:
            main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(".mova/index"))
        else:
            worlds = Path(scratch) / "worlds"
            rows = read_manifest(write_worlds(worlds, 4, 20, "flat", seed=3))
            main(worlds, "mova-worlds-tiny", rows[2].captions[0].sentences[0].text, Path(scratch) / "index")
