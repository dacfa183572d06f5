"""`mova highlights`: the least typical moments of an index, or of the answers to a query."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from mova.cli.console import clock, emit, note, one_line, say, show
from mova.cli.moment_files import MomentFiles, export_moments
from mova.cli.options import DEFAULT_INDEX, IndexFolder, Json, MovedModel, TimeLimit
from mova.cli.output_files import output_folder
from mova.cli.search_options import FilterOptions

if TYPE_CHECKING:
    from mova.plots.page.content import Section
    from mova.search.evidence import Answer

WORDS = {
    "distance": "Distance to the most similar other frames: 0 is the same, 1.4 has nothing in common.",
    "lof": "Local outlier factor: about 1 is typical.",
}

KeepBlank = Annotated[
    bool, typer.Option("--keep-blank", help="Keep moments whose picture is black, white or of one color.")
]


def highlights(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]", help="Look only among the answers to this query (default: everywhere)."),
    ] = None,
    folder: IndexFolder = DEFAULT_INDEX,
    k: Annotated[int, typer.Option("-k", "--top", min=1, help="Number of moments to return.")] = 10,
    narrow: FilterOptions = FilterOptions(),  # noqa: B008 - immutable
    method: Annotated[
        str,
        typer.Option(
            help="distance (to the most similar frames), or lof (local outlier factor, which compares it with the "
            "distances around these frames)."
        ),
    ] = "distance",
    per_video: Annotated[
        int, typer.Option(min=1, help="At most this many moments of a video, while there are enough others.")
    ] = 3,
    keep_blank: KeepBlank = False,
    export: Annotated[Path | None, output_folder("Folder to write a clip of each moment to.")] = None,
    time_limit: TimeLimit = None,
    files: MomentFiles = MomentFiles(),  # noqa: B008
    model: MovedModel = None,
    json: Json = False,
) -> None:
    """Find the least typical moments of an index: those that resemble the rest the least.

    With a text, the answers to that query are compared with each other: the least typical dog among all dogs.
    """
    from mova.search.evidence import Answer
    from mova.search.highlights import require_method
    from mova.search.index import Index

    require_method(method)
    files.check()
    index = Index(folder, model)
    index.require_exists()
    index.adopt()
    wanted, skipped = narrow.filter(), narrow.skipped(k)
    text = " ".join(words or ())
    began = time.perf_counter()
    found = index.highlights(
        text,
        k + skipped,
        method=method,  # type: ignore[arg-type]
        per_video=1 if wanted.one_per_video else per_video,
        skip_blank=not keep_blank,
        filter=wanted,
    )
    moments = Answer(found[skipped:], found.background, found.bar)
    elapsed = time.perf_counter() - began
    if json:
        emit(_document(moments, text, method, index.meta.model, elapsed))
    else:
        _print(moments, text, method)
    files.write(moments, text or "least typical", index, _section(moments, text, method))
    if export is not None:
        export_moments(moments, export, time_limit)
    index.refresh()


def _document(moments: Answer, text: str, method: str, model: str, elapsed: float) -> dict[str, object]:
    head = {"query": text or None, "method": method, "model": model, "elapsed_seconds": round(elapsed, 3)}
    return {**head, **moments.to_json(), "results": [moment.to_json() for moment in moments]}


def _print(moments: Answer, text: str, method: str) -> None:
    if not moments:
        note(f"nothing to compare: {'fewer than two moments show that' if text else 'the videos are too short'}")
        return
    if moments.evidence == "none":
        say("nothing here shows that; nearest, not evidence:")
    table = Table(header_style="bold")
    for column in ("score" if moments.evidence == "none" else method, "start", "end"):
        table.add_column(column, justify="right")
    table.add_column("video")
    for moment in moments:
        times = clock(moment.start), clock(moment.end)
        table.add_row(f"{moment.score:.3f}", *times, Text(one_line(moment.video)))
    show(table)


def _section(moments: Answer, text: str, method: str) -> Section:
    """Return what a page shows."""
    from dataclasses import replace

    from mova.plots.page.content import Section, answer_section

    section = answer_section(text, moments)
    title = f"Least typical: {text}" if text else "Least typical moments"
    if moments.evidence == "none":
        return replace(section, title=title)
    if not moments:
        return Section(title, (), "Nothing to compare.", "It takes at least two moments that are apart.")
    cards = tuple(
        replace(card, note=f"{method} {moment.score:.2f}") for card, moment in zip(section.cards, moments, strict=True)
    )
    return replace(section, title=title, cards=cards, reason=WORDS[method])
