"""Console output: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import os
import re
import time
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
    Task,
    TaskID,
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
LINE_SECONDS = 30.0
"""Seconds between two lines of progress where there is no terminal."""
ESTIMATE_SECONDS = 120.0
"""Seconds of work by which the rest is estimated."""
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


def emit(document: dict[str, Any], console: Console = out) -> None:
    """Print one JSON document on stdout.

    Where that is UTF-8, letters of all scripts stay as they are. Characters that steer a terminal are escaped.
    """
    encoding = getattr(console.file, "encoding", None) or "utf-8"
    ascii_only = encoding.lower().replace("_", "-") not in ("utf-8", "utf8", "utf-8-sig")
    text = json.dumps(document, allow_nan=False, indent=1, ensure_ascii=ascii_only)
    console.file.write(_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n")
    console.file.flush()


def say(text: str, console: Console = out) -> None:
    """Print a line of the result on stdout, without markup and without wrapping."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def show(table: Table, console: Console = out) -> None:
    """Print a table, folded to the terminal's width. In a file or pipe no cell is folded, so that paths stay whole."""
    for column in table.columns:
        column.overflow = "fold"  # the end of a path, which says more than its beginning, is not cut off
        column._cells = [_printable_cell(cell) for cell in column._cells]
    (console if console is not out or out.is_terminal else Console(width=PIPE_WIDTH)).print(table)


def _printable_cell(cell: Any) -> Any:
    if isinstance(cell, Text):
        cell = cell.copy()
        cell.plain = printable(cell.plain)
        return cell
    return printable(cell) if isinstance(cell, str) else cell


def note(text: str, console: Console = err) -> None:
    """Print a line on stderr, without markup and without wrapping."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class _Lines(logging.Handler):
    """Prints one line per message, however long."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        text = self.format(record)
        level = f"{record.levelname} " if record.levelno > logging.INFO else ""
        note(f"{level}{text if record.exc_info else one_line(text)}", self._console)


class _Folded(RichHandler):
    """Prints messages folded to the terminal's width; what is only a note has no level before it."""

    def get_level_text(self, record: logging.LogRecord) -> Text:
        """Return the level of a warning or an error; a note has none."""
        return super().get_level_text(record) if record.levelno > logging.INFO else Text()


class _Printable(logging.Formatter):
    """Formats messages without characters that steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the printable message."""
        return printable(super().format(record))


def log_handler(console: Console) -> logging.Handler:
    """Return what prints a log: folded to a terminal's width, or one line per message in a file or pipe."""
    rich = _Folded(console=console, show_time=False, show_path=False, show_level=True)
    handler = rich if console.is_terminal else _Lines(console)
    handler.setFormatter(_Printable("%(message)s"))
    return handler


def setup_logging() -> None:
    """Send mova's log to stderr, see `log_handler`. Progress bars of libraries appear on a terminal only."""
    logger = logging.getLogger("mova")
    logger.handlers = [log_handler(err)]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not err.is_terminal:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


class Bar(Progress):
    """A progress bar on stderr that disappears at the end; if stderr is not a terminal, a line every `LINE_SECONDS`."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        hidden = not err.is_terminal
        super().__init__(*columns, console=err, transient=True, disable=hidden, speed_estimate_period=ESTIMATE_SECONDS)
        self._hidden = hidden
        self._printed = time.monotonic()

    def stop(self) -> None:
        """End the display; Rich before version 14 prints an empty line even if there is none."""
        if not self._hidden:
            super().stop()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Change a task; see `Progress.update`. A field `line` replaces its description in lines."""
        super().update(task_id, **changes)
        if self._hidden and time.monotonic() - self._printed >= LINE_SECONDS:
            self._printed = time.monotonic()
            note(progress_line(self._tasks[task_id]))


def progress_line(task: Task) -> str:
    """Return one line about a task: what it is at, how much is done, and how long the rest takes, if known."""
    parts = [str(task.fields.get("line") or Text.from_markup(task.description))]
    if task.total:
        parts.append(f"{task.percentage:.0f} %")
    if task.time_remaining:
        parts.append(f"about {mova.utils.time_format.clock(task.time_remaining)} left")
    return ", ".join(parts)


@contextmanager
def progress_bar() -> Iterator[Bar]:
    """Show progress on stderr, see `Bar`."""
    with Bar() as progress:
        yield progress


class FileBar:
    """Progress of work that goes file by file: call it with the present file, the amount done, and the total.

    Args:
        progress: shows it.
        activity: what is done, in one word.
        unit: what the amounts count, such as "clip"; None if they are seconds.
    """

    def __init__(self, progress: Bar, activity: str, unit: str | None) -> None:
        self._progress, self._activity, self._unit = progress, activity, unit
        self._task = progress.add_task(activity, total=None)
        self._number, self._files, self._began = 0, 0, time.monotonic()

    def at_file(self, number: int, total: int) -> None:
        """Show that the present file is file `number` of `total`."""
        self._number, self._files = number, total

    def _rate(self, unit: str, done: float) -> str:
        """Return how many were finished per minute, or nothing before the first was, and in the first second."""
        seconds = time.monotonic() - self._began
        return f", {60 * done / seconds:.3g} {unit}s/min" if done > 0 and seconds >= 1 else ""

    def __call__(self, path: str, done: float, total: float) -> None:
        """Show the present file, and how much of all work is done."""
        name = Path(path).name
        unit, number, count, finished = "file", self._number, self._files, self._number - 1.0
        if self._unit is not None:
            unit, number, count, finished = self._unit, round(done), round(total), done
        rate = self._rate(unit, finished)
        line = f"{self._activity}: {f'{unit} {number} of {count}, ' if count else ''}{one_line(name)}{rate}"
        description = f"{f'{unit} {number} of {count} ' if count else ''}{escape(printable(name)[:BAR_WIDTH])}{rate}"
        self._progress.update(self._task, description=description, completed=done, total=total, line=line)


@contextmanager
def file_bar(activity: str, unit: str | None = None) -> Iterator[FileBar]:
    """Show progress of work that goes file by file, see `FileBar`."""
    with progress_bar() as progress:
        yield FileBar(progress, activity, unit)


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
