"""`mova reproduce`: reproduce a published result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mova.cli.console import emit, note, progress_bar, say, show
from mova.cli.options import Json, Quarantine, Resume
from mova.cli.output_files import output_folder
from mova.cli.training import parse_overrides, require_reproducible, training_bar
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.reproduce.outcome import Choice, Reproduction
    from mova.reproduce.suite import SuiteReproduction


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
        output_folder(
            "Output folder (default: reproductions/NAME, with --one-step NAME-one-step).", "--out", "--output"
        ),
    ] = None,
    published_only: Annotated[
        bool,
        typer.Option(
            "--published-only",
            help="Train the published system alone (default: also the recipe's own, on another line, if it differs).",
        ),
    ] = False,
    figure: Annotated[
        str,
        typer.Option(help="Another row of the tables, such as `weights: fixed`; its settings are set, too."),
    ] = "",
    zero_shot: Annotated[
        bool,
        typer.Option("--zero-shot", help="Train nothing: compare the recipe's starting model with zero-shot figures."),
    ] = False,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="SynViTA: also measure parts of the public sets, without a verdict.")
    ] = False,
    quarantine: Quarantine = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Reproduce a published result: convert the data, train, evaluate and compare.

    Any key of the recipe can be overridden: `--training.max_steps 10`.
    """
    overrides = parse_overrides(context.args)
    suite = require_reproducible(name, data, overrides, one_step=one_step, zero_shot=zero_shot, figure=figure)
    from mova.reproduce.outcome import Choice

    choice = Choice(figure, zero_shot, not published_only, resume)
    suffix = ("-one-step" if one_step else "") + ("-zero-shot" if zero_shot else "")
    folder = output or Path("reproductions") / (Path(name).stem + suffix)
    if suite:
        if quarantine is not None:
            raise UsageError("--quarantine: set --data.quarantine for the training of this recipe")
        made = _suite(name, folder, data, overrides, choice, any_size)
        _notes(made.leaks, made.caveats)
        emit(made.to_json()) if json else _print_suite(made)
        return
    result = _recipe(name, folder, data, overrides, choice, one_step, quarantine)
    for cause, rows in result.conversion.notes.items():
        note(f"{cause}: {len(rows)}, such as {rows[0]}")
    _notes(result.leaks, () if result.one_step and not json else result.caveats)
    emit(result.to_json()) if json else _print(result)


def _notes(leaks: Sequence[str], caveats: Sequence[str]) -> None:
    if leaks:
        note(f"LEAK: {len(leaks)} source videos are in both training and evaluation, such as {leaks[0]}")
    for caveat in caveats:
        note(caveat)


def _recipe(
    name: str,
    folder: Path,
    data: Path | None,
    overrides: Mapping[str, str],
    choice: Choice,
    one_step: bool,
    quarantine: Path | None,
) -> Reproduction:
    """Reproduce the figure of a recipe with one test."""
    import mova.reproduce.run as reproduction

    with progress_bar() as progress:
        evaluation = progress.add_task("evaluating", total=None)
        return reproduction.reproduce(
            name,
            folder,
            data=data,
            one_step=one_step,
            overrides=overrides,
            quarantine=quarantine,
            choice=choice,
            callbacks=[training_bar(progress)],
            done=lambda count: progress.update(evaluation, completed=count),
        )


def _suite(
    name: str, folder: Path, data: Path | None, overrides: Mapping[str, str], choice: Choice, any_size: bool
) -> SuiteReproduction:
    """Reproduce the figures of a recipe with several tests."""
    import mova.reproduce.suite as reproduction

    with progress_bar() as bar:

        def progress_of(test: str) -> Any:
            task = bar.add_task(test, total=None)
            return lambda done, total: bar.update(task, completed=done, total=total)

        return reproduction.reproduce_suite(
            name,
            folder,
            data=data,
            overrides=overrides,
            choice=choice,
            any_size=any_size,
            callbacks=[training_bar(bar)],
            progress=progress_of,
        )


def _print_suite(result: SuiteReproduction) -> None:
    """Print a table of the six tests, then the verdict."""
    title = f"{result.recipe}: {result.system}, {result.form or 'full system'}, {result.setting}"
    table = Table(title=title, header_style="bold")
    for column in ("test", "metric", "published", "95 % band", "reproduced", "verdict"):
        table.add_column(column, justify="left" if column in ("test", "metric", "verdict") else "right")
    compared = {row.way: row for row in result.rows}
    for test, outcome in result.runs[0].report.outcomes.items():
        row = compared.get(test)
        if row is not None:
            span = "" if row.low is None else f"{row.low:.2f} to {row.high:.2f}"
            verdict = "no verdict" if result.no_verdict else row.verdict or ""
            table.add_row(test, row.metric, f"{row.published:.2f}", span, f"{row.measured:.2f}", verdict)
            continue
        for metric, interval in (outcome.figures or {}).items():
            table.add_row(test, metric, "not compared", "", f"{interval.value:.2f}", "")
        if not outcome.figures:
            table.add_row(test, "missing", "", "", "", "")
    show(table)
    say(f"no verdict ({result.no_verdict})" if result.no_verdict else result.verdict or "no verdict (no test compares)")


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
