"""Make a row from other rows: integration, sentence clips, still frames, summaries (GEXIA, Section 3.1, Appendix F).

No video is copied: a new row names segments of the files of the old rows. Sentences keep their times, shifted to the
new clock. Times are seconds; the clock of a row with several segments begins at 0.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mova.data.manifest import Caption, Row, Segment, TimedSentence, total_length
from mova.data.readers.annotations import origins, source_video, without_suffix
from mova.errors import DataError
from mova.text.sentences import ends_with_mark, has_words, split_sentences

STILL_SECONDS = 0.001
"""Duration of a row of a single frame, seconds: a very short clip that shows the frame on display there."""
TIME_DIGITS = 6
"""Decimals of shifted times: sums are rounded to microseconds."""
_CLIP_START = re.compile(r"_(\d+(?:\.\d+)?)_\d+(?:\.\d+)?$")
_ONE_SENTENCE = re.compile(r"[\w ,;:'\"()-]*[.!?]?")
"""Matches texts that are certainly one sentence; ten times faster than splitting them."""


def source_key(row: Row) -> str:
    """Return the key that rows of the same source share: the source's name, or a hash of several names."""
    names = origins(row)
    if len(names) == 1:
        return names[0]
    return f"several-{hashlib.blake2b(repr(names).encode(), digest_size=8).hexdigest()}"


def source_start(row: Row) -> float:
    """Return the time in its source video at which a row begins, seconds; `ID_000012_000022.mp4` begins at 12 s."""
    first = row.segments[0]
    return _file_start(first) + first.start


def source_end(row: Row) -> float | None:
    """Return the time in its source video at which a row ends, on the clock of `source_start`; None if not known."""
    last = row.segments[-1]
    return None if last.end is None else _file_start(last) + last.end


def clock_file(row: Row) -> str:
    """Return the file whose clock `source_start` uses; "" for the clock of the source video.

    A file named like its source, or with times in its name, uses the source's clock. The position of any other file
    in its source is not known.
    """
    video, names = row.segments[0].video, origins(row)
    known = len(names) > 1 or names[0] == source_video(video) or _CLIP_START.search(without_suffix(video))
    return "" if known else video


def sources_in_time_order(rows: Sequence[Row]) -> list[list[Row]]:
    """Group rows with the same source name by actual source, each group in order of time.

    A file named like its source, without times, is the source itself; a file of that name in another folder is another
    source. Files whose position in the source is not known are ordered by name, "scene2" before "scene10".

    Args:
        rows: rows with the same `source_key`, sorted by `source_start`.
    """
    if len({row.segments[0].video for row in rows}) == 1:
        return [list(rows)]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_folder_of_source(row), []).append(row)
    return [_by_file_name(group) if any(map(clock_file, group)) else group for group in groups.values()]


def _by_file_name(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (_natural_key(clock_file(row)), source_start(row)))


def _folder_of_source(row: Row) -> str:
    """Return the folder of a file that is itself the source; "" for a clip cut out of a source."""
    video, names = row.segments[0].video, origins(row)
    whole = names == [source_video(video)] and not _CLIP_START.search(without_suffix(video))
    return os.path.dirname(video) if whole else ""


def _natural_key(name: str) -> list[str | int]:
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", name)]


def _file_start(part: Segment) -> float:
    """Return the time in its source at which a file begins, from the file's name, seconds; 0 if the name has none."""
    match = _CLIP_START.search(without_suffix(part.video))
    return float(match[1]) if match else 0.0


def integrate(rows: Sequence[Row], id: str, granularity: str, operation: str) -> Row:
    """Concatenate the videos and the texts of rows.

    The k-th caption joins the k-th captions of all rows, as long as every row has one. A text without final
    punctuation gets a full stop. A caption without listed sentences, or with a single sentence without times, covers
    its whole clip.

    Args:
        rows: rows of one split, in order.
        id: id of the new row.
        granularity: its granularity.
        operation: `Operation.spec` of the operation.

    Raises:
        DataError: the rows are of different splits.
    """
    if len({row.split for row in rows}) > 1:
        splits = ", ".join(sorted({row.split for row in rows}))
        raise DataError(f"{id}: rows of several splits ({splits}) cannot be joined")
    parts = tuple(part for row in rows for part in row.segments)
    offsets: list[float | None] = [0.0]
    for row in rows[:-1]:
        offset, length = offsets[-1], row.length
        offsets.append(None if offset is None or length is None else offset + length)
    captions = []
    for number in range(min(len(row.captions) for row in rows)):
        texts = [_with_final_mark(row.captions[number].text) for row in rows]
        sentences: list[TimedSentence] = []
        for row, offset in zip(rows, offsets, strict=True):
            sentences.extend(_shifted_sentences(row, number, offset))
        captions.append(Caption(" ".join(texts), tuple(sentences)))
    meta: dict[str, Any] = {"granularity": granularity, "operation": operation, "members": [row.id for row in rows]}
    meta |= origin_meta(rows)
    duration = total_length(parts)
    return Row(
        id,
        "",
        None if duration is None else round(duration, TIME_DIGITS),
        rows[0].split,
        tuple(captions),
        source=rows[0].source if len({row.source for row in rows}) == 1 else None,
        meta=meta,
        parts=parts,
    )


