"""`mova train`: train a model from a recipe."""

from __future__ import annotations

from dataclasses import asdict
from math import isnan
from pathlib import Path
from shlex import quote
from shutil import disk_usage
from typing import TYPE_CHECKING, Annotated

import typer

from mova.cli.console import emit, note, progress_bar, say
from mova.cli.options import Json, Resume
from mova.cli.output_files import output_folder
from mova.cli.training import describe_recipe, parse_overrides, training_bar

if TYPE_CHECKING:
    from mova.train.recipe import Recipe

EVALUATIONS = {
    "manifest": "retrieval --protocol captions",
    "labels": "classify",
    "triplets": "entailment",
    "worlds": "worlds",
}
"""`data.kind` of a recipe -> the task of `mova eval`, for any number of captions per video."""
TASKS = {"answer": "choice", "action": "classify"}
"""`data.captions` of a recipe -> the task of `mova eval`, where it is not retrieval."""


def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Name of a shipped recipe, or a YAML file.")],
    output: Annotated[Path | None, output_folder("Output folder (default: runs/RECIPE).", "--out", "--output")] = None,
    resume: Resume = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Train a few steps, keep nothing, and print what the run will need.")
    ] = False,
    json: Json = False,
) -> None:
    """Train a model from a recipe.

    Any key of the recipe can be overridden: `--training.max_steps 10`.
    """
    from mova.train.recipe_files import require_files

    overrides = parse_overrides(context.args)
    require_files(recipe, overrides)  # before torch is imported
    from mova.distributed import rank
    from mova.train.recipe import load_recipe
    from mova.train.run import SUMMARY
    from mova.train.run import train as run_recipe
    from mova.utils.tables import read_json
    from mova.utils.time_format import clock

    settings = load_recipe(recipe, overrides)
    folder = output or Path("runs") / settings.name
    if estimate:
        _print_estimate(settings, folder, json)
        return
    with progress_bar() as progress:
        model = run_recipe(settings, folder, resume=resume, callbacks=[training_bar(progress)])
    if rank():
        return
    weights = list(model.parameters())
    count, trained = sum(p.numel() for p in weights), sum(p.numel() for p in weights if p.requires_grad)
    summary = read_json(folder / SUMMARY)
    if json:
        emit({"recipe": settings.name, "output": str(folder), "parameters": count, "trained": trained, **summary})
        return
    best = summary.get("best")
    score = "" if best is None else f"; best {summary['metric']} {best:.1f} after step {summary['best_step']}"
    size = f"{trained / 1e6:.2f} of {count / 1e6:.2f} M parameters"
    say(f"{folder}: trained {size} in {summary['steps']} steps ({clock(summary['seconds'])}){score}")
    note(f"next: {_evaluation(settings)} --model {quote(str(folder))}")


def _print_estimate(recipe: Recipe, folder: Path, json: bool) -> None:
    """Print what a run will need; with several processes, the first one prints."""
    from mova.distributed import rank
    from mova.train.estimate import estimate as measure
    from mova.utils.time_format import clock

    run = measure(recipe)
    if rank():
        return
    place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = disk_usage(place).free
    if json:
        values = {**asdict(run), "seconds": run.seconds, "disk": run.disk, "free": free}
        emit({name: None if isnan(value) else value for name, value in values.items()})
        return
    say(f"{recipe.name}: {run.steps} steps of {run.clips} clips")
    if run.steps > 1:
        say(
            f"time: {clock(run.seconds)} without validation and saving ({run.seconds_per_step:.2f} s per step, "
            f"{run.clips_per_second:.1f} clips/s, {run.waiting:.0%} waiting for data)"
        )
    workers = f"; the largest child process {run.worker_memory / 1e9:.3g} GB" if run.worker_memory else ""
    say(f"memory: {run.memory / 1e9:.3g} GB {'of the GPU' if run.on_gpu else 'in this process'}{workers}")
    say(
        f"disk: {run.disk / 1e9:.3g} GB ({run.checkpoints} checkpoints of {run.checkpoint / 1e9:.3g} GB, "
        f"model {run.model / 1e9:.3g} GB); free: {free / 1e9:.3g} GB"
    )
    if free < run.disk:
        note(f"{place} has too little space: choose another --out, or a smaller --training.save_total_limit")
    note(f"measured with the first {run.measured} steps; later videos may be longer")


def _evaluation(recipe: Recipe) -> str:
    """Return the command that evaluates a model on the data it was trained on."""
    task = TASKS.get(recipe.data.get("captions", "")) or EVALUATIONS[recipe.data["kind"]]
    manifest = recipe.data.get("manifest")
    return f"mova eval {task}" + (f" --manifest {quote(str(manifest))}" if manifest else "")


def recipe_help(words: list[str]) -> str:
    """Describe the settings of the recipe that is among the words of a command line; empty without one."""
    from mova.train.recipe_files import shipped_recipes

    shipped = shipped_recipes()
    recipes = [word for word in words if word in shipped or Path(word).is_file()]
    if not recipes:
        return ""
    from mova.train.recipe import load_recipe

    return f"{describe_recipe(load_recipe(recipes[0]))}\n"
