"""Hugging Face `datasets`: read and write tables of captioned videos, without that package.

Written are Parquet files, `data/SPLIT-00000-of-00001.parquet`, one per split: `datasets.load_dataset(FOLDER)` finds the
splits by these names. Columns: `id`, `video` (path), `duration`, `start`, `end`, `captions` (list of `text` and
`sentences` with `text`, `start`, `end`), `source`, `meta` (JSON text), and `parts` if a row has any. Unknown is null.

Read are such files, Parquet files of others, folders that `save_to_disk` wrote, and folders with `metadata.csv`,
`.jsonl` or `.parquet` (`load_dataset("videofolder")`, `"imagefolder"`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mova.data.manifest import Caption, Row, Segment, TimedSentence
from mova.data.readers.annotations import (
    AnnotationSource,
    Collector,
    clip_id,
    require_caption,
    to_number,
    to_text,
    with_location,
)
from mova.errors import DataError
from mova.utils.replacing import replacing
from mova.utils.tables import read_csv, read_jsonl

VIDEO_COLUMNS = ("video", "file_name", "image", "path")
TEXT_COLUMNS = ("caption", "captions", "text")
KNOWN = {*VIDEO_COLUMNS, *TEXT_COLUMNS, "id", "split", "duration", "start", "end", "meta", "source", "parts"}
_SPLIT = re.compile(r"(?:^|[-_/])(train|validation|valid|val|dev|test)(?=[-_./]|$)")
_OURS = {"validation": "val", "valid": "val", "dev": "val"}


def datasets(source: AnnotationSource, rows: Collector) -> None:
    """A folder or a Parquet file of Hugging Face `datasets`: a video and its caption or captions per row.

    Columns: `video` or `file_name` (a path, or the struct of `datasets.Video`), and `caption`, `text` or `captions` (a
    text, a list of texts, or the list that mova writes); optional `id`, `split`, `start`, `end`, `duration`; others go
    to `meta`. Without a column `split`, it is that of the file's name or folder; "validation" is called "val"; the
    default is "train". Rows of one video and clip make one row with several captions, unless they have ids.
    """
    merged: dict[tuple[str, Any, str], dict[str, Any]] = {}
    for where, default, line in _lines(source):
        row = _row(where, default, line)
        if not source.includes(row["split"]):
            continue
        if "id" in line or "parts" in row:
            _add(rows, row)
            continue
        known = merged.setdefault((row["video"], row["clip"], row["split"]), row)
        if known is not row:
            known["captions"] += [caption for caption in row["captions"] if caption not in known["captions"]]
    for row in merged.values():
        _add(rows, row)


def write_datasets(rows: Sequence[Row], folder: str | Path, *, base: str | Path = ".") -> list[Path]:
    """Write rows as Parquet files that `datasets.load_dataset(folder)` reads, one per split.

    Args:
        rows: of a manifest.
        folder: created if missing.
        base: folder of the manifest; paths of videos are written as absolute paths.

    Returns:
        The files.

    Raises:
        DataError: no rows, or the name of a split that cannot be part of a file name.

    >>> from mova.data.manifest import read_manifest
    >>> [path.name for path in write_datasets(read_manifest("films/manifest.jsonl"), "hub", base="films")]
    ['train-00000-of-00001.parquet']
    """
    import pyarrow as pa
    from pyarrow import parquet

    if not rows:
        raise DataError("there are no rows to write")
    target = Path(folder) / "data"
    splits = dict.fromkeys(row.split for row in rows)
    for split in splits:
        if not re.fullmatch(r"\w+(\.\w+)*", split):
            raise DataError(f"split {split!r} cannot be the name of a split of `datasets`; use letters, digits and _")
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for split in splits:
        table = pa.Table.from_pylist([_to_line(row, Path(base)) for row in rows if row.split == split], _schema(pa))
        path = target / f"{split}-00000-of-00001.parquet"
        with replacing(path) as temporary:
            parquet.write_table(table, temporary)
        written.append(path)
    return written


def _schema(pa: Any) -> Any:
    number, text = pa.float64(), pa.string()
    sentences = pa.list_(pa.struct([("text", text), ("start", number), ("end", number)]))
    parts = pa.list_(pa.struct([("video", text), ("start", number), ("end", number)]))
    captions = pa.list_(pa.struct([("text", text), ("sentences", sentences)]))
    columns = {"id": text, "video": text, "duration": number, "start": number, "end": number, "captions": captions}
    return pa.schema({**columns, "source": text, "meta": text, "parts": parts})


def _to_line(row: Row, base: Path) -> dict[str, Any]:
    line = row.to_json()
    line["video"] = str((base / row.video).absolute()) if row.video else None
    line["parts"] = [{**part, "video": str((base / part["video"]).absolute())} for part in line.get("parts", [])]
    line["meta"] = json.dumps(line["meta"], ensure_ascii=False) if "meta" in line else None
    return line


def _lines(source: AnnotationSource) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield location, split by the file's name, and columns of every row."""
    tables = [*source.find_all("*.parquet"), *source.find_all("*.arrow")]
    tables = [path for path in tables if not path.name.startswith("cache-")]  # of `datasets`' transformations
    listed = [*source.find_all("metadata.csv"), *source.find_all("metadata.jsonl")]
    if not tables and not listed:
        raise DataError(
            f"{source.path}: has no .parquet, .arrow, metadata.csv or metadata.jsonl; give a folder that "
            "`save_to_disk` or `to_parquet` of datasets wrote, or a videofolder"
        )
    for path in sorted(tables):
        split = _split_of(path, source.folder)
        for number, line in enumerate(_read_table(path), start=1):
            yield f"{path}, row {number}", split, _beside(line, path)
    for path in listed:
        split = _split_of(path, source.folder)
        for where, line in read_csv(path) if path.suffix == ".csv" else read_jsonl(path):
            if not isinstance(line, dict):
                raise DataError(f"{where}: must be an object, not {type(line).__name__}")
            yield where, split, _beside(line, path)


