"""Console output: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

import mova.utils.time_format
from mova.errors import MovaError

out = Console()
err = Console(stderr=True)

PIPE_WIDTH = 10_000
"""Characters; wider than any table."""
BAR_WIDTH = 32
"""Characters of a file name next to a progress bar."""
SENTENCE_WIDTH = 60
"""Characters of a sentence in a table with other columns."""
FAILURES_SHOWN = 5
"""Failures listed on the terminal; `--json` lists all of them."""


_UNSAFE = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
"""Characters that steer a terminal or turn the direction of text, and parts of names that are not UTF-8."""


def printable(text: str) -> str:
    r"""Escape control characters, so that a name or a caption cannot steer the terminal. Lines and tabs stay.

    >>> print(printable("a\x1b[2J.mp4"))
    a\x1b[2J.mp4
    """
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def one_line(text: object) -> str:
    r"""Escape line breaks and tabs, for a name in output that has one line per file.

    >>> print(one_line("a\nb.mp4"))
    a\nb.mp4
    """
    return str(text).replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")


def emit(document: dict[str, Any]) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, allow_nan=False, indent=1) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print a line of the result on stdout, without markup and without wrapping."""
    out.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def show(table: Table) -> None:
    """Print a table, folded to the terminal's width. In a file or pipe no cell is folded, so that paths stay whole."""
    for column in table.columns:
        column._cells = [_printable_cell(cell) for cell in column._cells]
    (out if out.is_terminal else Console(width=PIPE_WIDTH)).print(table)


def _printable_cell(cell: Any) -> Any:
    if isinstance(cell, Text):
        cell = cell.copy()
        cell.plain = printable(cell.plain)
        return cell
    return printable(cell) if isinstance(cell, str) else cell


def note(text: str) -> None:
    """Print a line on stderr, without markup and without wrapping."""
    err.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class _Lines(logging.Handler):
    """Prints one line per message, however long."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        note(f"{record.levelname} {text if record.exc_info else one_line(text)}")


class _Printable(logging.Formatter):
    """Formats messages without characters that steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the printable message."""
        return printable(super().format(record))


def setup_logging() -> None:
    """Send mova's log to stderr: folded to a terminal's width, or one line per message in a file or pipe.

    Progress bars of libraries appear on a terminal only.
    """
    rich = RichHandler(console=err, show_time=False, show_path=False, show_level=True)
    handler = rich if err.is_terminal else _Lines()
    handler.setFormatter(_Printable("%(message)s"))
    logger = logging.getLogger("mova")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not err.is_terminal:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a progress bar on stderr that disappears at the end. Print nothing if stderr is not a terminal."""
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
def file_bar(activity: str) -> Iterator[Callable[[str, float, float], None]]:
    """Show a progress bar for work that goes file by file.

    Yields:
        A function to call with the path of the current file, the amount done, and the total.
    """
    with progress_bar() as progress:
        task = progress.add_task(activity, total=None)
        yield lambda path, done, total: progress.update(
            task, description=escape(printable(Path(path).name)[:BAR_WIDTH]), completed=done, total=total
        )


def write_plot(draw: Callable[[Path], object], plot: Path) -> None:
    """Write the plot of --plot and report its path; see `write_result`."""
    write_result(draw, plot, "--plot")


def write_result(write: Callable[[Path], object], path: Path, option: str) -> None:
    """Write the file of an option and report its path.

    Raises:
        MovaError: the file cannot be written.
    """
    try:
        write(path)
    except OSError as error:
        raise MovaError(f"{option} {path}: cannot be written ({error.strerror or error})") from error
    note(f"wrote {one_line(path)}")


def clock(seconds: float) -> str:
    """Format a time as `m:ss.t`, to a tenth of a second."""
    return mova.utils.time_format.clock(seconds, digits=1)
