"""`mova reproduce`: reproduce a published result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mova.cli.console import emit, note, progress_bar, say, show
from mova.cli.options import Json, Quarantine, Resume
from mova.cli.training import parse_overrides, require_reproducible, training_bar

if TYPE_CHECKING:
    from mova.reproduce import Reproduction


def reproduce(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A recipe, such as activitynet (an unknown name lists all).")
    ],
    data: Annotated[Path | None, typer.Option(help="Folder that contains `annotations` and `videos`.")] = None,
    one_step: Annotated[
        bool, typer.Option("--one-step", help="Dry run of all stages: rendered data, random weights, one step.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--out", "--output", help="Output folder (default: reproductions/NAME, with --one-step NAME-one-step)."
        ),
    ] = None,
    published_only: Annotated[
        bool,
        typer.Option(
            "--published-only",
            help="Train the published system alone (default: also the recipe's own, on another line, if it differs).",
        ),
    ] = False,
    quarantine: Quarantine = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Reproduce a published result: convert the data, train, evaluate and compare.

    Any key of the recipe can be overridden: `--training.max_steps 10`.
    """
    overrides = parse_overrides(context.args)
    require_reproducible(name, data, overrides, one_step=one_step)
    import mova.reproduce as reproduction

    folder = Path("reproductions") / (Path(name).stem + ("-one-step" if one_step else ""))
    with progress_bar() as progress:
        evaluation = progress.add_task("evaluating", total=None)
        result = reproduction.reproduce(
            name,
            output or folder,
            data=data,
            one_step=one_step,
            overrides=overrides,
            quarantine=quarantine,
            default=not published_only,
            resume=resume,
            callbacks=[training_bar(progress)],
            done=lambda count: progress.update(evaluation, completed=count),
        )
    for cause, rows in result.conversion.notes.items():
        note(f"{cause}: {len(rows)}, such as {rows[0]}")
    if result.leaks:
        note(f"LEAK: {len(result.leaks)} source videos are in both training and evaluation, such as {result.leaks[0]}")
    for caveat in () if result.one_step and not json else result.caveats:
        note(caveat)
    if json:
        emit(result.to_json())
    else:
        _print(result)


def _print(result: Reproduction) -> None:
    """Print a table of published and reproduced results, then the verdict."""
    head = result.report.head
    sizes = f"{head.queries} texts, {head.candidates} videos, fingerprint {head.fingerprint}"
    table = Table(title=f"{result.recipe}: {head.protocol}, {sizes}", header_style="bold")
    for column in ("metric", "published", "95 % band", "reproduced", "verdict", "source"):
        table.add_column(column, justify="left" if column in ("metric", "verdict", "source") else "right")
    for row in result.rows:
        assert result.target is not None
        span = "" if row.low is None else f"{row.low:.1f} to {row.high:.1f}"
        verdict = "no verdict" if result.verdict is None else row.verdict or ""
        label, source = (
            f"{result.target.system}, {row.way} {row.metric}",
            f"{result.target.source}, {result.target.where}",
        )
        table.add_row(label, f"{row.published:.1f}", span, f"{row.measured:.1f}", verdict, source)
    for figure in result.beside:
        for way, metrics in figure.ways.items():
            label = f"  for comparison: {figure.system}, {way} R@1"
            table.add_row(label, f"{metrics['R@1']:.1f}", "", "", "", f"{figure.source}, {figure.where}")
    if result.target is None:
        for way, group in result.report.directions.items():
            table.add_row(f"{way} R@1", "none", "", f"{group.figures['R@1']:.1f}", "no verdict", "")
    if result.default is not None:
        for way, group in result.default.report.directions.items():
            label = f"{result.default.name}, {way} R@1"
            reproduced = f"{group.figures['R@1']:.1f}"
            table.add_row(label, "none", "", reproduced, "no verdict", f"scoring form {result.default.form}")
    show(table)
    say(_verdict(result))


def _verdict(result: Reproduction) -> str:
    """Return the verdict in one line."""
    if result.one_step or result.target is None:
        return result.no_verdict
    pairs = [
        f"{row.way} {row.metric} {row.measured:.1f} reproduced, {row.published:.1f} published" for row in result.rows
    ]
    verdict = result.verdict or f"no verdict ({result.no_verdict})"
    return f"{verdict}: {'; '.join(pairs)} ({result.target.source}, {result.target.where})"
