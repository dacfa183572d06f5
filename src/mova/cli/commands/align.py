"""`mova align`: map each sentence of a caption to the seconds of a video that show it."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from mova.cli.console import SENTENCE_WIDTH, clock, emit, say, show, write_plot
from mova.cli.options import Caption, Fps, Json, Model
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.types import Timeline

BARS = " ▁▂▃▄▅▆▇█"
WIDTH = 40


def align(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.")],
    caption: Caption,
    model: Model = None,
    index: Annotated[
        str | None, typer.Option("--index", help="Reuse the frame embeddings stored in this index.")
    ] = None,
    fps: Fps = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a plot of the timeline: .png or self-contained .html.")
    ] = None,
    json: Json = False,
) -> None:
    """Find the seconds of a video that each sentence of a caption describes.

    The seconds that no sentence describes are listed too.
    """
    from mova.models.registry import DEFAULT_MODEL, load
    from mova.plots.timeline import draw
    from mova.search.align import align as align_video
    from mova.search.index import Index

    text = caption.read()
    if plot is not None and plot.suffix.lower() not in {".png", ".html"}:
        raise UsageError(f"--plot {plot}: the file must end in .png or .html")
    store = Index(index, model) if index is not None else None
    if store is not None:
        _ = store.meta  # fails on a missing index before a model is loaded
    encoder = store.model if store is not None else load(model or DEFAULT_MODEL)
    timeline = align_video(encoder, video, text, index=store, fps=fps)
    if json:
        emit(timeline.to_json())
    else:
        show_timeline(timeline)
    if plot is not None:
        write_plot(partial(draw, timeline), plot)


def show_timeline(timeline: Timeline) -> None:
    """Print a table with each sentence, its spans, and a bar chart of its relevance over time."""
    say(f"{timeline.video} ({clock(timeline.duration)})")
    table = Table(header_style="bold")
    table.add_column("sentence", max_width=SENTENCE_WIDTH)
    table.add_column("spans (score)", no_wrap=True)
    table.add_column(f"relevance, 0 to {clock(timeline.duration)}", no_wrap=True)
    low = min(float(row.relevance.min()) for row in timeline.sentences)
    high = max(float(row.relevance.max()) for row in timeline.sentences)
    for row in timeline.sentences:
        spans = [f"{clock(s.span.start)} - {clock(s.span.end)} ({s.score:.2f})" for s in row.spans]
        table.add_row(Text(row.text), Text("\n".join(spans) or "none"), Text(_bars(row.relevance, low, high)))
    show(table)
    uncovered = ", ".join(f"{clock(s.start)} - {clock(s.end)}" for s in timeline.irrelevant)
    say(f"not covered by any sentence: {uncovered or 'none'}")


def _bars(relevance: object, low: float, high: float) -> str:
    """Draw relevance over time in at most `WIDTH` characters; each shows the maximum of its interval."""
    import numpy as np

    values = np.asarray(relevance)
    edges = np.linspace(0, len(values), min(WIDTH, len(values)) + 1).astype(int)
    maxima = [values[a:b].max() for a, b in pairwise(edges)]
    extent = max(high - low, 1e-9)
    return "".join(BARS[round((len(BARS) - 1) * float((value - low) / extent))] for value in maxima)