def _read_table(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    from pyarrow import ipc, parquet

    try:
        if path.suffix == ".parquet":
            for batch in parquet.ParquetFile(path).iter_batches(1024):
                yield from batch.to_pylist()
            return
        with pa.memory_map(str(path)) as file:
            for batch in ipc.open_stream(file):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise DataError(f"{path}: cannot be read as a table ({error})") from error


def _beside(line: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the known values of a line; `file_name` is relative to the folder of its file."""
    values = {key: value for key, value in line.items() if value is not None and value != ""}
    if isinstance(values.get("file_name"), str):
        values["file_name"] = str((path.parent / values["file_name"]).absolute())
    return values


def _split_of(path: Path, folder: Path) -> str:
    names = _SPLIT.findall(path.relative_to(folder).as_posix().lower()) or _SPLIT.findall(folder.name.lower())
    return _OURS.get(names[-1], names[-1]) if names else "train"


def _row(where: str, default: str, line: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `_add` for a line."""
    name = next((name for name in VIDEO_COLUMNS if name in line), None)
    if name is None and not line.get("parts"):
        raise DataError(f"{where}: has no {', '.join(VIDEO_COLUMNS)}; the columns are: {', '.join(line)}")
    video = "" if name is None else _path(where, line[name])
    clip = tuple(to_number(where, line[key]) for key in ("start", "end") if key in line)
    if len(clip) == 1:
        raise DataError(f"{where}: 'start' and 'end' must be given together")
    column = next((column for column in TEXT_COLUMNS if column in line), None)
    row = {
        "where": where,
        "video": video,
        "split": str(line.get("split", default)),
        "clip": clip or None,
        "captions": [] if column is None else _captions(where, line[column]),
        "duration": to_number(where, line["duration"]) if "duration" in line else None,
        "meta": {**_meta(where, line.get("meta")), **{k: v for k, v in line.items() if k not in KNOWN}},
        "source": line.get("source"),
        "id": str(line["id"]) if "id" in line else clip_id(video, clip if len(clip) == 2 else None),
    }
    return row | ({"parts": line["parts"]} if line.get("parts") else {})


def _path(where: str, value: Any) -> str:
    """Return the path of a video: a text, or the struct of `datasets.Video` and `datasets.Image`."""
    if isinstance(value, Mapping):
        if not value.get("path"):
            raise DataError(
                f"{where}: the video is in the table itself; save it to a file first, and store the path of the file"
            )
        value = value["path"]
    return to_text(where, value)


def _captions(where: str, value: Any) -> list[Caption]:
    entries = value if isinstance(value, list) else [value]
    captions = []
    for entry in entries:
        if isinstance(entry, Mapping):
            sentences = tuple(
                with_location(where, TimedSentence, part.get("text"), part.get("start"), part.get("end"))
                for part in entry.get("sentences") or ()
            )
            captions.append(with_location(where, Caption, entry.get("text"), sentences))
        else:
            captions.append(with_location(where, Caption, require_caption(where, entry)))
    return captions


def _meta(where: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    try:
        meta = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise DataError(f"{where}: 'meta' is not JSON ({error})") from error
    if not isinstance(meta, dict):
        raise DataError(f"{where}: 'meta' must be an object")
    return meta


def _add(rows: Collector, row: dict[str, Any]) -> None:
    """Add a row; one that mova wrote stays as it was."""
    where, parts, source = row.pop("where"), row.pop("parts", ()), row.pop("source")
    if source is None and not parts:
        rows.add(where, **row)
        return
    segments = tuple(with_location(where, Segment, part["video"], part["start"], part["end"]) for part in parts)
    start, end = row["clip"] or (None, None)
    values = (row["id"], row["video"], row["duration"], row["split"], tuple(row["captions"]), start, end, source)
    rows.add_row(where, with_location(where, Row, *values, row["meta"], segments))
