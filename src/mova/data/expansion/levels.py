"""Make one granularity from another, as a stream of rows in bounded memory.

Integration groups clips of one split: those of a source video in order of time, adjacent ones among them, or random
ones. Rows that cannot be used are counted by reason and named, never dropped silently.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mova.data.expansion.operations import Level
from mova.data.expansion.rows import (
    clock_file,
    compressed_row,
    integrate,
    sentence_rows,
    separate_sentences,
    source_end,
    source_key,
    source_start,
    sources_in_time_order,
    still_row,
)
from mova.data.expansion.statistics import LeftOut
from mova.data.expansion.still_frames import keyframe, middle
from mova.data.expansion.workspace import Workspace, pages
from mova.data.manifest import Caption, Row
from mova.errors import VideoError
from mova.text.sentences import has_words
from mova.text.summarize import Extractive, Summarizer, Summary, count_words
from mova.text.summarize_llm import endpoint_summarizer, model_summarizer

Maker = Callable[[Level, Workspace, Path, LeftOut], Iterator[Row]]
TOO_FEW_CLIPS = "clips of a source with too few of them"
NO_CAPTION = "row has no caption"
DUPLICATE_CLIP = "clips that show the same as another of their source"


def make_rows(level: Level, workspace: Workspace, folder: Path, left_out: LeftOut) -> Iterator[Row]:
    """Yield the rows of a new granularity.

    Args:
        level: the granularity and the operation that makes it.
        workspace: has the rows that it is made from.
        folder: folder that video paths are relative to.
        left_out: counts input that cannot be used.

    Raises:
        ModelError: a summarizer cannot be run or reached.
    """
    return _MAKERS[level.operation.kind](level, workspace, folder, left_out)


def _integrate(level: Level, workspace: Workspace, folder: Path, left_out: LeftOut) -> Iterator[Row]:
    operation = level.operation
    minimum, maximum = operation.options["min"], operation.options["max"]
    if operation.method == "random":
        groups = _random_groups(level, workspace, left_out)
    else:
        gap = operation.options.get("gap")
        groups = (run for group in _source_groups(level, workspace, left_out) for run in _adjacent_runs(group, gap))
    prefix, number = "", 0
    for group in groups:
        is_random = operation.method == "random"
        group_prefix = f"{group[0].split}/{operation.method if is_random else source_key(group[0])}"
        if group_prefix != prefix:
            prefix, number = group_prefix, 0
        for members in _even_pieces(group, minimum, len(group) if is_random else maximum, left_out):
            yield integrate(members, f"{level.name}/{prefix}/{number}", level.name, operation.spec)
            _count_unused_captions(members, left_out)
            number += 1


def _source_groups(level: Level, workspace: Workspace, left_out: LeftOut) -> Iterator[list[Row]]:
    """Yield the rows of each source video and split, in order of time, without duplicates."""
    for _, lines in groupby(workspace.stream(level.of, "source"), key=lambda entry: entry[:2]):
        rows = list(_with_captions((line for _, _, line in lines), left_out))
        for group in sources_in_time_order(rows) if rows else ():
            yield list(_without_duplicates(group, left_out))


def _without_duplicates(rows: Sequence[Row], left_out: LeftOut) -> Iterator[Row]:
    """Skip rows with the same segments as an earlier one, so that no long video repeats a clip."""
    seen = set()
    for row in rows:
        if row.segments in seen:
            left_out.add(DUPLICATE_CLIP, row.id)
        else:
            seen.add(row.segments)
            yield row


def _adjacent_runs(group: Sequence[Row], gap: float | None) -> Iterator[list[Row]]:
    """Split a group wherever the gap between two rows exceeds `gap` seconds or is not known."""
    if gap is None:
        yield list(group)
        return
    run, run_end = [group[0]], source_end(group[0])
    for row in group[1:]:
        end = source_end(row)
        same_clock = clock_file(row) == clock_file(run[-1])
        if not same_clock or run_end is None or source_start(row) - run_end > gap:
            yield run
            run, run_end = [row], end
        else:
            run.append(row)
            run_end = None if end is None else max(run_end, end)
    yield run


def _random_groups(level: Level, workspace: Workspace, left_out: LeftOut) -> Iterator[list[Row]]:
    """Yield groups of random rows of one split, of a random size between `min` and `max`."""
    options = level.operation.options
    minimum, maximum = options["min"], options["max"] or options["min"]
    for split, lines in groupby(workspace.stream(level.of, "random", options["seed"]), key=lambda entry: entry[0]):
        salt = int.from_bytes(hashlib.blake2b(split.encode(), digest_size=8).digest())
        rng = np.random.default_rng([options["seed"], salt])
        rows = _with_captions((line for _, _, line in lines), left_out)
        group: list[Row] = []
        size = int(rng.integers(minimum, maximum + 1))
        for row in rows:
            group.append(row)
            if len(group) == size:
                yield group
                group, size = [], int(rng.integers(minimum, maximum + 1))
        if len(group) >= minimum:
            yield group
        elif group:
            left_out.add("clips that remain after the last random group", group[0].id, len(group))


def _even_pieces(group: Sequence[Row], minimum: int, maximum: int | None, left_out: LeftOut) -> Iterator[list[Row]]:
    """Split a group as evenly as possible into pieces of `minimum` to `maximum` rows; the remainder is left out."""
    size = len(group)
    if size < minimum:
        left_out.add(TOO_FEW_CLIPS, group[0].id, size)
        return
    number = 1 if maximum is None else -(-size // maximum)
    if size // number < minimum:
        number -= 1
        assert maximum is not None
        used = number * maximum
        left_out.add("clips beyond the last whole piece of their source", group[used].id, size - used)
        size = used
    bounds = [size * k // number for k in range(number + 1)]
    for first, last in pairwise(bounds):
        yield list(group[first:last])


def _count_unused_captions(members: Sequence[Row], left_out: LeftOut) -> None:
    used = min(len(row.captions) for row in members)
    for row in members:
        if len(row.captions) > used:
            left_out.add("caption without a partner in every other clip", row.id, len(row.captions) - used)


def _split_at_sentences(level: Level, workspace: Workspace, folder: Path, left_out: LeftOut) -> Iterator[Row]:
    for row in _rows(level, workspace):
        clips = list(sentence_rows(row, level.name, level.operation.spec))
        yield from clips
        available = max(1, sum(len(caption.sentences) for caption in row.captions))
        used = sum(len(clip.captions) for clip in clips)
        if used < available:
            left_out.add("sentence without known times", row.id, available - used)


def _extract_images(level: Level, workspace: Workspace, folder: Path, left_out: LeftOut) -> Iterator[Row]:
    for row in _with_captions((line for _, _, line in workspace.stream(level.of)), left_out):
        try:
            frame = None
            if level.operation.method == "keyframe":
                frame = keyframe(row.segments, folder)
                if frame is None:
                    left_out.add("clip without a keyframe; its middle frame is taken", row.id, kept=True)
            frame = frame or middle(row.segments, folder)
        except VideoError as error:
            left_out.add("video cannot be read", f"{row.id}: {error}")
            continue
        yield still_row(row, frame, f"{level.name}/{row.id}", level.name, level.operation.spec)


def _compress(level: Level, workspace: Workspace, folder: Path, left_out: LeftOut) -> Iterator[Row]:
    summarizer, words = summarizer_of(level), level.operation.options["words"]
    for rows in pages(_with_captions((line for _, _, line in workspace.stream(level.of)), left_out), summarizer.batch):
        sentences_by_row = [[separate_sentences(caption) for caption in row.captions] for row in rows]
        texts = [tuple(s.text for s in sentences) for captions in sentences_by_row for sentences in captions]
        answers = iter(_summaries(texts, summarizer, workspace))
        for row, row_sentences in zip(rows, sentences_by_row, strict=True):
            summaries = [next(answers) for _ in row_sentences]
            if not all(has_words(summary.text) for summary in summaries):
                left_out.add("the summariser gave no words", row.id)
                continue
            if any(count_words(summary.text) > words for summary in summaries):
                left_out.add("summary longer than asked; kept", row.id, kept=True)
            captions = [
                Caption(summary.text, tuple(sentences[k] for k in summary.kept))
                for summary, sentences in zip(summaries, row_sentences, strict=True)
            ]
            yield compressed_row(row, captions, f"{level.name}/{row.id}", level.name, level.operation.spec)


def summarizer_of(level: Level) -> Summarizer:
    """Return the summarizer of a compression."""
    kinds: dict[str, Callable[..., Summarizer]] = {
        "extractive": Extractive,
        "transformers": model_summarizer,
        "endpoint": endpoint_summarizer,
    }
    return kinds[level.operation.method](**level.operation.options)


def _summaries(texts: Sequence[tuple[str, ...]], summarizer: Summarizer, workspace: Workspace) -> list[Summary]:
    """Summarize texts; answers of language models are cached in the workspace."""
    if isinstance(summarizer, Extractive):
        return summarizer.summarize(texts)
    keys = [_key(summarizer.name, text) for text in texts]
    answers: dict[bytes, Any] = {key: workspace.cached_answer(key) for key in keys}
    missing = {key: text for key, text in zip(keys, texts, strict=True) if answers[key] is None}
    if missing:
        made = summarizer.summarize(list(missing.values()))
        answers |= {key: [summary.text, summary.kept] for key, summary in zip(missing, made, strict=True)}
        workspace.cache_answers((key, answers[key]) for key in missing)
    return [Summary(answers[key][0], tuple(answers[key][1])) for key in keys]


def _key(name: str, text: tuple[str, ...]) -> bytes:
    return hashlib.blake2b(json.dumps([name, text]).encode(), digest_size=16).digest()


def _rows(level: Level, workspace: Workspace) -> Iterator[Row]:
    return (Row.from_json(json.loads(line)) for _, _, line in workspace.stream(level.of))


def _with_captions(lines: Iterator[str], left_out: LeftOut) -> Iterator[Row]:
    for line in lines:
        row = Row.from_json(json.loads(line))
        if row.captions:
            yield row
        else:
            left_out.add(NO_CAPTION, row.id)


_MAKERS: dict[str, Maker] = {
    "integrate": _integrate,
    "compress": _compress,
    "image": _extract_images,
    "segments": _split_at_sentences,
}
