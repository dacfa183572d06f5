"""Where words go: one JSON document or tables on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

import mova.utils.time_format
from mova.errors import MovaError

out = Console()
err = Console(stderr=True)

PIPE_WIDTH = 10_000
"""Characters: more than any table needs."""
BAR_WIDTH = 32
"""Characters of a file's name beside a bar."""
SENTENCE_WIDTH = 60
"""Characters of a sentence side by side with other columns."""
FAILURES_SHOWN = 5
"""Failures named on the terminal; `--json` names all."""


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


class _Lines(logging.Handler):
    """A message is a line, however long."""

    def emit(self, record: logging.LogRecord) -> None:
        note(f"{record.levelname} {self.format(record)}")


def setup_logging() -> None:
    """Warnings of mova go to stderr: folded to a terminal, one line each for a file or pipe.

    Bars of libraries are shown only where a person looks at them.
    """
    rich = RichHandler(console=err, show_time=False, show_path=False, show_level=True)
    handler = rich if err.is_terminal else _Lines()
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


@contextmanager
def file_bar(doing: str) -> Iterator[Callable[[str, float, float], None]]:
    """A bar for work that goes file by file: call what it gives with the file's path, how much is done, of how much."""
    with progress_bar() as progress:
        task = progress.add_task(doing, total=None)
        yield lambda path, done, total: progress.update(
            task, description=Path(path).name[:BAR_WIDTH], completed=done, total=total
        )


def write_plot(draw: Callable[[Path], object], plot: Path) -> None:
    """Draw the picture of --plot and say so.

    Raises:
        MovaError: it cannot be written.
    """
    try:
        draw(plot)
    except OSError as error:
        raise MovaError(f"--plot {plot}: cannot be written ({error.strerror or error})") from error
    note(f"wrote {plot}")


def clock(seconds: float) -> str:
    """`m:ss.t`: times to a tenth of a second."""
    return mova.utils.time_format.clock(seconds, digits=1)
