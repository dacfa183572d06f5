"""Captions aligned with indexed videos: as the page shows them, corrected, exported, saved as training data."""

from __future__ import annotations

import json
import pickle
import secrets
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mova.data.manifest import Caption, Row, TimedSentence, read_manifest, write_manifest
from mova.data.readers.subtitles import SUBTITLE_SUFFIXES, read_cues
from mova.errors import DataError
from mova.exports.editing import write_otio
from mova.exports.subtitles import write_chapters, write_srt, write_vtt
from mova.exports.table import write_csv
from mova.scoring.spans import unseen
from mova.search.index import Index
from mova.serve.files.children import Children
from mova.serve.finder import binned
from mova.serve.library.catalog import Catalog, Entry, descriptor_path
from mova.serve.problems import Gone, NotFound, Problem
from mova.text.units import sentences_or_windows
from mova.types import ScoredSpan, Span, Timeline, complement
from mova.utils.hashing import digest

if TYPE_CHECKING:
    from mova.scoring.timeline_decoder import Order

KEPT = 64
"""Alignments remembered for export and correction."""
MOST_SENTENCES = 400
"""Sentences of one caption; more would hold up other requests for long."""
DRAWING_SECONDS = 120.0
TOLERANCE = 0.05
"""Seconds by which a corrected span may go beyond the end of its video."""
WRITERS = {"srt": write_srt, "vtt": write_vtt, "csv": write_csv, "chapters": write_chapters, "otio": write_otio}
FORMATS = {
    "json": ("application/json", ".json"),
    "png": ("image/png", ".png"),
    "srt": ("application/x-subrip", ".srt"),
    "vtt": ("text/vtt", ".vtt"),
    "csv": ("text/csv", ".csv"),
    "chapters": ("text/plain", ".txt"),
    "otio": ("application/json", ".otio"),
}
"""Name of a format -> media type and suffix."""
Spans = Sequence[Sequence[tuple[float, float]]]
"""(start, end) of the spans of every sentence, seconds."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """A caption aligned with a video.

    Attributes:
        id: by which clients name it.
        entry: the video.
        caption: the text.
        timeline: the result; its `video` is the name of the file.
    """

    id: str
    entry: Entry
    caption: str
    timeline: Timeline

    def to_json(self) -> dict[str, Any]:
        """Return times and posteriors in bins, and the spans."""
        times = np.empty(0)
        rows = []
        for row in self.timeline.sentences:
            curve = row.relevance if row.posterior is None else row.posterior
            times, values = binned(self.timeline.times, curve, self.timeline.duration)
            rows.append(
                {
                    "text": row.text,
                    "shown": None if row.shown is None else round(row.shown, 4),
                    "spans": [span.to_json() for span in row.spans],
                    "likely": None if row.likely is None else row.likely.to_json(),
                    "posterior": [round(float(value), 4) for value in values],
                }
            )
        return {
            "id": self.id,
            "duration": round(self.timeline.duration, 3),
            "times": [round(float(time), 3) for time in times],
            "sentences": rows,
            "uncovered": [{"start": round(s.start, 3), "end": round(s.end, 3)} for s in self.timeline.irrelevant],
            "order": None if self.timeline.order is None else self.timeline.order.choice,
        }


class Aligner:
    """Aligns captions, and keeps the last results.

    Args:
        catalog: the videos.
        children: runs the process that draws.
        corrections: manifest of corrected alignments.
    """

    def __init__(self, catalog: Catalog, children: Children, corrections: Path) -> None:
        self._catalog, self._children = catalog, children
        self.corrections = corrections
        self._results: OrderedDict[str, Alignment] = OrderedDict()
        self._lock = threading.Lock()

    def align(self, index: Index, entry: Entry, caption: str, order: Order) -> Alignment:
        """Align a caption with the stored frames of a video; in the engine's thread.

        Raises:
            Gone: the video is no longer there.
        """
        stored = index.stored(entry.record.path)
        if stored is None:
            raise Gone(f"{entry.name}: was moved, deleted or changed since it was indexed")
        timeline = index.model.align(stored, caption, name=entry.name, order=order)
        alignment = Alignment(secrets.token_hex(8), entry, caption, timeline)
        with self._lock:
            self._results[alignment.id] = alignment
            while len(self._results) > KEPT:
                self._results.popitem(last=False)
        return alignment

    def get(self, name: str) -> Alignment:
        """Return an alignment by id.

        Raises:
            NotFound: it was not made here, or is no longer remembered.
        """
        with self._lock:
            alignment = self._results.get(name)
        if alignment is None:
            raise NotFound("this alignment is no longer remembered; align the caption again")
        return alignment

    def export(self, alignment: Alignment, kind: str, spans: Spans | None) -> bytes:
        """Return an alignment, with corrected spans if there are some, as a file of one of `FORMATS`."""
        timeline = alignment.timeline if spans is None else corrected(alignment.timeline, spans)
        if kind == "json":
            return (json.dumps(timeline.to_json(), allow_nan=False, indent=1) + "\n").encode()
        with tempfile.TemporaryDirectory(prefix="mova-serve-") as folder:
            target = Path(folder, f"timeline{FORMATS[kind][1]}")
            if kind == "png":
                self._draw(alignment.entry, timeline, target)
            else:
                WRITERS[kind](timeline, target)
            return target.read_bytes()

    def _draw(self, entry: Entry, timeline: Timeline, target: Path) -> None:
        with self._catalog.file(entry) as file:
            # The plot shows the name of the file, and reads its pictures from what was opened here.
            link = target.with_name(entry.name)
            link.symlink_to(descriptor_path(file.fileno()) or entry.record.path)
            data = pickle.dumps(replace(timeline, video=str(link)))
            failure = self._children.run("mova.serve.files.plot_process", [str(target)], DRAWING_SECONDS, data)
        if failure is not None:
            cause = failure.cause.replace(f"{link}: ", "").replace(str(link), entry.name)
            raise Problem(f"{entry.name}: {cause}", failure.status)

    def save(self, alignment: Alignment, spans: Spans) -> tuple[str, int]:
        """Save corrected spans as a row of the manifest; a row for the same video and caption is replaced.

        Returns:
            The id of the row, and the number of rows.
        """
        record = alignment.entry.record
        timeline = corrected(alignment.timeline, spans)
        sentences = []
        for row in timeline.sentences:
            sentences += [TimedSentence(row.text, s.span.start, s.span.end) for s in row.spans]
            if not row.spans:
                sentences.append(TimedSentence(row.text))
        changed = [
            number
            for number, (old, new) in enumerate(zip(alignment.timeline.sentences, timeline.sentences, strict=True))
            if old.spans != new.spans
        ]
        caption = Caption(alignment.caption, tuple(sentences))
        name = f"{alignment.entry.id}-{digest([record.content, alignment.caption])}"
        meta = {"content": record.content, "corrected": changed}
        made = Row(name, record.path, record.duration, "train", (caption,), source="mova serve", meta=meta)
        with self._lock:
            rows = {row.id: row for row in self._rows()} | {name: made}
            self.corrections.parent.mkdir(parents=True, exist_ok=True)
            write_manifest(self.corrections, rows.values())
        return name, len(rows)

    def _rows(self) -> list[Row]:
        return read_manifest(self.corrections, outside=True) if self.corrections.is_file() else []


def cue_texts(name: str, content: str) -> str:
    """Return the texts of subtitles, one cue per line, without markup.

    Raises:
        Problem: this is not SubRip or WebVTT, or has no words.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in SUBTITLE_SUFFIXES:
        return content
    with tempfile.TemporaryDirectory(prefix="mova-serve-") as folder:
        file = Path(folder, f"subtitles{suffix}")
        file.write_text(content, encoding="utf-8")
        try:
            return "\n".join(cue.text for cue in read_cues(file))
        except DataError as error:
            raise Problem(str(error).replace(str(file), name)) from error


