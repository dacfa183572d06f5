"""`mova data check`: find missing, unreadable and inconsistent videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mova.cli.console import emit, note, progress_bar, say
from mova.cli.options import Json
from mova.errors import UsageError


def check(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="A manifest (.jsonl), or video files and folders to walk.")
    ],
    out: Annotated[Path | None, typer.Option(help="Write the manifest's quarantine list to this file.")] = None,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode a manifest's files to their end, not only their first and last.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Files of a manifest looked at side by side.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where anything at all is wrong.")] = False,
    json: Json = False,
) -> None:
    """Probe every file of a manifest and list what is missing, unreadable or of another length; or decode any files.

    Files and folders are decoded to their end; then exit 1 if none can be read.
    """
    if any(path.suffix == ".jsonl" for path in paths):
        if len(paths) > 1:
            raise UsageError("give one manifest alone, or files and folders")
        _check_manifest(paths[0], out, decode, workers, strict, json)
    elif out is not None or decode or workers is not None:
        raise UsageError("--out, --decode and --workers go with a manifest (.jsonl)")
    else:
        _check_files(paths, strict, json)


def _check_manifest(
    manifest: Path, out: Path | None, decode: bool, workers: int | None, strict: bool, json: bool
) -> None:
    from mova.data.manifest import read_manifest
    from mova.data.quarantine import write_quarantine
    from mova.data.validation import WORKERS, check_rows

    rows = read_manifest(manifest)
    with progress_bar() as progress:
        task = progress.add_task("probing", total=len({part.video for row in rows for part in row.segments}))
        found = check_rows(
            rows,
            manifest.parent,
            decode=decode,
            workers=workers or WORKERS,
            done=lambda count: progress.update(task, completed=count),
        )
    if out is not None:
        write_quarantine(out, found.quarantined)
    report = {"manifest": str(manifest), "quarantine": None if out is None else str(out), **found.to_json()}
    if json:
        emit(report)
    else:
        for each in found.quarantined:
            note(f"{each.id} ({each.video}): {each.kind}: {each.cause}")
        for kind, count in report["quarantined"].items():
            say(f"{kind}: {count}")
        counted = f"{report['good']} of {report['rows']} rows good, {report['files']} files"
        say(f"{counted}, fingerprint {report['fingerprint']}")
    if strict and found.quarantined:
        raise typer.Exit(1)


def _check_files(paths: list[Path], strict: bool, json: bool) -> None:
    from mova.errors import VideoError
    from mova.utils.files import find_videos
    from mova.video.reader import stream

    good: list[str] = []
    bad: list[dict[str, str]] = []
    found = find_videos(paths)
    if not found:
        raise UsageError(f"no video found in {', '.join(map(str, paths))}; name video files, or folders with some")
    for path in found:
        try:
            for _ in stream(path, fps=None, short_side=16):
                pass
            good.append(str(path))
        except VideoError as error:
            bad.append({"path": str(path), "cause": error.cause})
    if json:
        emit({"readable": len(good), "broken": bad})
    else:
        for row in bad:
            note(f"{row['path']}: {row['cause']}")
        say(f"{len(good)} readable, {len(bad)} broken")
    if bad and (strict or not good):
        raise typer.Exit(1)
