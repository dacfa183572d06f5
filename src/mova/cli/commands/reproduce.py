"""`mova reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mova.cli.console import emit, note, progress_bar, say, show
from mova.cli.options import Json, Quarantine
from mova.cli.training import overridden, training_bar

if TYPE_CHECKING:
    from mova.reproduce import Reproduction


def reproduce(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe, such as activitynet; a wrong name lists all.")],
    data: Annotated[Path | None, typer.Option(help="Folder with `annotations` and `videos`.")] = None,
    one_step: Annotated[
        bool, typer.Option("--one-step", help="Try the whole path: rendered data, random weights, one step.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--out", "--output", help="Folder of all that is made; reproductions/NAME if left out (NAME-one-step)."
        ),
    ] = None,
    quarantine: Quarantine = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    json: Json = False,
) -> None:
    """Convert, train, measure, and say whether the published figure is met. Recipe overrides: `--section.key value`."""
    import mova.reproduce as reproduction

    folder = Path("reproductions") / (Path(name).stem + ("-one-step" if one_step else ""))
    with progress_bar() as progress:
        measuring = progress.add_task("videos measured", total=None)
        found = reproduction.reproduce(
            name,
            output or folder,
            data=data,
            one_step=one_step,
            overrides=overridden(context.args),
            quarantine=quarantine,
            resume=resume,
            callbacks=[training_bar(progress)],
            done=lambda count: progress.update(measuring, completed=count),
        )
    for what, which in found.conversion.notes.items():
        note(f"{what}: {len(which)}, such as {which[0]}")
    if found.leaks:
        note(f"LEAK: {len(found.leaks)} source videos were trained on and measured on, such as {found.leaks[0]}")
    for caveat in () if found.one_step and not json else found.caveats:
        note(caveat)
    if json:
        emit(found.to_json())
    else:
        _print(found)


def _print(found: Reproduction) -> None:
    """The table: whose figure, what was published, the band, what was found here; then the verdict."""
    report = found.report
    sizes = f"{report['queries']} texts, {report['candidates']} videos, fingerprint {report['fingerprint']}"
    table = Table(title=f"{found.recipe}: {report['protocol']}, {sizes}", header_style="bold")
    for column in ("figure", "published", "95 % band", "here", "said", "source"):
        table.add_column(column, justify="left" if column in ("figure", "said", "source") else "right")
    for row in found.rows:
        assert found.target is not None
        span = "" if row.low is None else f"{row.low:.1f} to {row.high:.1f}"
        said = "no verdict" if found.verdict is None else row.verdict or ""
        label, source = f"{found.target.system}, {row.way} {row.metric}", f"{found.target.source}, {found.target.where}"
        table.add_row(label, f"{row.published:.1f}", span, f"{row.found:.1f}", said, source)
    for figure in found.beside:
        for way, metrics in figure.ways.items():
            label = f"  beside it: {figure.system}, {way} R@1"
            table.add_row(label, f"{metrics['R@1']:.1f}", "", "", "", f"{figure.source}, {figure.where}")
    if found.target is None:
        for way in ("t2v", "v2t"):
            table.add_row(f"{way} R@1", "none", "", f"{report[way]['R@1']:.1f}", "no verdict", "")
    show(table)
    say(_verdict(found))


def _verdict(found: Reproduction) -> str:
    """One line that says it plainly."""
    if found.one_step:
        return found.caveats[0]
    if found.target is None:
        return "no figure of this stage is published; there is nothing to compare with"
    pairs = [f"{row.way} {row.metric} {row.found:.1f} here, {row.published:.1f} published" for row in found.rows]
    said = found.verdict or f"no verdict ({found.target.note or 'nothing comparable'})"
    return f"{said}: {'; '.join(pairs)} ({found.target.source}, {found.target.where})"
