"""`mova index`: store frame embeddings of videos for search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mova.cli.console import emit, file_bar, note, say
from mova.cli.index_report import report_run
from mova.cli.library.forget import forget as forget_paths
from mova.cli.options import (
    DEFAULT_INDEX,
    Fps,
    IndexFolder,
    Json,
    Model,
    Nice,
    Ray,
    Threads,
    TimeLimit,
    give_way,
    model_of_index,
)
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.search.index import Index

PROBLEMS_SHOWN = 10

Exact = Annotated[
    bool,
    typer.Option(
        "--exact",
        help="Decode the frame at each sampling time, not one that costs less within a quarter of the period.",
    ),
]

Stride = Annotated[
    float | None,
    typer.Option(help="Seconds between windows, for models that see several frames at once (default: half a window)."),
]

Novelty = Annotated[
    float | None,
    typer.Option(
        metavar="DISTANCE",
        help="Store one vector for frames within this cosine distance of it, such as 0.05, not one per frame (default: "
        "as in the index, else 0).",
    ),
]

Verify = Annotated[bool, typer.Option("--verify", help="Only read the whole index, and list what is damaged.")]


def index(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH", help="Videos, folders, patterns, manifests, or URIs (s3://bucket/films)."),
    ] = None,
    folder: IndexFolder = DEFAULT_INDEX,
    model: Model = None,
    fps: Fps = None,
    all_files: Annotated[bool, typer.Option("--all", help="Try every file in the folders, with any suffix.")] = False,
    time_limit: TimeLimit = None,
    exact: Exact = False,
    threads: Threads = None,
    nice: Nice = None,
    ray: Ray = None,
    stride: Stride = None,
    novelty: Novelty = None,
    forget: Annotated[
        bool, typer.Option("--forget", hidden=True, help="Remove the paths from the index: `mova forget`.")
    ] = False,
    verify: Verify = False,
    json: Json = False,
) -> None:
    """Store frame embeddings of videos, so that `mova search` can find moments in them.

    Only new or changed files are read. Run the same command again to resume an interrupted run.
    Unreadable files are skipped and listed. The exit code is 1 only if no file could be indexed.
    """
    from mova.models.known import explain_default
    from mova.search.index import Index
    from mova.video.limits import TIME_LIMIT

    store = Index(folder, model_of_index(context, model, folder))
    if verify:
        _verify(store, folder, json)
        return
    if not paths:
        raise UsageError("name at least one PATH: videos, folders that contain some, or a manifest")
    if forget:
        forget_paths(paths, folder, json)
        return
    _prepare(paths, ray, threads, nice)
    if model is None and not store.exists:
        note(explain_default())
    with file_bar("indexing") as progress:
        report = store.add(
            paths,
            fps=fps,
            progress=progress,
            all_files=all_files,
            time_limit=TIME_LIMIT if time_limit is None else time_limit,
            exact=exact or None,
            threads=threads,
            ray=ray,
            stride=stride,
            novelty=novelty,
        )
    report_run(report, store.model_name, folder, json)
    if report.failed and not report.worked:
        raise typer.Exit(1)


def _prepare(paths: list[str], ray: str | None, threads: int | None, nice: int | None) -> None:
    """Raise if a path does not exist, or threads are set for a cluster; lower the priority if asked to."""
    from mova.utils.files import expand_patterns, require_paths

    if ray is not None and threads is not None:
        raise UsageError("--threads sets those of this machine; on a cluster (--ray) each worker has one")
    require_paths(expand_patterns(paths))
    give_way(nice)


def _verify(store: Index, folder: str, json: bool) -> None:
    """Read the whole index; exit with 1 if it is damaged."""
    result = store.verify()
    if json:
        emit({"index": folder, **result.to_json()})
    for line in result.notes:
        note(line)
    damage = [*result.problems, *result.caches]
    for line in damage[:PROBLEMS_SHOWN]:
        note(line)
    if len(damage) > PROBLEMS_SHOWN:
        note(f"and {len(damage) - PROBLEMS_SHOWN} more")
    if result.problems:
        note(
            f"{folder}: the index is damaged. Delete this folder and make it again with "
            f"`mova index PATH... --index {folder}`"
        )
    elif result.caches:
        note(f"{folder}: the stored videos are sound ({result.videos} videos, {result.frames} frames)")
    if damage:
        raise typer.Exit(1)
    if not json:
        say(f"{folder}: sound ({result.videos} videos, {result.frames} frames, {result.files} files compared)")
