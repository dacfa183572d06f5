"""`mova data convert`: convert the annotations of a data set to a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mova.cli.console import emit, note, say
from mova.cli.options import Json, ManifestTarget, Quarantine, Splits


def convert(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Data set, such as activitynet (an unknown name lists all).")
    ],
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="Original annotation file, or the folder that contains the files.")
    ],
    target: ManifestTarget,
    videos: Annotated[
        Path | None, typer.Option(help="Folder of the videos, searched recursively for the ids of the data set.")
    ] = None,
    split: Splits = None,
    missing: Annotated[str, typer.Option(help="How to treat rows without a video: keep, omit or fail.")] = "keep",
    against: Annotated[
        list[Path] | None, typer.Option(help="Manifest to check for shared source videos (leaks); may be repeated.")
    ] = None,
    hold_out: Annotated[
        str | None, typer.Option(help="Name of a validation split to take from train, for choosing checkpoints.")
    ] = None,
    hold_out_percent: Annotated[
        int, typer.Option(help="Percentage of the source videos of train that --hold-out takes.")
    ] = 5,
    quarantine: Quarantine = None,
    json: Json = False,
) -> None:
    """Convert a data set to a manifest.

    The source is the original annotation files of a public data set, or your own table of videos and captions.
    """
    from mova.data.readers import registry as readers

    report = readers.convert(
        name,
        source,
        target,
        videos=videos,
        splits=split,
        missing=missing,
        against=against or (),
        hold_out=hold_out,
        share=hold_out_percent,
        quarantine=quarantine,
    ).to_json()
    _print_notes(report, quarantine)
    if json:
        emit(report)
        return
    for split_name, count in report["splits"].items():
        published = "" if count["published"] is None else f" of {count['published']} published"
        say(f"{split_name}: {count['rows']}{published}")
    counts = f"{report['rows']} rows, {report['captions']} captions"
    say(f"{report['manifest']}: {counts}, fingerprint {report['fingerprint']}")


def _print_notes(report: dict[str, Any], quarantine: Path | None) -> None:
    for cause, rows in report["notes"].items():
        note(f"{cause}: {_abbreviated(rows['count'], rows['which'])}")
    for shared in report["shares"]:
        note(f"shared sources: {shared}")
    for other, leak in report["leaks"].items():
        note(f"LEAK: {leak['count']} source videos are also in {other}: {_abbreviated(leak['count'], leak['videos'])}")
    if report["missing"] and report["missing"]["count"]:
        note(f"missing videos: {_abbreviated(report['missing']['count'], report['missing']['videos'])}")
    if report["quarantined"]["count"]:
        note(f"excluded by {quarantine}: {_abbreviated(report['quarantined']['count'], report['quarantined']['rows'])}")


def _abbreviated(count: int, names: list[str], limit: int = 3) -> str:
    """Return a count and the first few names; `--json` prints all of them."""
    return f"{count} ({', '.join(names[:limit])}{', ...' if count > limit else ''})"
