"""Worlds: procedural videos and captions whose factors, spans and nuisances are known.

    sample_world -> World (a script) -> render_world (frames at any times) or write_worlds (mp4 files and a manifest)

Shape legend: T frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.data.manifest import Caption, Row, TimedSentence, write_manifest
from mova.errors import UsageError
from mova.types import Pixels, Span
from mova.video.writer import write_mp4
from mova.worlds.captions import words
from mova.worlds.factors import Event
from mova.worlds.negatives import spans_of
from mova.worlds.render import render_event, render_scenery
from mova.worlds.script import Stretch, World, check_request, sample_world

__all__ = [
    "Stretch",
    "World",
    "render_world",
    "sample_world",
    "stream_world",
    "true_spans",
    "world_row",
    "write_worlds",
]


MANIFEST = "manifest.jsonl"
SPLITS = ("train", "train", "train", "val", "test")
"""Video i is of split i modulo 5."""
_CHUNK_PIXELS = 2**21
"""Frames are rendered so many pixels at a time: memory does not grow with the length of a video."""


def render_world(world: World, times: npt.ArrayLike, size: int) -> Pixels:
    """Frames at any times, in any order.

    Args:
        world: the script.
        times: (T,) seconds, each in [0, world.duration).
        size: pixels, square.

    Returns:
        uint8 (T, size, size, 3).

    Raises:
        ValueError: a time outside of the video.
    """
    seconds = np.asarray(times, dtype=np.float64)
    if seconds.size and not (seconds.min() >= 0 and seconds.max() < world.duration):
        raise ValueError(f"times must lie in [0, {world.duration}) seconds")
    starts = np.array([stretch.span.start for stretch in world.stretches])
    which = np.searchsorted(starts, seconds, side="right") - 1
    pixels = np.empty((len(seconds), size, size, 3), dtype=np.uint8)
    for i in np.unique(which).tolist():
        stretch = world.stretches[i]
        mine = which == i
        local, duration = seconds[mine] - stretch.span.start, stretch.span.duration
        if isinstance(stretch.shows, Event):
            frames = render_event(stretch.shows, stretch.nuisance, world.style, local, duration, size)
        else:
            frames = render_scenery(stretch.shows, stretch.nuisance, world.style, local, duration, size)
        pixels[mine] = frames
    return pixels


def stream_world(world: World, size: int) -> Iterator[Pixels]:
    """All frames of the video at its own rate, in chunks of a bounded number of pixels."""
    total = round(world.duration * world.fps)
    chunk = max(1, _CHUNK_PIXELS // (size * size))
    for begin in range(0, total, chunk):
        yield render_world(world, np.arange(begin, min(begin + chunk, total)) / world.fps, size)


def write_worlds(
    out: str | Path, videos: int, seconds: float, style: str, seed: int, *, size: int = 256, fps: float = 8.0
) -> Path:
    """Render videos into a folder, `OUT/*.mp4` and `OUT/manifest.jsonl`.

    Args:
        out: folder, made where absent; files of equal names are replaced.
        videos: how many; video i depends on the seed and i alone.
        seconds: length of each, 10 to 1200.
        style: one of `worlds_render.STYLES`.
        seed: same seed, same bytes of manifest.
        size: pixels, square, even, 32 to 1080.
        fps: frames per second.

    Returns:
        The manifest's path.

    Raises:
        UsageError: an argument out of its range.
    """
    if videos < 1:
        raise UsageError(f"the number of videos must be at least 1, not {videos}")
    if not 32 <= size <= 1080 or size % 2:
        raise UsageError(f"size must be an even number of pixels from 32 to 1080, not {size}")
    check_request(seed, seconds, style, 0, fps)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder to write to")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(videos):
        world = sample_world(seed, seconds, style, index=index, fps=fps)
        row = world_row(world, size)
        write_mp4(folder / row.video, stream_world(world, size), fps=fps)
        rows.append(row)
    return write_manifest(folder / MANIFEST, rows)


def world_row(world: World, size: int) -> Row:
    """The manifest's row of a video.

    Captions are the paragraphs, then single sentences. A sentence's `start` and `end` are the first span in which it
    is true; `meta["spans"]` has all of them, by caption and sentence.
    """
    lines_of = [*world.paragraphs, *((line,) for line in world.singles)]
    captions, spans = [], []
    for lines in lines_of:
        found = [spans_of(line.claim, world.shown) for line in lines]
        timed = [TimedSentence(line.text, s[0].start, s[0].end) for line, s in zip(lines, found, strict=True)]
        captions.append(Caption(" ".join(line.text for line in lines), tuple(timed)))
        spans.append([[[span.start, span.end] for span in s] for s in found])
    meta = {
        "style": world.style,
        "seed": world.seed,
        "index": world.index,
        "fps": world.fps,
        "size": size,
        "events": [_stretch_json(s) for s in world.stretches if s.role in ("told", "repeat")],
        "distractors": [_stretch_json(s) for s in world.stretches if s.role not in ("told", "repeat")],
        "spans": spans,
        "mentioned": [[list(line.claim.mentioned) for line in lines] for lines in lines_of],
        "negatives": [
            {"kind": n.kind, "text": n.text, "sentence": n.sentence, "sentences": list(n.sentences)}
            for n in world.negatives
        ],
    }
    split = SPLITS[world.index % len(SPLITS)]
    return Row(world.id, f"{world.id}.mp4", world.duration, split, tuple(captions), source="worlds", meta=meta)


def true_spans(row: Row | dict[str, Any], text: str) -> tuple[Span, ...]:
    """All spans of a video in which one of its own sentences is true.

    Args:
        row: of a Worlds manifest, parsed or as JSON.
        text: the sentence; letter case and punctuation do not matter.

    Raises:
        KeyError: no caption of the row holds that sentence.
    """
    document = row.to_json() if isinstance(row, Row) else row
    wanted = words(text)
    for caption, spans in zip(document["captions"], document["meta"]["spans"], strict=True):
        for sentence, found in zip(caption["sentences"], spans, strict=True):
            if words(sentence["text"]) == wanted:
                return tuple(Span(start, end) for start, end in found)
    raise KeyError(f"no caption of {document['id']!r} holds the sentence {text!r}")


def _stretch_json(stretch: Stretch) -> dict[str, Any]:
    return {
        "start": stretch.span.start,
        "end": stretch.span.end,
        "role": stretch.role,
        "shows": stretch.shows.to_json(),
        "nuisance": stretch.nuisance.to_json(),
    }
