"""`mova data features`: store the frame embeddings of a manifest's videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mova.cli.console import emit, file_bar, note, say
from mova.cli.options import Json, Model


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
