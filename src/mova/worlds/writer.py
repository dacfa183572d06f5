"""Render and write Worlds: procedural videos and captions with known factors, spans and nuisances.

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
from mova.worlds.script import Segment, World, check_request, sample_world

__all__ = [
    "Segment",
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
"""Video i belongs to split i modulo 5."""
_CHUNK_PIXELS = 2**21
"""Pixels rendered at a time, so that memory does not grow with the length of a video."""


def render_world(world: World, times: npt.ArrayLike, size: int) -> Pixels:
    """Render frames at any times, in any order.

    Args:
        world: the script.
        times: (T,) seconds, each in [0, world.duration).
        size: width and height in pixels.

    Returns:
        uint8 (T, size, size, 3).

    Raises:
        ValueError: a time is outside the video.

    Example:
        >>> render_world(sample_world(0, 10.0, "flat"), [0.0, 9.5], size=32).shape
        (2, 32, 32, 3)
    """
    seconds = np.asarray(times, dtype=np.float64)
    if seconds.size and not (seconds.min() >= 0 and seconds.max() < world.duration):
        raise ValueError(f"times must be in [0, {world.duration}) seconds")
    starts = np.array([segment.span.start for segment in world.segments])
    index = np.searchsorted(starts, seconds, side="right") - 1
    pixels = np.empty((len(seconds), size, size, 3), dtype=np.uint8)
    for i in np.unique(index).tolist():
        segment = world.segments[i]
        inside = index == i
        local, duration = seconds[inside] - segment.span.start, segment.span.duration
        if isinstance(segment.content, Event):
            frames = render_event(segment.content, segment.nuisance, world.style, local, duration, size)
        else:
            frames = render_scenery(segment.content, segment.nuisance, world.style, local, duration, size)
        pixels[inside] = frames
    return pixels


def stream_world(world: World, size: int) -> Iterator[Pixels]:
    """Yield all frames of the video at its own rate, in chunks of a bounded number of pixels."""
    total = round(world.duration * world.fps)
    chunk = max(1, _CHUNK_PIXELS // (size * size))
    for begin in range(0, total, chunk):
        yield render_world(world, np.arange(begin, min(begin + chunk, total)) / world.fps, size)


def write_worlds(
    out: str | Path, videos: int, seconds: float, style: str, seed: int, *, size: int = 256, fps: float = 8.0
) -> Path:
    """Render videos into a folder, `OUT/*.mp4` and `OUT/manifest.jsonl`.

    Args:
        out: folder; created if missing. Existing files of the same names are replaced.
        videos: number of videos; video i depends only on the seed and i.
        seconds: length of each video, 10 to 1200.
        style: one of `mova.worlds.render.STYLES`.
        seed: the same seed writes the same manifest, byte for byte.
        size: width and height in pixels, even, 32 to 1080.
        fps: frames per second.

    Returns:
        Path of the manifest.

    Raises:
        UsageError: an argument is out of range.

    Example:
        >>> manifest = write_worlds("worlds", videos=1, seconds=10, style="flat", seed=0, size=64)
        >>> sorted(path.name for path in manifest.parent.iterdir())
        ['manifest.jsonl', 'world-flat-0-00000.mp4']
    """
    if videos < 1:
        raise UsageError(f"the number of videos must be at least 1, not {videos}")
    if not 32 <= size <= 1080 or size % 2:
        raise UsageError(f"size must be an even number of pixels from 32 to 1080, not {size}")
    check_request(seed, seconds, style, 0, fps)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; pass a folder to write to")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(videos):
        world = sample_world(seed, seconds, style, index=index, fps=fps)
        row = world_row(world, size)
        write_mp4(folder / row.video, stream_world(world, size), fps=fps)
        rows.append(row)
    return write_manifest(folder / MANIFEST, rows)


def world_row(world: World, size: int) -> Row:
    """Return the manifest row of a video.

    Captions are the paragraphs, then single sentences. A sentence's `start` and `end` are the first span in which it
    is true; `meta["spans"]` lists all spans, by caption and sentence.
    """
    lines_of = [*world.paragraphs, *((line,) for line in world.singles)]
    captions, spans = [], []
    for lines in lines_of:
        true = [spans_of(line.claim, world.events) for line in lines]
        timed = [TimedSentence(line.text, s[0].start, s[0].end) for line, s in zip(lines, true, strict=True)]
        captions.append(Caption(" ".join(line.text for line in lines), tuple(timed)))
        spans.append([[[span.start, span.end] for span in s] for s in true])
    meta = {
        "style": world.style,
        "seed": world.seed,
        "index": world.index,
        "fps": world.fps,
        "size": size,
        "events": [_segment_json(s) for s in world.segments if s.role in ("told", "repeat")],
        "distractors": [_segment_json(s) for s in world.segments if s.role not in ("told", "repeat")],
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
    """Return all spans of a video in which one of its sentences is true.

    Args:
        row: row of a Worlds manifest, parsed or as JSON.
        text: the sentence; case and punctuation are ignored.

    Raises:
        KeyError: no caption of the row contains the sentence.

    Example:
        >>> from mova.data.manifest import read_manifest
        >>> true_spans(read_manifest("films/manifest.jsonl")[0], "Two black discs shrink.")
        (Span(start=2.625, end=6.25),)
    """
    document = row.to_json() if isinstance(row, Row) else row
    target = words(text)
    for caption, spans in zip(document["captions"], document["meta"]["spans"], strict=True):
        for sentence, bounds in zip(caption["sentences"], spans, strict=True):
            if words(sentence["text"]) == target:
                return tuple(Span(start, end) for start, end in bounds)
    raise KeyError(f"no caption of {document['id']!r} contains the sentence {text!r}")


def _segment_json(segment: Segment) -> dict[str, Any]:
    return {
        "start": segment.span.start,
        "end": segment.span.end,
        "role": segment.role,
        "shows": segment.content.to_json(),
        "nuisance": segment.nuisance.to_json(),
    }
