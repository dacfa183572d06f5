"""Where words go: one JSON document or tables on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

import mova.clock

out = Console()
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; everything else goes to stderr.")]
Model = Annotated[
    str | None, typer.Option("--model", help="Hub name, local folder, or a name that `mova models` lists.")
]
MaxFrames = Annotated[
    int | None,
    typer.Option(min=1, help="Most frames that a video LLM looks at; the family's own number if left out."),
]
Prompt = Annotated[
    str | None, typer.Option(help="What a video LLM is asked: `entailment`, or a YAML file with `text`.")
]
Precision = Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...")]
DeviceMap = Annotated[str | None, typer.Option(help="Spread a video LLM over devices: auto, balanced, ...")]
Quantise = Annotated[str | None, typer.Option(help="Weights of a video LLM in `4bit` or `8bit`, on a GPU.")]
Quarantine = Annotated[
    Path | None, typer.Option(help="A list of `mova data check`; rows that it names are left out and counted.")
]
IndexFolder = Annotated[str, typer.Option("--index", help="Folder (or any LanceDB URI) of the index.")]
DEFAULT_INDEX = ".mova/index"
PIPE_WIDTH = 10_000
"""Characters: more than any table needs."""
SENTENCE_WIDTH = 60
"""Characters of a sentence side by side with other columns."""


def emit(document: dict[str, Any]) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, allow_nan=False, indent=1) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print a line of the answer on stdout, never mistaken for markup and never wrapped."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def show(table: Table) -> None:
    """Print a table: folded to the terminal, or, for a file or pipe, as wide as its words (a path stays whole)."""
    (out if out.is_terminal else Console(width=PIPE_WIDTH)).print(table)


def note(text: str) -> None:
    """Say something to the person, on stderr, never mistaken for markup."""
    err.print(text, markup=False, highlight=False, soft_wrap=True)


def setup_logging() -> None:
    """Warnings of mova go to stderr as short lines; bars of libraries only where a person looks at them."""
    handler = RichHandler(console=err, show_time=False, show_path=False, show_level=True)
    logger = logging.getLogger("mova")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not err.is_terminal:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on stderr that disappears when it is done; silent where stderr is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        yield progress


def clock(seconds: float) -> str:
    """`m:ss.t`: times to a tenth of a second."""
    return mova.clock.clock(seconds, digits=1)