def sentence_rows(row: Row, granularity: str, operation: str) -> Iterator[Row]:
    """Yield one row per span of timed sentences, in text order.

    Sentences with the same span, such as those of several captions, are captions of one row.
    """
    base = 0.0 if row.parts else row.start or 0.0
    clips: dict[tuple[Segment, ...], list[Caption]] = {}
    for sentence in (sentence for caption in row.captions for sentence in caption.sentences):
        if sentence.start is None or sentence.end is None:
            continue
        if parts := cut_segments(row.segments, sentence.start - base, sentence.end - base):
            clips.setdefault(parts, []).append(Caption(sentence.text))
    for count, (parts, texts) in enumerate(clips.items()):
        meta = {"granularity": granularity, "operation": operation, "of": row.id} | origin_meta([row])
        first, captions, id = parts[0], tuple(texts), f"{row.id}#{count}"
        if len(parts) == 1 and not row.parts:
            yield Row(id, first.video, row.duration, row.split, captions, first.start, first.end, row.source, meta=meta)
        else:
            total = total_length(parts)
            yield Row(id, "", total, row.split, captions, source=row.source, meta=meta, parts=parts)


def cut_segments(parts: Sequence[Segment], start: float, end: float) -> tuple[Segment, ...]:
    """Return the segments on display during `[start, end)` seconds of their common clock.

    Segments after one of unknown length are not reached.

    >>> cut_segments([Segment("a.mp4", 0.0, 4.0), Segment("b.mp4", 0.0, 4.0)], 3.0, 6.0)
    (Segment(video='a.mp4', start=3.0, end=4.0), Segment(video='b.mp4', start=0.0, end=2.0))
    """
    kept, offset = [], 0.0
    for part in parts:
        length = part.length
        segment_end = float("inf") if length is None else offset + length
        first, last = max(start, offset), min(end, segment_end)
        if last - first > STILL_SECONDS / 2:
            begin = round(part.start + first - offset, TIME_DIGITS)
            kept.append(Segment(part.video, begin, round(part.start + last - offset, TIME_DIGITS)))
        offset = segment_end
    return tuple(kept)


def compressed_row(row: Row, captions: Sequence[Caption], id: str, granularity: str, operation: str) -> Row:
    """Return a row of the same video with shorter captions."""
    meta = {**row.meta, "granularity": granularity, "operation": operation, "of": row.id}
    meta.pop("members", None)
    fields = {name: getattr(row, name) for name in ("video", "duration", "split", "start", "end", "source", "parts")}
    return Row(id, captions=tuple(captions), meta=meta, **fields)


def still_row(row: Row, frame: Segment, id: str, granularity: str, operation: str) -> Row:
    """Return a row of a single frame with the texts of `row`; `frame` is a segment of `STILL_SECONDS`."""
    captions = tuple(
        Caption(caption.text, tuple(TimedSentence(s.text) for s in caption.sentences)) for caption in row.captions
    )
    meta = {"granularity": granularity, "operation": operation, "of": row.id} | origin_meta([row])
    return Row(id, frame.video, None, row.split, captions, frame.start, frame.end, row.source, meta)


def listed_sentences(caption: Caption) -> tuple[TimedSentence, ...]:
    """Return the sentences that a caption lists; by default the whole text as one."""
    return caption.sentences or (TimedSentence(caption.text),)


def separate_sentences(caption: Caption) -> tuple[TimedSentence, ...]:
    """Return the listed sentences, split if an entry has several; each piece keeps the times of its entry.

    >>> [sentence.text for sentence in separate_sentences(Caption("A dog runs! It barks."))]
    ['A dog runs!', 'It barks.']
    """
    return tuple(piece for sentence in listed_sentences(caption) for piece in _split(sentence))


def _split(entry: TimedSentence) -> list[TimedSentence]:
    if _ONE_SENTENCE.fullmatch(entry.text) or not has_words(entry.text):
        return [entry]
    return [replace(entry, text=piece) for piece in split_sentences(entry.text)]


def _with_final_mark(text: str) -> str:
    text = text.strip()
    return text if ends_with_mark(text) else f"{text}."


def _shifted_sentences(row: Row, number: int, offset: float | None) -> Iterator[TimedSentence]:
    """Yield the sentences of a caption, shifted to the clock of a concatenation in which the row begins at `offset`."""
    base, length = 0.0 if row.parts else row.start or 0.0, row.length
    sentences = listed_sentences(row.captions[number])
    for sentence in sentences:
        start, end = sentence.start, sentence.end
        if start is None and len(sentences) == 1 and length is not None:
            start, end = base, base + length
        if start is None or end is None or offset is None:
            yield TimedSentence(_with_final_mark(sentence.text))
            continue
        first, last = max(0.0, start - base), end - base if length is None else min(end - base, length)
        shifted = (round(offset + first, TIME_DIGITS), round(offset + last, TIME_DIGITS))
        yield TimedSentence(_with_final_mark(sentence.text), *(shifted if shifted[0] < shifted[1] else (None, None)))


def origin_meta(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the metadata that names the source videos of rows: `source_video`, or `source_videos` if several."""
    names = list(dict.fromkeys(origin for row in rows for origin in origins(row)))
    return {"source_video": names[0]} if len(names) == 1 else {"source_videos": names}
