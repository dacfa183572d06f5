"""Print the answer of a search: here, or for a command that asked a service."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mova.cli.console import PIPE_WIDTH, clock, emit, err, log_handler, note, one_line, out, say, show
from mova.search.second_stage.moment import RerankedMoment
from mova.utils.files import surely_gone

if TYPE_CHECKING:
    from mova.search.narrow.answer import Answer
    from mova.search.narrow.filter import Filter
    from mova.search.second_stage.moment import Reranking
    from mova.types import Moment

NO_VIDEOS = "the index has no videos; `mova index PATH` adds some"
HEIGHT = 25
"""Lines of a described terminal; nothing depends on them."""


def print_answer(
    moments: Answer,
    label: str,
    model: str,
    elapsed: float,
    k: int,
    wanted: Filter,
    *,
    as_json: bool,
    empty: bool = False,
    stdout: Console = out,
    stderr: Console = err,
) -> None:
    """Print a table, or a JSON document; on stderr, what is missing.

    Args:
        moments: the answer.
        label: what they show.
        model: name of the model.
        elapsed: seconds that the search took.
        k: moments per page.
        wanted: what was asked for.
        as_json: whether a JSON document is printed.
        empty: whether the index has no videos.
        stdout, stderr: where to.
    """
    if as_json:
        from mova.search.narrow.answer import document

        emit(document(label, model, elapsed, moments, wanted), stdout)
    else:
        _show(moments, k, model, stdout, stderr, empty=empty)
    note_missing(moments, stderr)


class _Part(io.StringIO):
    """A stream of a command, of which a service writes the parts in order."""

    def __init__(self, name: str, parts: list[tuple[str, str]], is_terminal: bool) -> None:
        super().__init__()
        self._name, self._parts, self._is_terminal = name, parts, is_terminal

    def isatty(self) -> bool:
        """Return whether the command's stream is a terminal."""
        return self._is_terminal

    def write(self, text: str) -> int:
        """Add a part."""
        self._parts.append((self._name, text))
        return len(text)


def printed_answer(
    answer: Answer,
    request: Mapping[str, Any],
    wanted: Filter,
    model: str,
    elapsed: float,
    log: Sequence[tuple[int, str]],
) -> list[tuple[str, str]]:
    """Return what a command prints, as ("out" or "err", text), in order.

    Args:
        answer: of the search.
        request: of `mova.cli.quick_search`, with the `screen` of the command.
        wanted: the filter as it was asked for.
        model: name of the model.
        elapsed: seconds that the search took.
        log: (level, message) of what was logged meanwhile.

    Raises:
        KeyError, TypeError, ValueError: the screen is not described as `mova.cli.quick_search` does.
    """
    screen, parts = request["screen"], list[tuple[str, str]]()
    consoles = [
        Console(
            file=_Part(name, parts, bool(is_terminal)),
            width=int(screen["columns"]) if is_terminal else PIPE_WIDTH,
            height=HEIGHT,
            _environ={str(key): str(value) for key, value in screen["environment"].items()},
        )
        for name, is_terminal in zip(("out", "err"), screen["terminals"], strict=True)
    ]
    handler = log_handler(consoles[1])
    for level, line in log:
        handler.handle(logging.LogRecord("mova", level, "", 0, "%s", (line,), None))
    text, k, as_json = request["text"], request["k"], bool(screen["json"])
    print_answer(answer, text, model, elapsed, k, wanted, as_json=as_json, stdout=consoles[0], stderr=consoles[1])
    return parts


def _show(moments: Answer, k: int, model: str, stdout: Console, stderr: Console, *, empty: bool) -> None:
    """Print a table; above it, whether the moments are no evidence; below it, which page it is."""
    if moments.evidence == "none" and moments:
        say(_no_evidence(moments, model), stdout)
    if moments.reranking is not None:
        for line in _reranked(moments.reranking):
            say(line, stdout)
    if moments:
        show(_table(moments), stdout)
    if empty:
        note(NO_VIDEOS, stderr)
    elif not moments and moments.skip:
        note(f"the answer ends before moment {moments.skip + 1}; take an earlier page", stderr)
    elif not moments:
        note("no moments found; --min-score may be too high", stderr)
    elif moments.skip:
        rest = f"--skip {moments.skip + k}" if moments.skip % k else f"--page {moments.skip // k + 2}"
        more = f"; the next: {rest}" if len(moments) == k else "; there are no more"
        note(f"moments {moments.skip + 1} to {moments.skip + len(moments)}{more}", stderr)


