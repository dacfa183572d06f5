"""`mova data convert`: make a manifest from a public data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mova.cli.console import emit, note, say
from mova.cli.options import Json, Quarantine


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
