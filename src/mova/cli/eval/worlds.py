"""`mova eval worlds`: a model on held-out rendered videos."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from mova.cli.console import emit, show
from mova.cli.options import Json, Model


def worlds(
    model: Model = None,
    seed: Annotated[int, typer.Option(help="Seed of the held-out videos.")] = 1,
    json: Json = False,
) -> None:
    """Evaluate a model on held-out Worlds of each style: retrieval, localization and every visual factor."""
    from mova.eval.render import measure_label
    from mova.eval.tasks.worlds import evaluate_worlds
    from mova.models.known import DEFAULT_MODEL
    from mova.models.registry import load

    encoder = load(model or DEFAULT_MODEL)
    measures_of = evaluate_worlds(encoder, seed=seed)
    if json:
        emit({"task": "worlds", "model": encoder.name, "seed": seed, "styles": measures_of})
        return
    styles = list(measures_of)
    table = Table(title=f"{encoder.name} on held-out Worlds", header_style="bold")
    table.add_column("metric")
    for style in styles:
        table.add_column(style, justify="right")
    for measure in measures_of[styles[0]]:
        table.add_row(measure_label(measure), *(f"{measures_of[style][measure]:.3f}" for style in styles))
    show(table)
