"""One row out of others: integration, segments, stills, summaries (GEXIA, Section 3.1 and Appendix F).

Nothing is copied: a new row names stretches of the files that the old ones show. Sentences keep their times, moved to
the new clock. Times are seconds; a new row's clock begins at 0 with its first part.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mova.data.manifest import Caption, Row, Segment, TimedSentence, total_length
from mova.data.readers.annotations import origins, source_video, without_ending
from mova.errors import DataError
from mova.text.sentences import ends_with_mark, has_words, split_sentences

STILL = 0.001
"""Seconds that a row of a single frame lasts, so that it is a clip like any other: the frame on display there."""
DIGITS = 6
"""Of moved times: sums of decimals are rounded to microseconds."""
_CLIP_START = re.compile(r"_(\d+(?:\.\d+)?)_\d+(?:\.\d+)?$")
_PLAIN = re.compile(r"[\w ,;:'\"()-]*[.!?]?")
"""Certainly one sentence, which most are: seen in a tenth of the time."""


def source_key(row: Row) -> str:
    """What rows of the same source share: its name; for a row of several sources, a key of all of them."""
    found = origins(row)
    if len(found) == 1:
        return found[0]
    return f"several-{hashlib.blake2b(repr(found).encode(), digest_size=8).hexdigest()}"


def position(row: Row) -> float:
    """Where a row begins in its source, seconds: `ID_000012_000022.mp4` was cut out at 12 s."""
    first = row.segments[0]
    return _cut_at(first) + first.start


def last_second(row: Row) -> float | None:
    """Where a row is over in its source, by the same clock as `position`; None where not known."""
    last = row.segments[-1]
    return None if last.end is None else _cut_at(last) + last.end


def clock(row: Row) -> str:
    """Whose clock `position` is by: "" for the source's own, else a file whose place in its source nobody tells.

    A file that is named as its source, or whose name tells seconds, is by the source's clock.
    """
    video, found = row.segments[0].video, origins(row)
    known = len(found) > 1 or found[0] == source_video(video) or _CLIP_START.search(without_ending(video))
    return "" if known else video


def in_time(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of one source's name, sorted by `position`, as one group for every source that has it, in order of time.

    A file that is named as its source, without seconds, is the source; one of that name in another folder is another.
    Files whose place in their source is not told follow one another by their names, "scene2" before "scene10".
    """
    if len({row.segments[0].video for row in rows}) == 1:
        return [list(rows)]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_folder_of_source(row), []).append(row)
    return [
        sorted(group, key=lambda row: (_natural(clock(row)), position(row))) if any(map(clock, group)) else group
        for group in groups.values()
    ]


def _folder_of_source(row: Row) -> str:
    """The folder of a file that is itself the source; "" for a clip that was cut out of one."""
    video, found = row.segments[0].video, origins(row)
    whole = found == [source_video(video)] and not _CLIP_START.search(without_ending(video))
    return os.path.dirname(video) if whole else ""


def _natural(name: str) -> list[str | int]:
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", name)]


def _cut_at(part: Segment) -> float:
    """The second of its source at which a file begins, as its name tells; 0 where it does not."""
    told = _CLIP_START.search(without_ending(part.video))
    return float(told[1]) if told else 0.0


def integrate(rows: Sequence[Row], id: str, granularity: str, operation: str) -> Row:
    """The videos of rows one after the other, and their texts with them.

    The k-th caption is made of the k-th captions of all, as far as every row has one. A text that no mark ends is given
    a full stop. A caption without listed sentences, or with one that has no times, is told of its whole clip.

    Raises:
        DataError: rows of different splits.
    """
    if len({row.split for row in rows}) > 1:
        raise DataError(f"{id}: its rows are of splits {', '.join(sorted({row.split for row in rows}))}")
    parts = tuple(part for row in rows for part in row.segments)
    offsets: list[float | None] = [0.0]
    for row in rows[:-1]:
        offset, length = offsets[-1], row.length
        offsets.append(None if offset is None or length is None else offset + length)
    captions = []
    for number in range(min(len(row.captions) for row in rows)):
        texts = [_ended(row.captions[number].text) for row in rows]
        told = [s for row, offset in zip(rows, offsets, strict=True) for s in _moved(row, number, offset)]
        captions.append(Caption(" ".join(texts), tuple(told)))
    meta: dict[str, Any] = {"granularity": granularity, "operation": operation, "members": [row.id for row in rows]}
    meta |= told_origins(rows)
    duration = total_length(parts)
    return Row(
        id,
        "",
        None if duration is None else round(duration, DIGITS),
        rows[0].split,
        tuple(captions),
        source=rows[0].source if len({row.source for row in rows}) == 1 else None,
        meta=meta,
        parts=parts,
    )