def _reranked(done: Reranking) -> list[str]:
    """Return the lines above a re-ranked table."""
    name = one_line(done.model)
    measured = f"measured with {done.queries} queries"
    if done.weight == 0:
        why = f"weight 0, {measured}" if done.source == "measured" else "weight 0, as given"
        return [f"not re-ranked: {name} was not asked ({why})"]
    source = {"measured": measured, "given": "as given", "default": "not measured: `mova eval rerank` measures it"}
    asked = f"{done.asked} of {done.of} moments asked about in {done.seconds:.1f} s"
    lines = [f"re-ranked by {name}: {asked}; weight {done.weight:g} ({source[done.source]})"]
    if done.ended_early:
        lines.append(f"the time of {done.limit:g} s was over; the other {done.of - done.asked} keep their ranks")
    if done.unreadable:
        lines.append(f"{len(done.unreadable)} could not be read and keep their ranks: {one_line(done.unreadable[0])}")
    return lines


def _no_evidence(moments: Answer, model: str) -> str:
    """Return the line above moments that are no evidence; it says so if that is usual with the model."""
    from mova.models.known import seldom_detects

    rate = f"texts about something else score as high in {_percent(moments.false_alarm)} of cases"
    seldom = seldom_detects(model)
    if seldom is None:
        return f"nothing here shows that: {rate} (--false-alarm {moments.bar:g}); nearest, not evidence:"
    return (
        f"no evidence that anything here shows that: {rate} (--false-alarm {moments.bar:g}). {model} recognizes only "
        f"{seldom:.0%} of what videos show with that certainty, so look at the nearest:"
    )


def _percent(rate: float | None) -> str:
    """Return a rate with one digit after the point below 10 %."""
    value = 100 * (1.0 if rate is None else rate)
    return f"{value:.1f} %" if value < 10 else f"{value:.0f} %"


def _table(moments: Answer) -> Table:
    """Return a table with one row per moment, and one per sentence of a passage."""
    table = Table(title=None, header_style="bold")
    table.add_column("score", justify="right")
    second = any(isinstance(moment, RerankedMoment) for moment in moments)
    for column in ("second", "was") if second else ():
        table.add_column(column, justify="right")
    if moments.evidence is not None:
        table.add_column("evidence")
    for column, justify in (("start", "right"), ("end", "right"), ("video", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for moment in moments:
        words = [] if moments.evidence is None else [moment.evidence or ""]
        times = clock(moment.start), clock(moment.end)
        if second:
            words = [*_second(moment), *words]
        table.add_row(f"{moment.score:.3f}", *words, *times, Text(one_line(moment.video)))
        for row in moment.sentences:
            times = clock(row.start), clock(row.end)
            blank = [""] * len(words)
            table.add_row(f"{row.posterior:.0%}", *blank, *times, Text(f"  {one_line(row.text)}"), style="dim")
    return table


def _second(moment: Moment) -> list[str]:
    """Return the second score and the rank of the first stage; blanks for a moment that was not asked about."""
    if not isinstance(moment, RerankedMoment):
        return ["", ""]
    return [f"{moment.second_score:.3f}", f"#{moment.first_rank}"]


def note_missing(moments: list[Moment], stderr: Console = err) -> None:
    """Name a file that was moved or deleted since it was indexed."""
    missing = sorted({moment.video for moment in moments if surely_gone(moment.video)})
    if missing:
        exist = "exists" if len(missing) == 1 else "exist"
        note(
            f"{len(missing)} of these videos no longer {exist} (the first: {one_line(missing[0])}): run `mova index` "
            f"on their present folder, and `mova forget PATH` to remove their old paths "
            "(both with the same --index)",
            stderr,
        )
