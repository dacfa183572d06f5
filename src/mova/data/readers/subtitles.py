"""Read subtitles, SubRip (`.srt`) and WebVTT (`.vtt`): cues with their times, without markup.

WebVTT is read as its standard says: blocks that are not cues (NOTE, STYLE, REGION) are skipped. SubRip has no standard:
a cue ends before the next line of times, so its text may contain empty lines. Coordinates and settings after the times,
numbers of cues, tags and codes for italics, color or position, and dashes of speakers are removed. A line that the
previous cue shows already (rolling captions) is read once. Cues without a letter or digit are left out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from mova.data.manifest import Caption
from mova.data.readers.annotations import AnnotationSource, Collector, with_location, without_suffix
from mova.errors import DataError
from mova.text.sentences import has_words
from mova.utils.files import SUFFIXES
from mova.utils.text_files import read_text

SUBTITLE_SUFFIXES = frozenset({".srt", ".vtt"})
"""Suffixes of files of subtitles, in lower case."""
SPLITS = ("train", "val", "test")
MOST_ROLLING = 8
"""Largest number of lines that rolling captions repeat."""
GAP = 0.1
"""Seconds. A cue that begins later after the end of the previous one does not continue rolling captions."""

_TIME = r"(?:(\d{1,4}):)?([0-5]?\d):([0-5]?\d)(?:[,.:](\d{1,9}))?"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_LIKE_TIMES = re.compile(r"[\s:.,;+-]*\d[\s\d:.,;+-]*-->")
_COMMENT = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")
_ANY_TAG = re.compile(r"<[^<>]*>")
_KNOWN_TAG = re.compile(r"</?(?:b|i|u|s|c|v|font|span|ruby|rt|lang)\b[^<>]*>", re.IGNORECASE)
_BREAK = re.compile(r"<br\s*/?>|\\[Nnh]|[\x00-\x1f\x7f\u200e\u200f]", re.IGNORECASE)
_CODE = re.compile(r"\{\\[^{}]*\}|\{/?[biusy](?::[^{}]*)?\}", re.IGNORECASE)
_ENTITY = re.compile(r"&#?\w+;")
_SPEAKER_DASH = re.compile(r"^[-‐–—]\s*(?=[^\s\d-])")
_LANGUAGE = re.compile(
    r"\.([a-z]{2}|ara|chi|zho|dut|nld|eng|fre|fra|ger|deu|hin|ita|jpn|kor|pol|por|rus|spa|swe|tur)([-_][A-Za-z]{2,4})?"
    r"(\.(sdh|cc|hi|forced|auto))*$"
)


@dataclass(frozen=True)
class Cue:
    """A text on display from `start` to `end`, in seconds; `line` is the line of its times in the file.

    >>> Cue(line=2, start=2.6, end=6.2, text="Two black balls shrink.").text
    'Two black balls shrink.'
    """

    line: int
    start: float
    end: float
    text: str


def read_cues(path: str | Path) -> list[Cue]:
    """Read the cues of a file of subtitles that have words, in the order of their start.

    Raises:
        DataError: the file cannot be read, a line of times is malformed (the message has the line), or no cue has
            words.

    >>> _ = Path("film.srt").write_text("1\\n00:00:02,600 --> 00:00:06,200\\n<i>Two black balls shrink.</i>\\n")
    >>> read_cues("film.srt")
    [Cue(line=2, start=2.6, end=6.2, text='Two black balls shrink.')]
    """
    lines = read_text(path).split("\n")
    is_webvtt = lines[0].startswith("WEBVTT")
    cues: list[Cue] = []
    previous: list[str] = []
    for number, times, body in (_webvtt_blocks if is_webvtt else _subrip_blocks)(lines):
        match = _TIMES.fullmatch(times)
        if match is None:
            raise DataError(
                f"{path}, line {number}: expected times such as 00:00:01,000 --> 00:00:02,500, not {times!r:.80}"
            )
        texts = [text for line in body if (text := _plain(line, is_webvtt))]
        start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
        shown = _repeated(previous, texts) if cues and start <= cues[-1].end + GAP else 0
        if shown and shown == len(texts):
            cues[-1] = replace(cues[-1], end=max(end, cues[-1].end))
        elif has_words(" ".join(texts[shown:])):
            cues.append(Cue(number, start, end, " ".join(texts[shown:])))
            previous = texts
    if not cues:
        raise DataError(f"{path}: has no subtitles with words")
    return sorted(cues, key=lambda cue: cue.start)


def subtitles(source: AnnotationSource, rows: Collector) -> None:
    """Subtitles beside their videos, `[train|val|test/].../NAME.srt` or `NAME.en.vtt`: one row per file.

    The caption is all cues in the order of their start, each a sentence with its times. A cue that ends no later than
    it begins has no times, and is noted. The video has the name of the file without ending and language (such as
    `en` or `pt-BR`, in `meta.language`), unless a video with the language in its name exists beside it. The
    split is the first folder, if it is one of the three names, otherwise "train". A file that cannot be read, and a
    `.vtt` with a `.srt` of the same name, are left out and noted.
    """
    files = [path for path in source.find_all("*") if path.suffix.lower() in SUBTITLE_SUFFIXES]
    names = {path: path.relative_to(source.folder).as_posix() for path in files}
    lower_names = {name.lower() for name in names.values()}
    videos = {without_suffix(path.as_posix()) for path in source.find_all("*") if path.suffix.lower() in SUFFIXES}
    for path, name in names.items():
        stem = name[: -len(path.suffix)]
        first = stem.split("/")[0]
        split = first if first in SPLITS and "/" in stem else SPLITS[0]
        if not source.includes(split):
            continue
        if path.suffix.lower() == ".vtt" and f"{stem}.srt".lower() in lower_names:
            source.note("there is a .srt of the same name; excluded", name)
            continue
        try:
            cues = read_cues(path)
        except DataError as error:
            source.note("subtitles cannot be read; excluded", str(error))
            continue
        language = None if (source.folder / stem).as_posix() in videos else _LANGUAGE.search(stem)
        sentences = tuple(rows.sentence(f"{path}, line {cue.line}", cue.text, cue.start, cue.end) for cue in cues)
        caption = with_location(str(path), Caption, " ".join(sentence.text for sentence in sentences), sentences)
        video = stem if language is None else stem[: language.start()]
        meta = {} if language is None else {"language": language[1] + (language[2] or "")}
        rows.add(str(path), id=name, split=split, captions=[caption], video=video, origin=video, meta=meta)


def _subrip_blocks(lines: list[str]) -> Iterator[tuple[int, str, list[str]]]:
    """Yield line number and text of each line of times, and the lines after it without the number of the next cue."""
    starts = [index for index, line in enumerate(lines) if _LIKE_TIMES.match(line)]
    for start, following in zip_longest(starts, starts[1:]):
        body = lines[start + 1 : following]
        adjacent = bool(body and body[-1].strip())
        while body and not body[-1].strip():
            body.pop()
        is_number = bool(body) and body[-1].strip().isdecimal()
        if following is not None and is_number and (adjacent or (len(body) > 1 and not body[-2].strip())):
            body.pop()
        yield start + 1, lines[start], body


def _webvtt_blocks(lines: list[str]) -> Iterator[tuple[int, str, list[str]]]:
    """Yield line number and text of each line of times, and the lines after it up to the next empty one."""
    start = 0
    blank = [i for i, line in enumerate(lines) if not line.strip() and (not line or "-->" not in lines[max(i, 1) - 1])]
    for end in (*blank, len(lines)):
        times = [index for index in range(start, end) if "-->" in lines[index]]
        if times and times[0] - start <= 1 and not _COMMENT.match(lines[start]):
            times = times[:1] + [index for index in times[1:] if _LIKE_TIMES.match(lines[index])]
            for first, following in zip(times, [*times[1:], end], strict=True):
                yield first + 1, lines[first], lines[first + 1 : following]
        start = end + 1


def _plain(line: str, is_webvtt: bool) -> str:
    """Return a line of a cue without markup."""
    text = (_ANY_TAG if is_webvtt else _KNOWN_TAG).sub("", _CODE.sub("", _BREAK.sub(" ", line)))
    text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    return " ".join(_SPEAKER_DASH.sub("", text.strip()).split())


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(f"{int(seconds or 0)}.{fraction or 0}")


def _repeated(previous: list[str], texts: list[str]) -> int:
    """Return how many lines at the beginning of a cue are the last lines of the previous one."""
    sizes = range(min(len(previous), len(texts), MOST_ROLLING), 0, -1)
    return next((size for size in sizes if previous[-size:] == texts[:size]), 0)
