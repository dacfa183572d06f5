"""`mova data ...`: making and checking data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mova.cli.console import emit, file_bar, note, progress_bar, say
from mova.cli.options import Json, Model, Quarantine
from mova.errors import UsageError

data = typer.Typer(name="data", help="Make and check data.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(data)


@data.command()
def worlds(
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the videos and manifest.jsonl.")],
    videos: Annotated[int, typer.Option(min=1, help="How many videos.")] = 8,
    seconds: Annotated[float, typer.Option(help="Length of each, 10 to 1200 seconds.")] = 30.0,
    style: Annotated[str, typer.Option(help="How they look; a wrong name lists all.")] = "flat",
    seed: Annotated[int, typer.Option(help="Same seed, same videos and same bytes of manifest.")] = 0,
    size: Annotated[int, typer.Option(min=32, max=1080, help="Pixels, square.")] = 256,
    json: Json = False,
) -> None:
    """Render Worlds: videos of known events with captions, spans and hard negatives."""
    from mova.worlds.writer import write_worlds

    manifest = write_worlds(target, videos, seconds, style, seed, size=size)
    if json:
        emit({"manifest": str(manifest), "videos": videos, "seconds": seconds, "style": style, "seed": seed})
    else:
        say(f"{manifest}: {videos} videos")


@data.command()
def convert(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Data set, such as activitynet; a wrong name lists all.")],
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="Folder with the original annotation files, or the file.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="manifest.jsonl, or a folder for it.")],
    videos: Annotated[
        Path | None, typer.Option(help="Folder with the videos; searched through for the set's ids.")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Only this part; may be repeated. All that are there.")
    ] = None,
    missing: Annotated[str, typer.Option(help="Rows without a video: keep, omit or fail.")] = "keep",
    against: Annotated[list[Path] | None, typer.Option(help="Manifest to look for the same source videos in.")] = None,
    hold_out: Annotated[
        str | None, typer.Option(help="Name of a part to take from train, for choosing checkpoints.")
    ] = None,
    share: Annotated[int, typer.Option(help="Per cent of train's source videos that --hold-out takes.")] = 5,
    quarantine: Quarantine = None,
    json: Json = False,
) -> None:
    """Make a manifest of a public data set's own annotation files, or of your table of videos and captions."""
    from mova.data.readers import registry as readers

    done = readers.convert(
        name,
        source,
        target,
        videos=videos,
        splits=split,
        missing=missing,
        against=against or (),
        hold_out=hold_out,
        share=share,
        quarantine=quarantine,
    ).to_json()
    for what, found in done["notes"].items():
        note(f"{what}: {_named(found['count'], found['which'])}")
    for shared in done["shares"]:
        note(f"shared sources: {shared}")
    for other, found in done["leaks"].items():
        note(f"LEAK: {found['count']} source videos are in {other} too: {_named(found['count'], found['videos'])}")
    if done["missing"] and done["missing"]["count"]:
        note(f"videos missing: {_named(done['missing']['count'], done['missing']['videos'])}")
    if done["quarantined"]["count"]:
        note(f"left out by {quarantine}: {_named(done['quarantined']['count'], done['quarantined']['rows'])}")
    if json:
        emit(done)
        return
    for part, count in done["splits"].items():
        published = "" if count["published"] is None else f" of {count['published']} published"
        say(f"{part}: {count['rows']}{published}")
    say(f"{done['manifest']}: {done['rows']} rows, {done['captions']} captions, fingerprint {done['fingerprint']}")


def _named(count: int, names: list[str], shown: int = 3) -> str:
    """A count and the first few names; all of them stand in the JSON."""
    return f"{count} ({', '.join(names[:shown])}{', ...' if count > shown else ''})"


@data.command()
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


@data.command()
def features(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", exists=True, dir_okay=False, help="manifest.jsonl beside its videos.")
    ],
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder of the store; made if it is not there.")],
    model: Model = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second; the model's own rate if left out.")] = None,
    rule: Annotated[str | None, typer.Option(help="A named rule of sampling instead of a rate, with --frames.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames a clip by --rule.")] = 64,
    split: Annotated[list[str] | None, typer.Option(help="Only this part; may be repeated.")] = None,
    sentences: Annotated[
        bool, typer.Option("--sentences", help="Store every timed sentence's own seconds too (captions: clip).")
    ] = False,
    dtype: Annotated[str, typer.Option(help="Of a new store: float16, bfloat16 or float32.")] = "float16",
    retry: Annotated[bool, typer.Option("--retry", help="Try files again that could not be read.")] = False,
    json: Json = False,
) -> None:
    """Store frame embeddings of a manifest's videos, so that training and evaluation need not decode them.

    Run the same command again after a stop: it goes on. The exit code is 1 only if no clip could be read.
    """
    from mova.data.frame_selection import FrameRule
    from mova.models.feature_extraction import write_features
    from mova.models.registry import DEFAULT_MODEL, load

    encoder = load(model or DEFAULT_MODEL)
    rate = encoder.sampling_rate(fps) if rule is None else fps
    with file_bar("embedding") as shown:
        report = write_features(
            store,
            encoder,
            manifest,
            FrameRule(frames, rule, rate),
            splits=split or (),
            sentences=sentences,
            dtype=dtype,
            retry=retry,
            progress=shown,
        )
    if json:
        emit({"store": str(store), "model": encoder.name, **report.to_json()})
    else:
        for path, cause in report.failed.items():
            note(f"skipped {path}: {cause}")
        counts = {"written": report.written, "unchanged": report.unchanged, "unreadable files": len(report.failed)}
        said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        say(f"{store}: {said} ({report.frames} frames in {report.seconds:.1f} s)")
    if report.failed and not report.worked:
        raise typer.Exit(1)