def check_caption(text: str) -> None:
    """Raise if a caption cannot be aligned here.

    Raises:
        UsageError: it has no words.
        Problem: it has too many sentences.
    """
    count = len(sentences_or_windows(text))
    if count > MOST_SENTENCES:
        raise Problem(
            f"the caption has {count:,} sentences, but at most {MOST_SENTENCES} are aligned at once here; "
            "align its parts, or use `mova align`"
        )


def corrected(timeline: Timeline, spans: Spans) -> Timeline:
    """Return a timeline with other spans; a span that did not change keeps its score and posterior.

    Raises:
        Problem: spans of another number of sentences, or spans that are not possible.
    """
    if len(spans) != len(timeline.sentences):
        raise Problem(f"spans of {len(spans)} sentences, but the caption has {len(timeline.sentences)}")
    rows = []
    for row, wanted in zip(timeline.sentences, spans, strict=True):
        kept = {(round(s.span.start, 3), round(s.span.end, 3)): s for s in row.spans}
        made = []
        for start, end in sorted(wanted):
            key = (round(start, 3), round(end, 3))
            made.append(kept[key] if key in kept else _scored(timeline, row.relevance, start, end))
        rows.append(replace(row, spans=tuple(made), likely=None if made else row.likely))
    covered = [s.span for row in rows for s in row.spans]
    blind = unseen(timeline.times, timeline.duration, timeline.step)
    uncovered = tuple(complement([*covered, *blind], timeline.duration))
    return replace(timeline, sentences=tuple(rows), irrelevant=uncovered)


def _scored(timeline: Timeline, relevance: Any, start: float, end: float) -> ScoredSpan:
    if end > timeline.duration + TOLERANCE:
        raise Problem(f"a span ends at {end:.2f} s, after the video's {timeline.duration:.2f} s")
    try:
        span = Span(start, min(end, timeline.duration))
    except ValueError as error:
        raise Problem(str(error)) from error
    inside = (timeline.times >= start) & (timeline.times < end)
    if not inside.any():
        inside = np.arange(len(timeline.times)) == int(np.abs(timeline.times - (start + end) / 2).argmin())
    return ScoredSpan(span, float(relevance[inside].max()))
