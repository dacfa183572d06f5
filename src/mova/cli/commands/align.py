"""`mova align`: map each sentence of a caption to the seconds of one or more videos that show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from mova.cli.console import SENTENCE_WIDTH, clock, emit, note, one_line, say, show, write_plot, write_result
from mova.cli.options import Caption, Fps, Json, Model, Predictions, TimeLimit, model_of_index, require_video
from mova.cli.output_files import output_file
from mova.errors import UsageError, VideoError
from mova.remote.objects import argument

if TYPE_CHECKING:
    from mova.search.index import Index
    from mova.types import Timeline

BARS = " ▁▂▃▄▅▆▇█"
WIDTH = 40
NoCurves = Annotated[bool, typer.Option("--no-curves", help="Leave relevance and posterior per frame out of --json.")]
ORDER_WORDS = {"ordered": "yes", "partly": "partly", "free": "no"}


@dataclass(frozen=True)
class PlotFile:
    """The picture of the timeline."""

    plot: Annotated[Path | None, output_file("Write a plot of the timeline: .png or self-contained .html.")] = None
    plot_common: Annotated[
        bool, typer.Option("--plot-common", help="Plot all sentences in one color scale (default: one per sentence).")
    ] = False
    plot_all: Annotated[bool, typer.Option("--plot-all", help="Also plot spans with a posterior below 50 %.")] = False

    def checked(self) -> Path | None:
        """Return the file, if any.

        Raises:
            UsageError: it has another suffix.
        """
        if self.plot is not None and self.plot.suffix.lower() not in {".png", ".html"}:
            raise UsageError(f"--plot {self.plot}: the file must end in .png or .html")
        return self.plot


@dataclass(frozen=True)
class TimelineFiles:
    """Files to write the timeline to."""

    srt: Annotated[Path | None, output_file("Write the spans as SubRip subtitles.")] = None
    vtt: Annotated[Path | None, output_file("Write the spans as WebVTT subtitles.")] = None
    csv: Annotated[Path | None, output_file("Write one row per span.")] = None
    chapters: Annotated[
        Path | None, output_file("Write chapters as FFmpeg metadata (ffmpeg -i VIDEO -i FILE -map_chapters 1).")
    ] = None
    otio: Annotated[
        Path | None, output_file("Write an OpenTimelineIO timeline with one marker per span (extra: edit).")
    ] = None
    predictions: Predictions = None

    def targets(self) -> dict[str, Path | None]:
        """Return the name of each option and its file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def align(
    context: typer.Context,
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Video files, or folders of videos.")],
    caption: Caption,
    model: Model = None,
    index: Annotated[
        str | None, typer.Option("--index", help="Reuse the frame embeddings stored in this index.")
    ] = None,
    fps: Fps = None,
    *,
    plot_file: PlotFile,
    order: Annotated[
        Literal["auto", "yes", "no"],
        typer.Option(help="Whether the sentences are in temporal order: auto (by the evidence), yes or no."),
    ] = "auto",
    all_shown: Annotated[
        bool, typer.Option("--all-shown", help="The caption describes this video: give every sentence a place.")
    ] = False,
    files: TimelineFiles,
    no_curves: NoCurves = False,
    time_limit: TimeLimit = None,
    json: Json = False,
) -> None:
    """Find the seconds of a video that each sentence of a caption describes.

    The seconds that no sentence describes are listed too. Several videos, or those in a folder, are aligned with the
    same caption, one after another; those that cannot be read are skipped and listed. The exit code is then 1 only if
    no video could be aligned.
    """
    from mova.data.exchange.predictions import check_predictions

    text = caption.read()
    plot = plot_file.checked()
    check_predictions(files.predictions)
    targets = files.targets()
    named = [argument(video) for video in videos]
    several = _several(named, {"plot": plot, **targets})
    store = _index(context, index, model)
    from mova.models.known import DEFAULT_MODEL
    from mova.models.registry import load
    from mova.plots.timeline import PictureOptions, draw
    from mova.search.align import align as align_video
    from mova.video.limits import TIME_LIMIT

    encoder = load(model or DEFAULT_MODEL) if store is None else store.model
    with encoder.isolated(TIME_LIMIT if time_limit is None else time_limit):
        run = partial(align_video, encoder, caption=text, index=store, fps=fps, order=order, all_shown=all_shown)
        if several is not None:
            _align_several(several, run, json, not no_curves, files.predictions)
            return
        timeline = run(named[0])
        if json:
            emit(timeline.to_json(not no_curves))
        else:
            show_timeline(timeline)
        write_exports(timeline, targets)
        if plot is not None:
            options = PictureOptions(plot_file.plot_common, plot_file.plot_all)
            write_plot(partial(draw, timeline, options=options, decoder=encoder.decoder), plot)


def _index(context: typer.Context, index: str | None, model: str | None) -> Index | None:
    """Return the index, if one is named; one that is missing is an error before a model is loaded."""
    from mova.search.index import Index

    if index is None:
        return None
    store = Index(index, model_of_index(context, model, index))
    store.require_exists()
    store.adopt()
    return store


