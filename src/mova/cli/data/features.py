"""`mova data features`: store frame embeddings of the videos in a manifest."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from mova.cli.console import emit, file_bar, note, one_line, say
from mova.cli.options import Fps, Json, Model, Ray, Splits, TimeLimit
from mova.cli.output_files import folder_argument

if TYPE_CHECKING:
    from mova.features.extract import FeatureReport

Manifest = Annotated[
    Path,
    typer.Argument(
        metavar="MANIFEST",
        exists=True,
        dir_okay=False,
        help="Manifest (.jsonl); video paths are relative to its folder.",
    ),
]


def features(
    manifest: Manifest,
    store: Annotated[
        Path, folder_argument("Folder of the feature store to write; created if it does not exist.", metavar="STORE")
    ],
    model: Model = None,
    fps: Fps = None,
    rule: Annotated[
        str | None,
        typer.Option(help="Sample --frames frames per clip by this rule (an unknown name lists all)."),
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Number of frames per clip with --rule.")] = 64,
    split: Splits = None,
    sentences: Annotated[
        bool,
        typer.Option(
            "--sentences", help="Also store a clip for each sentence with times (for training with `captions: clip`)."
        ),
    ] = False,
    dtype: Annotated[str, typer.Option(help="Data type of a new store: float16, bfloat16 or float32.")] = "float16",
    retry: Annotated[bool, typer.Option("--retry", help="Retry files that were unreadable before.")] = False,
    time_limit: TimeLimit = None,
    ray: Ray = None,
    json: Json = False,
) -> None:
    """Store frame embeddings of a manifest's videos, for training and evaluation.

    Run the same command again to resume an interrupted run. The exit code is 1 only if no clip is readable.
    """
    from mova.features.extract import write_features
    from mova.models.known import DEFAULT_MODEL
    from mova.models.registry import load
    from mova.utils.cluster import Cluster
    from mova.video.limits import TIME_LIMIT
    from mova.video.reader import FrameRule

    encoder = load(model or DEFAULT_MODEL)
    rate = encoder.sampling_rate(fps) if rule is None else fps
    with file_bar("embedding", "clip") as progress:
        report = write_features(
            store,
            encoder,
            manifest,
            FrameRule(frames, rule, rate),
            splits=split or (),
            sentences=sentences,
            dtype=dtype,
            retry=retry,
            time_limit=TIME_LIMIT if time_limit is None else time_limit,
            progress=progress,
            cluster=None if ray is None else Cluster.of(ray, model, DEFAULT_MODEL),
        )
    if json:
        emit({"store": str(store), "model": encoder.name, **report.to_json()})
    else:
        _print_summary(report, store)
        _suggest(report, manifest, store, model)
    if report.failed and not report.worked:
        raise typer.Exit(1)


def _suggest(report: FeatureReport, manifest: Path, store: Path, model: str | None) -> None:
    if report.written:
        paths = f"--manifest {quote(str(manifest))} --features {quote(str(store))}"
        named = "" if model is None else f" --model {quote(model)}"
        note(f"next: mova eval retrieval --protocol captions {paths}{named}")


def _print_summary(report: FeatureReport, store: Path) -> None:
    for path, cause in report.failed.items():
        note(f"skipped {one_line(path)}: {one_line(cause)}")
    counts = {"written": report.written, "unchanged": report.unchanged, "unreadable files": len(report.failed)}
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    say(f"{store}: {summary} ({report.frames} frames in {report.seconds:.1f} s)")
