"""`mova train`: train a model from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mova.cli.console import emit, progress_bar, say
from mova.cli.options import Json
from mova.cli.training import overridden, training_bar


def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or a recipe that comes with mova.")],
    output: Annotated[
        Path | None, typer.Option("--out", "--output", help="Folder of the run; runs/NAME if left out.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in the folder.")] = False,
    json: Json = False,
) -> None:
    """Train a model by a recipe. Anything in the recipe can be overridden: `--training.max_steps 10`."""
    from mova.train.recipe import load_recipe
    from mova.train.run import train as run_recipe

    chosen = load_recipe(recipe, overridden(context.args))
    folder = output or Path("runs") / chosen.name
    with progress_bar() as progress:
        model = run_recipe(chosen, folder, resume=resume, callbacks=[training_bar(progress)])
    weights = list(model.parameters())
    count, trained = sum(p.numel() for p in weights), sum(p.numel() for p in weights if p.requires_grad)
    if json:
        emit({"recipe": chosen.name, "output": str(folder), "parameters": count, "trained": trained})
    else:
        say(f"{folder}: {trained / 1e6:.2f} of {count / 1e6:.2f} M parameters trained")
