"""Videos that another program rendered, joined to the captions that they show.

Either a pattern says what the names of the files hold, or a table says which file shows which caption. What fits
nothing is counted both ways: captions without a video, and videos without a caption.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mova.data.pair_list import read_pairs
from mova.data.synthetic import Order, Synthetic
from mova.errors import DataError, UsageError, VideoError
from mova.utils.files import find_videos
from mova.video.reader import probe

LEAST_PREFIX = 30
"""Characters that a name which was cut off must share with the beginning of a caption."""


def plain(text: str) -> str:
    """A text as file names keep it: lower case, everything but letters and digits as one underscore."""
    return "_".join(re.findall(r"[^\W_]+", text.casefold()))


FIELDS: Mapping[str, Callable[[int, Order], str]] = {
    "id": lambda at, order: plain(order.row),
    "of": lambda at, order: plain(order.of),
    "misalignment": lambda at, order: plain(order.misalignment or ""),
    "text": lambda at, order: plain(order.text),
    "position": lambda at, order: str(at),
    "line": lambda at, order: str(at + 1),
}
"""What a pattern may name: the row's id, the id of the row a triplet was made from, the kind of its negative, the
caption, and the caption's place among all, from 0 (`position`) or 1 (`line`). `index` tells videos of one caption
apart and is compared with nothing."""
_NUMBERS = ("position", "line", "index")


@dataclass
class Joined:
    """What was joined.

    Attributes:
        videos: row id -> its videos.
        joined: how many.
        captions: (row id, caption) without a video.
        files: files that show no caption asked for.
        ambiguous: (file, how many captions) that fit more than one caption, and were given to none.
        broken: (file, cause) that cannot be read.
    """

    videos: dict[str, list[Synthetic]] = field(default_factory=dict)
    joined: int = 0
    captions: list[tuple[str, str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    ambiguous: list[tuple[str, int]] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)


def join_folder(orders: Sequence[Order], folder: str | Path, pattern: str, name: str) -> Joined:
    """Join the videos of a folder by their names.

    Args:
        orders: the captions, one order each.
        folder: searched through.
        pattern: path of a video below the folder, with fields in braces (`FIELDS`): `{text}-{index}.mp4`,
            `{id}.mp4`, `cogvideox/{of}_{index}.mp4`. Names are compared by letters and digits alone; a `text` that was
            cut off fits by its beginning, where it has `LEAST_PREFIX` characters and fits one caption only.
        name: of the generator.

    Raises:
        UsageError: the pattern names no field or an unknown one, or there is no such folder.
    """
    expression, names = _expression(pattern)
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"{folder}: there is no such folder")
    compared = [each for each in names if each != "index"]
    table = _table(orders, compared)
    beginnings = _beginnings(table, compared)
    claims: list[tuple[int, Path, list[int]]] = []
    for path in find_videos([root]):
        match = expression.fullmatch(path.relative_to(root).as_posix())
        if match is None:
            claims.append((0, path, []))
            continue
        key = tuple(_value(each, match[each]) for each in compared)
        index = int(match["index"]) if "index" in names else 0
        claims.append((index, path, _fitting(table, beginnings, compared, key)))
    return _assigned(orders, sorted(claims), name)


def join_table(orders: Sequence[Order], table: str | Path, folder: str | Path | None, name: str) -> Joined:
    """Join the videos that a table names: a CSV (`video`, `text` or `caption`) or JSON lines with these keys.

    Args:
        orders: the captions, one order each.
        table: the file.
        folder: what its paths are relative to; its own folder if left out.
        name: of the generator.

    Raises:
        UsageError: no such file.
        DataError: a row without video or text.
    """
    known = _table(orders, ["text"])
    claims = [(0, pair.path, known.get((plain(pair.text),), [])) for pair in read_pairs(table, folder)]
    return _assigned(orders, claims, name)


def _expression(pattern: str) -> tuple[re.Pattern[str], list[str]]:
    parts = re.split(r"\{(\w+)\}", pattern)
    names = parts[1::2]
    wrong = [each for each in names if each not in FIELDS and each != "index"]
    if wrong or not set(names) - {"index"} or len(set(names)) < len(names):
        raise UsageError(
            f"pattern {pattern!r} must hold one or more of {', '.join(f'{{{each}}}' for each in FIELDS)}, each once; "
            f"{{index}} may be there too"
        )
    found = "".join(
        re.escape(part) if at % 2 == 0 else rf"(?P<{part}>{r'[0-9]+' if part in _NUMBERS else '.+?'})"
        for at, part in enumerate(parts)
    )
    return re.compile(found, flags=re.IGNORECASE), names


def _value(name: str, text: str) -> str:
    return str(int(text)) if name in _NUMBERS else plain(text)


Table = Mapping[tuple[str, ...], list[int]]
"""Values of the fields of a pattern -> places of the orders that have them."""


def _table(orders: Sequence[Order], names: Sequence[str]) -> Table:
    found: dict[tuple[str, ...], list[int]] = {}
    for at, order in enumerate(orders):
        found.setdefault(tuple(FIELDS[name](at, order) for name in names), []).append(at)
    return found


def _beginnings(table: Table, names: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """(caption, key) of a table, sorted; empty where its pattern names no caption."""
    return sorted((key[names.index("text")], key) for key in table) if "text" in names else []


def _fitting(
    table: Table, beginnings: Sequence[tuple[str, tuple[str, ...]]], names: Sequence[str], key: tuple[str, ...]
) -> list[int]:
    """Places of the orders that the fields of a name fit."""
    if key in table or not beginnings:
        return table.get(key, [])
    where = names.index("text")
    text = key[where]
    found: list[int] = []
    for caption, other in beginnings[bisect_left(beginnings, (text,)) :] if len(text) >= LEAST_PREFIX else ():
        if not caption.startswith(text):
            break
        if other[:where] + other[where + 1 :] == key[:where] + key[where + 1 :]:
            found += table[other]
    return found


def _assigned(orders: Sequence[Order], claims: Sequence[tuple[int, Path, list[int]]], name: str) -> Joined:
    """Every file to the caption that it fits; equal captions of several rows share it."""
    done = Joined()
    counts = [0] * len(orders)
    for _, path, places in claims:
        if not places:
            done.files.append(str(path))
            continue
        if len({orders[at].text for at in places}) > 1:
            done.ambiguous.append((str(path), len(places)))
            continue
        try:
            duration = probe(path).duration
        except VideoError as error:
            done.broken.append((str(path), error.cause))
            continue
        done.joined += 1
        for at in places:
            order = orders[at]
            made = Synthetic.made(order, path.absolute(), duration, {"model": name}, None)
            done.videos.setdefault(order.row, []).append(replace(made, index=counts[at]))
            counts[at] += 1
    done.captions = [(order.row, order.text) for order, count in zip(orders, counts, strict=True) if not count]
    if not claims:
        raise DataError("there is no video to join")
    return done
