"""Align a caption with a video, compare with the truth, and draw the timeline.

Offline, about 20 seconds: the video is a rendered World, whose manifest row has the true times of each sentence.

    python examples/align_caption.py [PICTURE.png]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import mova
from mova.data.manifest import read_manifest
from mova.plots.timeline import draw
from mova.worlds.writer import true_spans, write_worlds


def main(folder: Path, picture: Path) -> mova.Timeline:
    """Align the first caption of a rendered video and write the picture."""
    row = read_manifest(write_worlds(folder / "worlds", 1, 40, "flat", seed=3))[0]
    model = mova.load("mova-worlds-tiny")
    timeline = model.align(folder / "worlds" / row.video, row.captions[0].text)
    for sentence in timeline.sentences:
        print(sentence.text)
        print("  found", [f"{s.span.start:.1f}-{s.span.end:.1f}" for s in sentence.spans])
        print("  truth", [f"{s.start:.1f}-{s.end:.1f}" for s in true_spans(row, sentence.text)])
    print("not described:", [f"{s.start:.1f}-{s.end:.1f}" for s in timeline.irrelevant])
    draw(timeline, picture)
    return timeline


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch), Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "timeline.png")
