"""`mova data check`: find missing, unreadable and inconsistent videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mova.cli.console import emit, note, one_line, progress_bar, say
from mova.cli.options import Json, TimeLimit
from mova.cli.output_files import output_file
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.types import Span


def check(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="One manifest (.jsonl), or video files and folders to search for videos."),
    ],
    out: Annotated[
        Path | None, output_file("Write the rows that fail to this quarantine list (manifests only).")
    ] = None,
    decode: Annotated[
        bool,
        typer.Option("--decode", help="Decode the files of a manifest completely, not only the first and last frame."),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of files of a manifest to check in parallel.")
    ] = None,
    time_limit: TimeLimit = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 if any file or row fails.")] = False,
    json: Json = False,
) -> None:
    """Find missing, unreadable and inconsistent videos in a manifest or in folders.

    The videos of a manifest are probed, or decoded completely with --decode.
    Other files are always decoded completely; the exit code is 1 if none is readable.
    Stretches of readable files in which pictures are missing are reported too.
    """
    if any(path.suffix == ".jsonl" for path in paths):
        if len(paths) > 1:
            raise UsageError("give either one manifest, or files and folders")
        _check_manifest(paths[0], out, decode, workers, time_limit, strict, json)
    elif out is not None or decode or workers is not None:
        raise UsageError("--out, --decode and --workers need a manifest (.jsonl)")
    else:
        _check_files(paths, time_limit, strict, json)


def _check_manifest(
    manifest: Path,
    out: Path | None,
    decode: bool,
    workers: int | None,
    time_limit: float | None,
    strict: bool,
    json: bool,
) -> None:
    from mova.data.manifest import read_manifest
    from mova.data.quarantine import write_quarantine
    from mova.data.validation import WORKERS, check_rows
    from mova.video.limits import TIME_LIMIT, UNREAD

    rows = read_manifest(manifest)
    with progress_bar() as progress:
        task = progress.add_task("probing", total=len({segment.video for row in rows for segment in row.segments}))
        result = check_rows(
            rows,
            manifest.parent,
            decode=decode,
            workers=workers or WORKERS,
            time_limit=TIME_LIMIT if time_limit is None else time_limit,
            done=lambda count: progress.update(task, completed=count),
        )
    if out is not None:
        write_quarantine(out, result.quarantined)
    report = {"manifest": str(manifest), "quarantine": None if out is None else str(out), **result.to_json()}
    if json:
        emit(report)
    else:
        for row in result.quarantined:
            note(f"{one_line(row.id)} ({one_line(row.video)}): {row.kind}: {one_line(row.cause)}")
        for name, gap in result.gaps:
            note(f"{one_line(name)}: no picture from {gap.start:.2f} to {gap.end:.2f} s")
        for name, count in result.lost:
            note(_lost(name, count))
        for name, count in result.unread:
            note(f"{one_line(name)}: {UNREAD.format(count)}")
        for kind, count in report["quarantined"].items():
            say(f"{kind}: {count}")
        counts = f"{report['good']} of {report['rows']} rows passed, {report['files']} files"
        say(f"{counts}, fingerprint {report['fingerprint']}")
    if strict and result.quarantined:
        raise typer.Exit(1)


def _check_files(paths: list[Path], time_limit: float | None, strict: bool, json: bool) -> None:
    from mova.errors import VideoError
    from mova.utils.files import find_videos
    from mova.video.isolated import Isolated
    from mova.video.limits import TIME_LIMIT, UNREAD

    readable = 0
    broken: list[dict[str, str]] = []
    gaps: list[dict[str, Any]] = []
    lost: list[dict[str, Any]] = []
    unread: list[dict[str, Any]] = []
    videos = find_videos(paths)
    if not videos:
        raise UsageError(
            f"no videos found in {', '.join(map(str, paths))}; name video files or folders that contain some"
        )
    with Isolated(TIME_LIMIT if time_limit is None else time_limit) as decoder:
        for path in videos:
            try:
                damage = decoder.find_damage(path)
                readable += 1
                gaps += [{"path": str(path), **_rounded(gap)} for gap in damage.gaps]
                lost += [{"path": str(path), "pictures": damage.lost}] * bool(damage.lost)
                unread += [{"path": str(path), "bytes": damage.unread}] * bool(damage.unread)
            except VideoError as error:
                broken.append({"path": str(path), "cause": error.cause})
    if json:
        damaged = {key: rows for key, rows in (("gaps", gaps), ("lost", lost), ("unread", unread)) if rows}
        emit({"readable": readable, "broken": broken, **damaged})
    else:
        for row in broken:
            note(f"{one_line(row['path'])}: {one_line(row['cause'])}")
        for row in gaps:
            note(f"{one_line(row['path'])}: no picture from {row['start']:.2f} to {row['end']:.2f} s")
        for row in lost:
            note(_lost(row["path"], int(row["pictures"])))
        for row in unread:
            note(f"{one_line(row['path'])}: {UNREAD.format(row['bytes'])}")
        say(f"{readable} readable, {len(broken)} unreadable")
    if broken and (strict or not readable):
        raise typer.Exit(1)


def _lost(name: str, count: int) -> str:
    return f"{one_line(name)}: damaged; pictures that cannot be decoded: {count}"


def _rounded(gap: Span) -> dict[str, float]:
    return {"start": round(gap.start, 3), "end": round(gap.end, 3)}
