"""`mova data export`: write a manifest or an index in the format of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mova.cli.console import emit, note, say
from mova.cli.options import Json, Splits
from mova.cli.output_files import folder_argument
from mova.errors import UsageError


def export(
    form: Annotated[
        Literal["datasets", "fiftyone", "clip-retrieval"],
        typer.Argument(
            metavar="FORMAT", help="datasets (Hugging Face), fiftyone, or clip-retrieval (npy, Parquet, FAISS)."
        ),
    ],
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="A manifest (.jsonl); for clip-retrieval, the folder of an index.")
    ],
    target: Annotated[Path, folder_argument("Folder to write; created if missing.", metavar="OUT")],
    split: Splits = None,
    faiss: Annotated[
        bool, typer.Option("--faiss", help="With clip-retrieval: also write image.index (pip install faiss-cpu).")
    ] = False,
    json: Json = False,
) -> None:
    """Write a manifest or the vectors of an index in the format of another tool.

    Videos are not copied: the files written hold their paths. `mova data convert datasets` and `fiftyone` read back.
    """
    if form == "clip-retrieval":
        if split:
            raise UsageError("--split is for manifests; an index has no splits")
        _export_index(source, target, faiss, json)
        return
    if faiss:
        raise UsageError("--faiss is for clip-retrieval only")
    from mova.data.exchange.fiftyone import write_fiftyone
    from mova.data.exchange.hub import write_datasets
    from mova.data.manifest import read_manifest

    rows = read_manifest(source)
    if split:
        unknown = sorted(set(split) - {row.split for row in rows})
        if unknown:
            raise UsageError(f"{source}: has no split {unknown[0]!r}")
        rows = [row for row in rows if row.split in split]
    base = Path(source).parent
    if form == "datasets":
        files = write_datasets(rows, target, base=base)
        if json:
            emit({"format": form, "rows": len(rows), "files": [str(path) for path in files]})
        else:
            say(f"{target}: {len(rows)} rows in {len(files)} files; datasets.load_dataset({str(target)!r}) reads it")
        return
    exported = write_fiftyone(rows, target, base=base)
    if exported.untimed:
        note(f"not written: {exported.untimed} texts without times, which FiftyOne's format cannot hold")
    if exported.parts:
        note(f"not written: {exported.parts} rows of several segments")
    if json:
        counts = {"videos": exported.videos, "detections": exported.detections, "untimed": exported.untimed}
        emit({"format": form, "folder": str(target), **counts, "parts": exported.parts})
    else:
        say(f"{target}: {exported.videos} videos with {exported.detections} temporal detections")


def _export_index(source: str, target: Path, faiss: bool, json: bool) -> None:
    from mova.search.clip_retrieval import export_vectors
    from mova.search.index import Index

    exported = export_vectors(Index(source), target, faiss=faiss)
    if json:
        emit(exported.to_json())
    else:
        index = ", and image.index" if exported.faiss else ""
        say(f"{target}: {exported.rows} vectors of {exported.videos} videos in {exported.files} files{index}")