def _several(videos: Sequence[str | Path], targets: Mapping[str, Path | None]) -> list[str | Path] | None:
    """Return the videos of several files or of folders, in order; None for one file.

    Raises:
        UsageError: the folders contain no videos, or an option writes a file, which is possible for one video only.
    """
    from mova.utils.files import find_videos

    if len(videos) == 1 and not Path(videos[0]).is_dir():
        require_video(videos[0])  # before a model is loaded
        return None
    option = next((name for name, path in targets.items() if path is not None and name != "predictions"), None)
    if option is not None:
        raise UsageError(f"--{option} writes a file for one video; run `mova align` for each video of its own")
    listed = [video for path in videos for video in (find_videos([path]) if Path(path).is_dir() else [path])]
    if not listed:
        raise UsageError(f"{', '.join(map(str, videos))}: no videos found")
    return list(dict.fromkeys(listed))


def _align_several(
    videos: Sequence[str | Path],
    run: Callable[[str | Path], Timeline],
    json: bool,
    curves: bool,
    predictions: Path | None,
) -> None:
    """Align each video, and print one document, or a table per video; exit with 1 if none can be aligned."""
    from mova.data.exchange.predictions import Prediction, of_timeline, write_predictions

    documents = []
    found: list[Prediction] = []
    failed: list[tuple[str | Path, str]] = []
    for video in videos:
        try:
            timeline = run(video)
        except (VideoError, OSError, MemoryError) as error:
            cause = _cause(error)
            failed.append((video, cause))
            note(f"not aligned: {one_line(video)}: {one_line(cause)}")
            continue
        documents.append(timeline.to_json(curves))
        found += [replace(row, id=str(len(found) + i)) for i, row in enumerate(of_timeline(timeline), start=1)]
        if not json:
            show_timeline(timeline)
            say("")
    if predictions is not None and documents:
        write_result(partial(write_predictions, found), predictions, "--predictions")
    if json:
        failures = [{"video": str(video), "cause": cause} for video, cause in failed]
        emit({"videos": documents, "failed": failures})
    else:
        say(f"{len(documents)} of {len(videos)} videos aligned")
    if not documents:
        raise typer.Exit(1)


def _cause(error: VideoError | OSError | MemoryError) -> str:
    from mova.video.limits import TOO_LARGE

    if isinstance(error, VideoError):
        return error.cause
    return TOO_LARGE if isinstance(error, MemoryError) else error.strerror or str(error)


def write_exports(timeline: Timeline, targets: Mapping[str, Path | None]) -> None:
    """Write a timeline to the files of --srt, --vtt, --csv, --chapters, --otio and --predictions."""
    from mova.data.exchange.predictions import of_timeline, write_predictions
    from mova.exports.editing import write_otio
    from mova.exports.subtitles import write_chapters, write_srt, write_vtt
    from mova.exports.table import write_csv

    writers = {
        "srt": write_srt,
        "vtt": write_vtt,
        "csv": write_csv,
        "chapters": write_chapters,
        "otio": write_otio,
        "predictions": lambda line, path: write_predictions(of_timeline(line), path),
    }
    for name, path in targets.items():
        if path is not None:
            write_result(partial(writers[name], timeline), path, f"--{name}")


def show_timeline(timeline: Timeline) -> None:
    """Print a table with each sentence, its spans, the evidence for it, and a bar chart of its posterior over time."""
    from mova.scoring.false_alarm import evidence

    say(f"{one_line(timeline.video)} ({clock(timeline.duration)})")
    table = Table(header_style="bold")
    table.add_column("sentence", max_width=SENTENCE_WIDTH)
    table.add_column("spans (posterior)", no_wrap=True)
    rated = all(row.false_alarm is not None for row in timeline.sentences)
    if rated:
        table.add_column("evidence")
    table.add_column(f"posterior, 0 to {clock(timeline.duration)}", no_wrap=True)
    for row in timeline.sentences:
        spans = [f"{clock(s.span.start)} - {clock(s.span.end)} ({s.posterior:.0%})" for s in row.spans]
        absent = f"none (shown: {row.shown:.0%})"
        if row.likely is not None:
            absent += f"\nif at all {clock(row.likely.span.start)} - {clock(row.likely.span.end)}"
        words = [evidence(row.false_alarm)] if rated and row.false_alarm is not None else []
        table.add_row(Text(row.text), Text("\n".join(spans) or absent), *words, Text(_bars(row.posterior, timeline)))
    show(table)
    uncovered = ", ".join(f"{clock(s.start)} - {clock(s.end)}" for s in timeline.irrelevant)
    say(f"not covered by any sentence: {uncovered or 'none'}")
    if timeline.order is not None and len(timeline.sentences) > 1:
        say(f"temporal order of the sentences: {ORDER_WORDS[timeline.order.choice]}")


def _bars(curve: object, timeline: Timeline) -> str:
    """Draw probabilities over time in at most `WIDTH` characters; each shows the maximum of its interval.

    Intervals without frames are empty.
    """
    import numpy as np

    from mova.scoring.spans import drawn_cells

    bounds, frames = drawn_cells(timeline.times, timeline.duration, timeline.step)
    values = np.where(frames < 0, 0.0, np.asarray(curve)[frames])
    if np.any(frames < 0):  # cells differ in length, so an interval is one of time
        columns = np.linspace(bounds[0], bounds[-1], WIDTH + 1)
        first = np.searchsorted(bounds, columns[:-1], side="right") - 1
        last = np.maximum(np.searchsorted(bounds, columns[1:], side="left"), first + 1)
        values = np.array([values[a:b].max() for a, b in zip(first, last, strict=True)])
    edges = np.linspace(0, len(values), min(WIDTH, len(values)) + 1).astype(int)
    return "".join(BARS[round((len(BARS) - 1) * float(values[a:b].max()))] for a, b in pairwise(edges))
