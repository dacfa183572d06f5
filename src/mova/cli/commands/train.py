"""`mova train`, `mova models`, `mova bench`."""

from __future__ import annotations

import subprocess
import sys
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mova.cli.console import emit, note, progress_bar, say, show
from mova.cli.options import Json
from mova.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    extra = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(context_settings=extra)(train)
    app.command()(models)
    app.command()(bench)


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


def overridden(arguments: list[str]) -> dict[str, str]:
    """`--key value` and `--key=value` pairs that are not options of the command."""
    pairs: dict[str, str] = {}
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if not word.startswith("--"):
            raise UsageError(f"{word!r}: overrides are written --section.key value")
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not queue:
                raise UsageError(f"--{key}: the value is missing")
            value = queue.pop(0)
        pairs[key] = value
    return pairs


def training_bar(progress: Progress) -> Any:
    """A Trainer callback that moves the bar."""
    from transformers import TrainerCallback

    class Bar(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.task = progress.add_task("training", total=state.max_steps)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress.update(self.task, completed=state.global_step)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if logs and "loss" in logs:
                progress.update(self.task, description=f"loss {float(logs['loss']):.3f}")

    return Bar()


def models(json: Json = False) -> None:
    """List the models that mova knows by name, with licence, size and use. Any other hub name or folder works too."""
    from mova.models.registry import DEFAULT_MODEL, MODELS

    rows = [{"default": name == DEFAULT_MODEL, **entry.to_json()} for name, entry in MODELS.items()]
    if json:
        emit({"default": DEFAULT_MODEL, "models": rows})
        return
    table = Table(header_style="bold")
    for column in ("name", "licence", "size", "use"):
        table.add_column(column)
    for name, entry in MODELS.items():
        table.add_row(f"{name} (default)" if name == DEFAULT_MODEL else name, entry.licence, entry.size, entry.use)
    show(table)


def bench(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A benchmark; all names are listed if left out.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small form in under a minute.")] = False,
    seed: Annotated[int, typer.Option(help="Another draw.")] = 0,
    json: Json = False,
) -> None:
    """Run a benchmark of a source checkout (`benchmarks/speed`, `benchmarks/studies`)."""
    root = Path(__file__).resolve().parents[4]
    folder = root / "benchmarks"
    if not folder.is_dir():
        raise UsageError("benchmarks come with a source checkout of mova, not with the installed package")
    modules = benchmark_modules(folder)
    names = sorted(modules)
    if name is None:
        if json:
            emit({"benchmarks": names})
        else:
            say("\n".join(names))
        return
    if name not in names:
        raise UsageError(f"{name}: no such benchmark; there are {', '.join(names)}")
    command = [
        sys.executable,
        "-m",
        modules[name],
        "--seed",
        str(seed),
        *(["--quick"] if quick else []),
    ]
    code = subprocess.run(command, check=False, cwd=root, stdout=sys.stderr if json else None).returncode
    if code:
        note(f"benchmark {name} ended with exit code {code}")
        raise typer.Exit(1)
    if json:
        result = folder / "results" / f"{name}{'-quick' if quick else ''}.json"
        emit(loads(result.read_text(encoding="utf-8")))


def benchmark_modules(folder: Path) -> dict[str, str]:
    """Benchmark name -> module to run: a file of `speed/` or `studies/`, or a folder of `studies/`."""
    files = [path for room in ("speed", "studies") for path in (folder / room).glob("*.py") if path.stem != "__init__"]
    studies = [path.parent for path in (folder / "studies").glob("*/__main__.py")]
    return {path.stem: f"benchmarks.{path.parent.name}.{path.stem}" for path in [*files, *studies]}
