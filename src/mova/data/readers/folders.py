"""Readers of your own data: a table of videos and captions, or one folder per class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mova.data.manifest import Caption
from mova.data.readers.annotations import (
    AnnotationSource,
    Collector,
    clip_id,
    require_caption,
    to_captions,
    to_clip,
    to_number,
    to_text,
)
from mova.errors import DataError
from mova.utils.files import IMAGE_SUFFIXES, SUFFIXES
from mova.utils.tables import read_csv, read_jsonl, read_list

SPLITS = ("train", "val", "test")
CLASS_NAMES = ("classes.txt", "LOC_synset_mapping.txt")
"""Lists of folders and, after a blank, the names of their classes; the first file that exists is used."""


def folder(source: AnnotationSource, rows: Collector) -> None:
    """One table, `*.csv` with a header or `*.jsonl`, with `video` and `caption`; other columns go to `meta`.

    Optional columns: `id`, `split` (default: "train"), `start`, `end`, `duration` (seconds of the file). Lines of the
    same video and clip make one row with several captions. It is an error if a caption occurs twice for a clip or is a
    missing value ("nan", "None"), or if a line contradicts an earlier line of the same clip.
    """
    tables = [*source.find_all("*.csv"), *source.find_all("*.jsonl")]
    if len(tables) != 1:
        raise DataError(f"{source.path}: must have one .csv or .jsonl table, not {len(tables)}; give the file's path")
    clips: dict[tuple[str, tuple[float, float] | None], tuple[str, dict[str, Any], list[Caption]]] = {}
    for where, line in _lines(tables[0]):
        values = {key: value for key, value in line.items() if value not in (None, "")}
        video = to_text(where, values.pop("video", None))
        (caption,) = to_captions(where, require_caption(where, values.pop("caption", None)))
        key = (video, to_clip(where, values))
        duration = to_number(where, values.pop("duration")) if "duration" in values else None
        others = {name: value for name, value in values.items() if name not in ("start", "end")}
        attributes = {"duration": duration, **others}
        first, first_attributes, captions = clips.setdefault(key, (where, attributes, []))
        if first_attributes != attributes:
            raise DataError(f"{where}: contradicts {first} about {video!r}; all columns but 'caption' must be equal")
        if caption in captions:
            raise DataError(f"{where}: duplicate caption {caption.text!r:.60} of {video!r} (from {first} on)")
        captions.append(caption)
    for (video, clip), (where, attributes, captions) in clips.items():
        split = str(attributes.pop("split", "train"))
        if source.includes(split):
            id = str(attributes.pop("id", clip_id(video, clip)))
            duration = attributes.pop("duration")
            rows.add(
                where, id=id, split=split, captions=captions, video=video, duration=duration, clip=clip, meta=attributes
            )


def _lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if path.suffix == ".csv":
        yield from read_csv(path, "video", "caption")
        return
    for where, entry in read_jsonl(path):
        if not isinstance(entry, dict):
            raise DataError(f"{where}: must be an object, not {type(entry).__name__}")
        yield where, entry


def class_folders(source: AnnotationSource, rows: Collector) -> None:
    """Images or videos in one folder per class, as in ImageNet: `[train|val|test/]CLASS/.../FILE`.

    Without split folders, the split is "test". Names of classes come from `classes.txt` (per line a folder, a blank,
    the class name) or ImageNet's `LOC_synset_mapping.txt` (the first of several synonyms); by default a class is named
    after its folder, with blanks for underscores. Two classes with the same name are an error, because a text could not
    distinguish them. Rows have no caption; `meta` has the folder as "label" and the class name as "name". Other files
    are left out and noted.
    """
    class_names = _class_names(source)
    folders: dict[str, str] = {}
    for path in source.find_all("*"):
        name = path.relative_to(source.path).as_posix()
        if name in CLASS_NAMES:
            continue
        if path.suffix.lower() not in SUFFIXES | IMAGE_SUFFIXES:
            source.note("neither an image nor a video by its file extension; excluded", name)
            continue
        parents = name.split("/")[:-1]
        split = parents.pop(0) if len(parents) > 1 and parents[0] in SPLITS else "test"
        if not parents:
            source.note("is not in a class folder; excluded", name)
            continue
        if source.includes(split):
            label = parents[0]
            if class_names and label not in class_names:
                raise DataError(f"{source.path}: {name}: the list of classes does not have {label!r}")
            class_name = class_names.get(label) or label.replace("_", " ")
            if folders.setdefault(class_name, label) != label:
                raise DataError(
                    f"{source.path}: folders {folders[class_name]!r} and {label!r} both have the name {class_name!r}; "
                    f"give each its own name in {CLASS_NAMES[0]}"
                )
            meta = {"label": label, "name": class_name}
            rows.add(name, id=name, split=split, captions=(), origin=name, meta=meta)


def _class_names(source: AnnotationSource) -> dict[str, str]:
    """Return folder -> class name; empty if there is no list."""
    path = next((source.path / name for name in CLASS_NAMES if (source.path / name).is_file()), None)
    if path is None:
        return {}
    is_imagenet = path.name == CLASS_NAMES[1]
    class_names: dict[str, str] = {}
    for line, where in read_list(path).items():
        label, _, text = line.partition(" ")
        if label in class_names:
            raise DataError(f"{where}: duplicate folder {label!r}")
        class_names[label] = to_text(where, text.split(",")[0] if is_imagenet else text)
    return class_names
