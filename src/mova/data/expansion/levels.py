"""One granularity made of another: rows come in one after the other and new ones go out, few at a time in memory.

Integration groups what belongs together (clips of one source video in order of time, those of them that touch, or any),
always of one split. Rows that cannot be used are counted by reason and named, never dropped without a word.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mova.data.expansion import rows as expand_rows
from mova.data.expansion import still_frames as stills
from mova.data.expansion.operations import Level
from mova.data.expansion.statistics import LeftOut
from mova.data.expansion.workspace import Store, pages
from mova.data.manifest import Caption, Row
from mova.errors import VideoError
from mova.text.sentences import has_words
from mova.text.summarize import Extractive, Summarizer, Summary, count_words
from mova.text.summarize_llm import by_endpoint, by_model

Maker = Callable[[Level, Store, Path, LeftOut], Iterator[Row]]
TOO_FEW = "clips of a source with too few of them"
NO_CAPTION = "row has no caption"
SHOWN = "clips that show the same as another of their source"


def make(level: Level, store: Store, folder: Path, left_out: LeftOut) -> Iterator[Row]:
    """The rows of a new granularity.

    Args:
        level: which, and of what.
        store: holds the rows it is made of.
        folder: where paths of videos begin.
        left_out: counts what cannot be used.

    Raises:
        ModelError: a summarizer that cannot be run or reached.
    """
    return _MAKERS[level.operation.kind](level, store, folder, left_out)


def _integrated(level: Level, store: Store, folder: Path, left_out: LeftOut) -> Iterator[Row]:
    operation = level.operation
    least, most = operation.options["min"], operation.options["max"]
    if operation.method == "random":
        groups = _drawn(level, store, left_out)
    else:
        gap = operation.options.get("gap")
        groups = (run for group in _by_source(level, store, left_out) for run in _runs(group, gap))
    key, number = "", 0
    for group in groups:
        together = operation.method if operation.method == "random" else expand_rows.source_key(group[0])
        if key != (key := f"{group[0].split}/{together}"):
            number = 0
        for members in _pieces(group, least, len(group) if operation.method == "random" else most, left_out):
            yield expand_rows.integrate(members, f"{level.name}/{key}/{number}", level.name, operation.told)
            _note_captions(members, left_out)
            number += 1


def _by_source(level: Level, store: Store, left_out: LeftOut) -> Iterator[list[Row]]:
    """Rows of one source video and split, in order of time, each stretch once."""
    for _, lines in groupby(store.stream(level.of, "source"), key=lambda entry: entry[:2]):
        rows = list(_with_captions((line for _, _, line in lines), left_out))
        for group in expand_rows.in_time(rows) if rows else ():
            yield list(_distinct(group, left_out))


def _distinct(rows: Sequence[Row], left_out: LeftOut) -> Iterator[Row]:
    """Rows without those that show the same as one before them: no long video shows a clip twice."""
    seen = set()
    for row in rows:
        if row.segments in seen:
            left_out.add(SHOWN, row.id)
        else:
            seen.add(row.segments)
            yield row


def _runs(group: Sequence[Row], gap: float | None) -> Iterator[list[Row]]:
    """A group cut where more than `gap` seconds lie between one row and the next, or where that is not known."""
    if gap is None:
        yield list(group)
        return
    run, reach = [group[0]], expand_rows.last_second(group[0])
    for row in group[1:]:
        end = expand_rows.last_second(row)
        together = expand_rows.clock(row) == expand_rows.clock(run[-1])
        if not together or reach is None or expand_rows.position(row) - reach > gap:
            yield run
            run, reach = [row], end
        else:
            run.append(row)
            reach = None if end is None else max(reach, end)
    yield run


def _drawn(level: Level, store: Store, left_out: LeftOut) -> Iterator[list[Row]]:
    """Rows of one split in groups of a random size within `min` and `max`, in random order."""
    options = level.operation.options
    least, most = options["min"], options["max"] or options["min"]
    for split, lines in groupby(store.stream(level.of, "random", options["seed"]), key=lambda entry: entry[0]):
        salt = int.from_bytes(hashlib.blake2b(split.encode(), digest_size=8).digest())
        rng = np.random.default_rng([options["seed"], salt])
        rows = _with_captions((line for _, _, line in lines), left_out)
        group: list[Row] = []
        size = int(rng.integers(least, most + 1))
        for row in rows:
            group.append(row)
            if len(group) == size:
                yield group
                group, size = [], int(rng.integers(least, most + 1))
        if len(group) >= least:
            yield group
        elif group:
            left_out.add("clips that remain after the last random group", group[0].id, len(group))


def _pieces(group: Sequence[Row], least: int, most: int | None, left_out: LeftOut) -> Iterator[list[Row]]:
    """A group in pieces of at least `least` and at most `most` rows, as even as possible; what remains is left out."""
    size = len(group)
    if size < least:
        left_out.add(TOO_FEW, group[0].id, size)
        return
    number = 1 if most is None else -(-size // most)
    if size // number < least:
        number -= 1
        assert most is not None
        left_out.add("clips beyond the last whole piece of their source", group[number * most].id, size - number * most)
        size = number * most
    bounds = [size * k // number for k in range(number + 1)]
    for first, last in pairwise(bounds):
        yield list(group[first:last])


def _note_captions(members: Sequence[Row], left_out: LeftOut) -> None:
    used = min(len(row.captions) for row in members)
    for row in members:
        if len(row.captions) > used:
            left_out.add("caption without a partner in every other clip", row.id, len(row.captions) - used)


def _segments(level: Level, store: Store, folder: Path, left_out: LeftOut) -> Iterator[Row]:
    for row in _rows(level, store):
        found = list(expand_rows.segments(row, level.name, level.operation.told))
        yield from found
        told = sum(len(caption.sentences) for caption in row.captions)
        if (used := sum(len(each.captions) for each in found)) < max(told, 1):
            left_out.add("sentence without known times", row.id, max(told, 1) - used)


def _images(level: Level, store: Store, folder: Path, left_out: LeftOut) -> Iterator[Row]:
    for row in _with_captions((line for _, _, line in store.stream(level.of)), left_out):
        try:
            frame = None
            if level.operation.method == "keyframe":
                frame = stills.keyframe(row.segments, folder)
                if frame is None:
                    left_out.add("clip without a keyframe; its middle frame is taken", row.id, kept=True)
            frame = frame or stills.middle(row.segments, folder)
        except VideoError as error:
            left_out.add("video cannot be read", f"{row.id}: {error}")
            continue
        yield expand_rows.still(row, frame, f"{level.name}/{row.id}", level.name, level.operation.told)


def _compressed(level: Level, store: Store, folder: Path, left_out: LeftOut) -> Iterator[Row]:
    summarizer, words = summarizer_of(level), level.operation.options["words"]
    for rows in pages(_with_captions((line for _, _, line in store.stream(level.of)), left_out), summarizer.batch):
        told = [[expand_rows.single_sentences(caption) for caption in row.captions] for row in rows]
        texts = [tuple(s.text for s in sentences) for each in told for sentences in each]
        answers = iter(_summaries(texts, summarizer, store))
        for row, each in zip(rows, told, strict=True):
            short = [next(answers) for _ in each]
            if not all(has_words(summary.text) for summary in short):
                left_out.add("the summariser gave no words", row.id)
                continue
            if any(count_words(summary.text) > words for summary in short):
                left_out.add("summary longer than asked; kept", row.id, kept=True)
            captions = [
                Caption(summary.text, tuple(sentences[k] for k in summary.kept))
                for summary, sentences in zip(short, each, strict=True)
            ]
            yield expand_rows.compressed(row, captions, f"{level.name}/{row.id}", level.name, level.operation.told)


def summarizer_of(level: Level) -> Summarizer:
    """The summarizer that an operation names."""
    kinds: dict[str, Callable[..., Summarizer]] = {
        "extractive": Extractive,
        "transformers": by_model,
        "endpoint": by_endpoint,
    }
    return kinds[level.operation.method](**level.operation.options)


def _summaries(texts: Sequence[tuple[str, ...]], summarizer: Summarizer, store: Store) -> list[Summary]:
    """Summaries of texts; those of language models are made once and remembered."""
    if isinstance(summarizer, Extractive):
        return summarizer.summarize(texts)
    keys = [_key(summarizer.name, text) for text in texts]
    known: dict[bytes, Any] = {key: store.remembered(key) for key in keys}
    missing = {key: text for key, text in zip(keys, texts, strict=True) if known[key] is None}
    if missing:
        made = summarizer.summarize(list(missing.values()))
        known |= {key: [summary.text, summary.kept] for key, summary in zip(missing, made, strict=True)}
        store.remember((key, known[key]) for key in missing)
    return [Summary(known[key][0], tuple(known[key][1])) for key in keys]


def _key(name: str, text: tuple[str, ...]) -> bytes:
    return hashlib.blake2b(json.dumps([name, text]).encode(), digest_size=16).digest()


def _rows(level: Level, store: Store) -> Iterator[Row]:
    return (Row.from_json(json.loads(line)) for _, _, line in store.stream(level.of))


def _with_captions(lines: Iterator[str], left_out: LeftOut) -> Iterator[Row]:
    for line in lines:
        row = Row.from_json(json.loads(line))
        if row.captions:
            yield row
        else:
            left_out.add(NO_CAPTION, row.id)


_MAKERS: dict[str, Maker] = {
    "integrate": _integrated,
    "compress": _compressed,
    "image": _images,
    "segments": _segments,
}