def segments(row: Row, granularity: str, operation: str) -> Iterator[Row]:
    """A row for every stretch that sentences with known times tell of, in the order of the text.

    Sentences of the same seconds, such as those of several captions, are captions of one row.
    """
    base = 0.0 if row.parts else row.start or 0.0
    stretches: dict[tuple[Segment, ...], list[Caption]] = {}
    for told in (sentence for caption in row.captions for sentence in caption.sentences):
        if told.start is None or told.end is None:
            continue
        if parts := cut(row.segments, told.start - base, told.end - base):
            stretches.setdefault(parts, []).append(Caption(told.text))
    for count, (parts, texts) in enumerate(stretches.items()):
        meta = {"granularity": granularity, "operation": operation, "of": row.id} | told_origins([row])
        first, captions, id = parts[0], tuple(texts), f"{row.id}#{count}"
        if len(parts) == 1 and not row.parts:
            yield Row(id, first.video, row.duration, row.split, captions, first.start, first.end, row.source, meta=meta)
        else:
            total = total_length(parts)
            yield Row(id, "", total, row.split, captions, source=row.source, meta=meta, parts=parts)


def cut(parts: Sequence[Segment], start: float, end: float) -> tuple[Segment, ...]:
    """What parts show during `[start, end)` of their common clock; up to the first whose length is not known."""
    kept, offset = [], 0.0
    for part in parts:
        length = part.length
        until = float("inf") if length is None else offset + length
        first, last = max(start, offset), min(end, until)
        if last - first > STILL / 2:
            begin = round(part.start + first - offset, DIGITS)
            kept.append(Segment(part.video, begin, round(part.start + last - offset, DIGITS)))
        offset = until
    return tuple(kept)


def compressed(row: Row, captions: Sequence[Caption], id: str, granularity: str, operation: str) -> Row:
    """The same video with shorter captions."""
    meta = {**row.meta, "granularity": granularity, "operation": operation, "of": row.id}
    meta.pop("members", None)
    fields = {name: getattr(row, name) for name in ("video", "duration", "split", "start", "end", "source", "parts")}
    return Row(id, captions=tuple(captions), meta=meta, **fields)


def still(row: Row, frame: Segment, id: str, granularity: str, operation: str) -> Row:
    """One frame of a row with its texts; `frame` is a stretch of `STILL` seconds."""
    captions = tuple(
        Caption(caption.text, tuple(TimedSentence(s.text) for s in caption.sentences)) for caption in row.captions
    )
    meta = {"granularity": granularity, "operation": operation, "of": row.id} | told_origins([row])
    return Row(id, frame.video, None, row.split, captions, frame.start, frame.end, row.source, meta)


def told_sentences(caption: Caption) -> tuple[TimedSentence, ...]:
    """The sentences that a caption lists, or the whole text as one."""
    return caption.sentences or (TimedSentence(caption.text),)


def single_sentences(caption: Caption) -> tuple[TimedSentence, ...]:
    """What `told_sentences` gives, cut where it holds several sentences; each piece has the times of the whole."""
    return tuple(piece for told in told_sentences(caption) for piece in _pieces(told))


def _pieces(told: TimedSentence) -> list[TimedSentence]:
    if _PLAIN.fullmatch(told.text) or not has_words(told.text):
        return [told]
    return [replace(told, text=piece) for piece in split_sentences(told.text)]


def _ended(text: str) -> str:
    text = text.strip()
    return text if ends_with_mark(text) else f"{text}."


def _moved(row: Row, number: int, offset: float | None) -> Iterator[TimedSentence]:
    """The sentences of a caption by the clock of the whole, where the row begins at `offset`."""
    base, length = 0.0 if row.parts else row.start or 0.0, row.length
    sentences = told_sentences(row.captions[number])
    for told in sentences:
        start, end = told.start, told.end
        if start is None and len(sentences) == 1 and length is not None:
            start, end = base, base + length
        if start is None or end is None or offset is None:
            yield TimedSentence(_ended(told.text))
            continue
        first, last = max(0.0, start - base), end - base if length is None else min(end - base, length)
        moved = (round(offset + first, DIGITS), round(offset + last, DIGITS))
        yield TimedSentence(_ended(told.text), *(moved if moved[0] < moved[1] else (None, None)))


def told_origins(rows: Sequence[Row]) -> dict[str, Any]:
    """`source_video`, or `source_videos` where there are several, of what rows show."""
    found = list(dict.fromkeys(origin for row in rows for origin in origins(row)))
    return {"source_video": found[0]} if len(found) == 1 else {"source_videos": found}
