"""`mova train`: train a model from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mova.cli.console import emit, progress_bar, say
from mova.cli.options import Json, Resume
from mova.cli.training import describe_recipe, parse_overrides, training_bar


def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Name of a shipped recipe, or a YAML file.")],
    output: Annotated[
        Path | None, typer.Option("--out", "--output", help="Output folder (default: runs/RECIPE).")
    ] = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Train a model from a recipe.

    Any key of the recipe can be overridden: `--training.max_steps 10`.
    """
    from mova.train.recipe import load_recipe
    from mova.train.run import train as run_recipe

    settings = load_recipe(recipe, parse_overrides(context.args))
    folder = output or Path("runs") / settings.name
    with progress_bar() as progress:
        model = run_recipe(settings, folder, resume=resume, callbacks=[training_bar(progress)])
    weights = list(model.parameters())
    count, trained = sum(p.numel() for p in weights), sum(p.numel() for p in weights if p.requires_grad)
    if json:
        emit({"recipe": settings.name, "output": str(folder), "parameters": count, "trained": trained})
    else:
        say(f"{folder}: trained {trained / 1e6:.2f} of {count / 1e6:.2f} M parameters")


def recipe_help(words: list[str]) -> str:
    """Describe the settings of the recipe that is among the words of a command line; empty without one."""
    from mova.train.recipe import load_recipe, shipped_recipes

    shipped = shipped_recipes()
    recipes = [word for word in words if word in shipped or Path(word).is_file()]
    return f"{describe_recipe(load_recipe(recipes[0]))}\n" if recipes else ""
