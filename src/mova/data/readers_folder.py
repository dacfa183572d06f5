"""Reader of a plain folder: a CSV or JSON-lines table of your own videos and captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mova.data.manifest import Caption
from mova.data.readers_source import Collector, Source, captioned, number, read_csv, read_jsonl, stripped
from mova.errors import DataError


def folder(source: Source, rows: Collector) -> None:
    """One table, `*.csv` with a header or `*.jsonl`, with `video` and `caption`; anything unknown goes into `meta`.

    Known too, and optional: `id`, `split` ("train" where absent), `start`, `end`, `duration` (seconds of the file).
    Lines of the same video and clip make one row, each a caption of it. The same caption twice for one video and clip
    is an error, and so is a line that says something else of its video than the lines before.
    """
    tables = [*source.find_all("*.csv"), *source.find_all("*.jsonl")]
    if len(tables) != 1:
        raise DataError(f"{source.path}: needs one .csv or .jsonl table; it has {len(tables)}. Name the file itself")
    found: dict[tuple[str, float | None, float | None], tuple[str, dict[str, Any], list[Caption]]] = {}
    for where, line in _lines(tables[0]):
        values = {key: value for key, value in line.items() if value not in (None, "")}
        video, caption = stripped(where, values.pop("video", None)), captioned(where, values.pop("caption", None))[0]
        times = {name: number(where, values.pop(name)) for name in ("start", "end", "duration") if name in values}
        if ("start" in times) != ("end" in times):
            raise DataError(f"{where}: needs both 'start' and 'end', or neither")
        key = (video, times.get("start"), times.get("end"))
        said = {"duration": times.get("duration"), **values}
        first, known, captions = found.setdefault(key, (where, said, []))
        if known != said:
            raise DataError(f"{where}: says something else of {video!r} than {first} does")
        if caption in captions:
            raise DataError(f"{where}: {video!r} has the caption {caption.text!r:.60} already (since {first})")
        captions.append(caption)
    for (video, start, end), (where, said, captions) in found.items():
        split = str(said.pop("split", "train"))
        if source.wants(split):
            id = str(said.pop("id", video if start is None else f"{video}_{start:g}_{end:g}"))
            clip = None if start is None or end is None else (start, end)
            duration = said.pop("duration")
            rows.add(where, id=id, split=split, captions=captions, video=video, duration=duration, clip=clip, meta=said)


def _lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if path.suffix == ".csv":
        yield from read_csv(path, "video", "caption")
        return
    for where, entry in read_jsonl(path):
        if not isinstance(entry, dict):
            raise DataError(f"{where}: must be an object, not {type(entry).__name__}")
        yield where, entry
