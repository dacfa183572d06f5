"""Readers of plain folders: a table of your own videos and captions, or a folder for every class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mova.data.manifest import Caption
from mova.data.readers.annotations import (
    Collector,
    Source,
    captioned,
    number,
    read_csv,
    read_jsonl,
    read_list,
    stripped,
)
from mova.errors import DataError
from mova.utils.files import IMAGE_SUFFIXES, SUFFIXES

PARTS = ("train", "val", "test")
CLASS_NAMES = ("classes.txt", "LOC_synset_mapping.txt")
"""Lists of a folder's name and, after a blank, what its class is called; the first that is there counts."""


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


def class_folders(source: Source, rows: Collector) -> None:
    """Images or videos in a folder for each class, as ImageNet is kept: `[train|val|test/]CLASS/.../FILE`.

    Without folders of parts all is "test". A class is called as `classes.txt` says (a line a folder: its name, a blank,
    what the class is called), or ImageNet's own `LOC_synset_mapping.txt` (of several words the first), else as its
    folder, with blanks for underscores. Two classes of one name are an error: a text could not tell them apart. Rows
    have no caption; `meta` holds "label", the folder, and "name". Other files are left out and noted.
    """
    names = _class_names(source)
    folders: dict[str, str] = {}
    for path in source.find_all("*"):
        place = path.relative_to(source.path).as_posix()
        if place in CLASS_NAMES:
            continue
        if path.suffix.lower() not in SUFFIXES | IMAGE_SUFFIXES:
            source.note("neither image nor video by its ending; left out", place)
            continue
        above = place.split("/")[:-1]
        split = above.pop(0) if len(above) > 1 and above[0] in PARTS else "test"
        if not above:
            source.note("lies in no class's folder; left out", place)
            continue
        if source.wants(split):
            label = above[0]
            if names and label not in names:
                raise DataError(f"{source.path}: {place}: the list of classes does not name {label!r}")
            name = names.get(label) or label.replace("_", " ")
            if folders.setdefault(name, label) != label:
                raise DataError(
                    f"{source.path}: folders {folders[name]!r} and {label!r} are both called {name!r}; "
                    f"give each a name of its own in {CLASS_NAMES[0]}"
                )
            meta = {"label": label, "name": name}
            rows.add(place, id=place, split=split, captions=(), origin=place, meta=meta)


def _class_names(source: Source) -> dict[str, str]:
    """Folder -> what its class is called; none where there is no list."""
    path = next((source.path / name for name in CLASS_NAMES if (source.path / name).is_file()), None)
    names: dict[str, str] = {}
    for line, where in (read_list(path) if path is not None else {}).items():
        label, _, told = line.partition(" ")
        if label in names:
            raise DataError(f"{where}: {label!r} has a name already")
        names[label] = stripped(where, told.split(",")[0] if path and path.name == CLASS_NAMES[1] else told)
    return names
