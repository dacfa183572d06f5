"""Match videos rendered by another program to their captions.

Files are matched by a pattern of file names, or by a table that maps files to captions. Captions without a video and
videos without a caption are reported.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mova.data.pair_list import read_pairs
from mova.data.synthetic import RenderRequest, Synthetic
from mova.errors import DataError, UsageError, VideoError
from mova.utils.files import find_videos
from mova.video.probe import probe

LEAST_PREFIX = 30
"""Minimum number of characters that a truncated file name must share with the beginning of a caption."""


def plain(text: str) -> str:
    """Normalize a text as file names do: lower case, one underscore for any run of other characters.

    Example:
        >>> plain("A red star, rising!")
        'a_red_star_rising'
    """
    return "_".join(re.findall(r"[^\W_]+", text.casefold()))


FIELDS: Mapping[str, Callable[[int, RenderRequest], str]] = {
    "id": lambda i, request: plain(request.row),
    "of": lambda i, request: plain(request.of),
    "misalignment": lambda i, request: plain(request.misalignment or ""),
    "text": lambda i, request: plain(request.text),
    "position": lambda i, request: str(i),
    "line": lambda i, request: str(i + 1),
}
"""Fields of a pattern: the row's id, the id of the row a triplet was made from, the kind of its negative, the caption,
and the index of the caption, from 0 (`position`) or 1 (`line`). `index` distinguishes videos of one caption and is not
compared with anything."""
_NUMBERS = ("position", "line", "index")


@dataclass
class MatchResult:
    """Result of matching files to captions.

    Attributes:
        videos: videos by row id.
        matched: number of matched files.
        captions: (row id, caption) without a video.
        files: files that match no caption.
        ambiguous: (file, number of captions) of files that match several captions and were assigned to none.
        broken: (file, cause) of files that cannot be read.
    """

    videos: dict[str, list[Synthetic]] = field(default_factory=dict)
    matched: int = 0
    captions: list[tuple[str, str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    ambiguous: list[tuple[str, int]] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)


def match_folder(requests: Sequence[RenderRequest], folder: str | Path, pattern: str, name: str) -> MatchResult:
    """Match the videos of a folder to captions by file name.

    Args:
        requests: the captions, one request each.
        folder: searched recursively.
        pattern: path of a video relative to the folder, with fields in braces (`FIELDS`): `{text}-{index}.mp4`,
            `{id}.mp4`, `cogvideox/{of}_{index}.mp4`. Only letters and digits are compared. A truncated `text` matches
            by its beginning if it has at least `LEAST_PREFIX` characters and matches exactly one caption.
        name: name of the generator.

    Raises:
        UsageError: the pattern has no field or an unknown one, or the folder does not exist.
    """
    expression, names = _expression(pattern)
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"{folder}: no such folder")
    compared = [field for field in names if field != "index"]
    table = _table(requests, compared)
    prefixes = _sorted_captions(table, compared)
    claims: list[tuple[int, Path, list[int]]] = []
    for path in find_videos([root]):
        match = expression.fullmatch(path.relative_to(root).as_posix())
        if match is None:
            claims.append((0, path, []))
            continue
        key = tuple(_value(field, match[field]) for field in compared)
        index = int(match["index"]) if "index" in names else 0
        claims.append((index, path, _matching(table, prefixes, compared, key)))
    return _assign(requests, sorted(claims), name)


def match_table(
    requests: Sequence[RenderRequest], table: str | Path, folder: str | Path | None, name: str
) -> MatchResult:
    """Match the videos listed in a table: a CSV (`video`, `text` or `caption`) or JSON lines with these keys.

    Args:
        requests: the captions, one request each.
        table: the CSV or JSON lines file.
        folder: base folder of relative paths (default: the folder of the table).
        name: name of the generator.

    Raises:
        UsageError: the file does not exist.
        DataError: a row has no video or text.
    """
    captions = _table(requests, ["text"])
    claims = [(0, pair.path, captions.get((plain(pair.text),), [])) for pair in read_pairs(table, folder)]
    return _assign(requests, claims, name)


def _expression(pattern: str) -> tuple[re.Pattern[str], list[str]]:
    parts = re.split(r"\{(\w+)\}", pattern)
    names = parts[1::2]
    wrong = [field for field in names if field not in FIELDS and field != "index"]
    if wrong or not set(names) - {"index"} or len(set(names)) < len(names):
        raise UsageError(
            f"pattern {pattern!r} must contain one or more of {', '.join(f'{{{field}}}' for field in FIELDS)}, each at "
            f"most once; {{index}} is optional"
        )
    expression = "".join(
        re.escape(part) if i % 2 == 0 else rf"(?P<{part}>{r'[0-9]+' if part in _NUMBERS else '.+?'})"
        for i, part in enumerate(parts)
    )
    return re.compile(expression, flags=re.IGNORECASE), names


def _value(name: str, text: str) -> str:
    return str(int(text)) if name in _NUMBERS else plain(text)


Table = Mapping[tuple[str, ...], list[int]]
"""Indices of the requests by the values of a pattern's fields."""


def _table(requests: Sequence[RenderRequest], names: Sequence[str]) -> Table:
    indices: dict[tuple[str, ...], list[int]] = {}
    for i, request in enumerate(requests):
        indices.setdefault(tuple(FIELDS[name](i, request) for name in names), []).append(i)
    return indices


def _sorted_captions(table: Table, names: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Return sorted (caption, key) pairs of a table, for prefix search; empty if the pattern has no caption."""
    return sorted((key[names.index("text")], key) for key in table) if "text" in names else []


def _matching(
    table: Table, captions: Sequence[tuple[str, tuple[str, ...]]], names: Sequence[str], key: tuple[str, ...]
) -> list[int]:
    """Return the indices of the requests that match the fields of a file name."""
    if key in table or not captions:
        return table.get(key, [])
    position = names.index("text")
    text = key[position]
    indices: list[int] = []
    for caption, other in captions[bisect_left(captions, (text,)) :] if len(text) >= LEAST_PREFIX else ():
        if not caption.startswith(text):
            break
        if other[:position] + other[position + 1 :] == key[:position] + key[position + 1 :]:
            indices += table[other]
    return indices


def _assign(requests: Sequence[RenderRequest], claims: Sequence[tuple[int, Path, list[int]]], name: str) -> MatchResult:
    """Assign every file to the caption it matches; equal captions of several rows share it."""
    result = MatchResult()
    counts = [0] * len(requests)
    for _, path, indices in claims:
        if not indices:
            result.files.append(str(path))
            continue
        if len({requests[i].text for i in indices}) > 1:
            result.ambiguous.append((str(path), len(indices)))
            continue
        try:
            duration = probe(path).duration
        except VideoError as error:
            result.broken.append((str(path), error.cause))
            continue
        result.matched += 1
        for i in indices:
            request = requests[i]
            video = Synthetic.from_request(request, path.absolute(), duration, {"model": name}, None)
            result.videos.setdefault(request.row, []).append(replace(video, index=counts[i]))
            counts[i] += 1
    result.captions = [
        (request.row, request.text) for request, count in zip(requests, counts, strict=True) if not count
    ]
    if not claims:
        raise DataError("no videos to match")
    return result
