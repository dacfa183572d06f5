"""`mova bench`: run a benchmark from a source checkout."""

from __future__ import annotations

import subprocess
import sys
from json import loads
from pathlib import Path
from typing import Annotated

import typer

from mova.cli.console import emit, note, say
from mova.cli.options import Json
from mova.errors import UsageError

COMPARES_MODELS = "encoders"
"""The benchmark that takes `--models` and `--data`."""


def bench(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of the benchmark (default: list all names).")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Run a small version in under a minute.")] = False,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    models: Annotated[
        str | None, typer.Option(help="With `encoders`: names or folders, separated by commas.", show_default=False)
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="With `encoders`: manifests, separated by commas.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Run a benchmark from `benchmarks/` of a source checkout."""
    root = Path(__file__).resolve().parents[4]
    folder = root / "benchmarks"
    if not folder.is_dir():
        raise UsageError("benchmarks are part of a source checkout of mova, not of the installed package")
    modules = benchmark_modules(folder)
    names = sorted(modules)
    if name is None:
        if json:
            emit({"benchmarks": names})
        else:
            say("\n".join(names))
        return
    if name not in names:
        raise UsageError(f"{name}: no such benchmark; choose one of {', '.join(names)}")
    given = {"--models": models, "--data": data}
    compared = [word for option, names in given.items() if names for word in (option, _absolute(names))]
    if compared and name != COMPARES_MODELS:
        raise UsageError(f"{compared[0]} is for `mova bench {COMPARES_MODELS}`")
    command = [
        sys.executable,
        "-m",
        modules[name],
        "--seed",
        str(seed),
        *(["--quick"] if quick else []),
        *compared,
    ]
    code = subprocess.run(command, check=False, cwd=root, stdout=sys.stderr if json else None).returncode
    if code:
        note(f"benchmark {name} failed with exit code {code}")
        raise typer.Exit(1)
    if json:
        result = folder / "results" / f"{name}{'-own' if compared else ''}{'-quick' if quick else ''}.json"
        emit(loads(result.read_text(encoding="utf-8")))


def _absolute(names: str) -> str:
    """Return names and paths, separated by commas, with absolute paths: benchmarks run in the root of the checkout."""
    return ",".join(str(Path(name).resolve()) if Path(name).exists() else name for name in names.split(","))


def benchmark_modules(folder: Path) -> dict[str, str]:
    """Map a benchmark to its module: a file in `speed/`, `studies/` or `soak/`, or a folder in `studies/`."""
    files = [
        path
        for directory in ("speed", "studies", "soak")
        for path in (folder / directory).glob("*.py")
        if path.stem != "__init__"
    ]
    studies = [path.parent for path in (folder / "studies").glob("*/__main__.py")]
    return {path.stem: f"benchmarks.{path.parent.name}.{path.stem}" for path in [*files, *studies]}
