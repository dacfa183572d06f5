"""`mova highlights`: the least typical moments of an index, or of the answers to a query."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from mova.cli.answer_output import NO_VIDEOS, note_missing
from mova.cli.console import clock, emit, note, one_line, say, show
from mova.cli.moment_files import MomentFiles, export_moments
from mova.cli.options import DEFAULT_INDEX, IndexFolder, Json, MovedModel, TimeLimit
from mova.cli.output_files import output_folder
from mova.cli.search_options import FilterOptions
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.plots.page.content import Section
    from mova.search.evidence import Answer

WORDS = {
    "distance": "Distance to the most similar other frames: 0 is the same, 1.4 has nothing in common.",
    "lof": "Local outlier factor: about 1 is typical.",
}


@dataclass(frozen=True)
class MethodOptions:
    """What is least typical, and among what."""

    method: Annotated[
        str,
        typer.Option(
            help="distance (to the most similar frames), or lof (local outlier factor, which compares it with the "
            "distances around these frames)."
        ),
    ] = "distance"
    per_video: Annotated[
        int, typer.Option(min=1, help="At most this many moments of a video, while there are enough others.")
    ] = 3
    keep_blank: Annotated[
        bool, typer.Option("--keep-blank", help="Keep moments whose picture is black, white or of one color.")
    ] = False
    false_alarm: Annotated[
        float | None,
        typer.Option(
            help="With a TEXT: highest false-alarm rate at which a moment is an answer (default: 0.05). Above it, "
            "nothing here shows the text.",
        ),
    ] = None

    def arguments(self, text: str, one_per_video: bool) -> dict[str, Any]:
        """Return the arguments of `Index.highlights`.

        Raises:
            UsageError: an unknown method, a rate that is none, or one without a query.
        """
        from mova.search.evidence import BAR, require_bar
        from mova.search.highlights import require_method

        require_method(self.method)
        if self.false_alarm is not None and not text:
            raise UsageError("--false-alarm is for the answers to a query; give a TEXT")
        bar = BAR if self.false_alarm is None else self.false_alarm
        require_bar(bar)
        most = 1 if one_per_video else self.per_video
        return {"method": self.method, "per_video": most, "skip_blank": not self.keep_blank, "false_alarm": bar}


def highlights(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]", help="Look only among the answers to this query (default: everywhere)."),
    ] = None,
    folder: IndexFolder = DEFAULT_INDEX,
    k: Annotated[int, typer.Option("-k", "--top", min=1, help="Number of moments to return.")] = 10,
    narrow: FilterOptions = FilterOptions(),  # noqa: B008 - immutable
    how: MethodOptions = MethodOptions(),
    export: Annotated[Path | None, output_folder("Folder to write a clip of each moment to.")] = None,
    time_limit: TimeLimit = None,
    files: MomentFiles = MomentFiles(),  # noqa: B008
    model: MovedModel = None,
    json: Json = False,
) -> None:
    """Find the least typical moments of an index: those that resemble the rest the least.

    With a text, the answers to that query are compared with each other: the least typical dog among all dogs.
    If nothing shows it, the nearest moments are compared.
    """
    from mova.search.index import Index

    wanted, skipped = narrow.filter(), narrow.skipped(k)
    text, method = " ".join(words or ()), how.method
    arguments = how.arguments(text, wanted.one_per_video)
    files.check()
    index = Index(folder, model)
    index.require_exists()
    index.adopt()
    began = time.perf_counter()
    found = index.highlights(text, k + skipped, filter=wanted, **arguments)
    moments = found[skipped:]
    elapsed = time.perf_counter() - began
    if json:
        emit(_document(moments, text, method, index.meta.model, elapsed))
    else:
        _print(moments, method, len(index))
    note_missing(moments)
    files.write(moments, text or "least typical", index, _section(moments, text, method), method)
    if export is not None:
        export_moments(moments, export, time_limit)
    index.refresh()


def _document(moments: Answer, text: str, method: str, model: str, elapsed: float) -> dict[str, object]:
    head = {"query": text or None, "method": method, "model": model, "elapsed_seconds": round(elapsed, 3)}
    if moments.compared is not None:
        head["compared"] = moments.compared
    return {**head, **moments.to_json(), "results": [moment.to_json() for moment in moments]}


def _print(moments: Answer, method: str, videos: int) -> None:
    if not moments:
        note(f"nothing to compare: {_nothing(moments, videos)}")
        return
    if moments.compared is not None:
        say(f"{_compared(moments)}:")
    table = Table(header_style="bold")
    for column in (method, "start", "end"):
        table.add_column(column, justify="right")
    table.add_column("video")
    for moment in moments:
        times = clock(moment.start), clock(moment.end)
        table.add_row(f"{moment.score:.3f}", *times, Text(one_line(moment.video)))
    show(table)


def _nothing(moments: Answer, videos: int) -> str:
    """Return why there are no moments."""
    if not videos:
        return NO_VIDEOS
    if moments.skip:
        return f"there are at most {moments.skip} moments; take an earlier page"
    return "the videos are too short" if moments.compared is None else "fewer than two moments show that"


def _compared(moments: Answer) -> str:
    """Return what the answers to a query were compared with, and whether they are answers."""
    count = moments.compared
    if moments.evidence != "none":
        return f"the least typical of the {count} moments that show that"
    bar = f"--false-alarm {moments.bar:g}"
    return f"nothing here shows that ({bar}); the least typical of the {count} nearest moments, which are no evidence"


def _section(moments: Answer, text: str, method: str) -> Section:
    """Return what a page shows."""
    from dataclasses import replace

    from mova.plots.page.content import Section, answer_section

    section = answer_section(text, moments)
    title = f"Least typical: {text}" if text else "Least typical moments"
    if not moments:
        return Section(title, (), "Nothing to compare.", "It takes at least two moments that are apart.")
    cards = tuple(
        replace(card, note=f"{method} {moment.score:.2f}") for card, moment in zip(section.cards, moments, strict=True)
    )
    return replace(section, title=title, cards=cards, reason=f"{_shown(moments)}{WORDS[method]}")


def _shown(moments: Answer) -> str:
    """Return a sentence about the query, for a page."""
    words = "" if moments.compared is None else _compared(moments)
    return words and f"{words[0].upper()}{words[1:]}. "
