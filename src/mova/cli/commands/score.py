"""`mova score`: score how well videos show texts, with a two-tower model or a video LLM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from mova.cli.console import SENTENCE_WIDTH, emit, file_bar, note, one_line, say, show
from mova.cli.options import Json, Loading, Model, TimeLimit, require_video
from mova.cli.output_files import output_file
from mova.errors import UsageError
from mova.remote.objects import argument

if TYPE_CHECKING:
    from mova.search.score import PairReport, Scorer, SentenceScore

DIGITS = 6
"""Decimals of a score in JSON."""


@dataclass(frozen=True)
class PairFile:
    """A file with many pairs of a video and a text."""

    pairs: Annotated[
        Path | None,
        typer.Option(
            help="File of pairs: CSV or JSON lines (columns video or videopath, text or caption), or a manifest."
        ),
    ] = None
    videos: Annotated[
        Path | None, typer.Option(help="Folder of the videos in --pairs (default: that of the file).")
    ] = None
    out: Annotated[
        Path | None, output_file("Write scores to this file as JSON lines; run the same command again to resume.")
    ] = None


def score(
    video: Annotated[Path | None, typer.Argument(metavar="VIDEO", help="A video file.")] = None,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="One or more sentences.")] = None,
    model: Model = None,
    *,
    pair_file: PairFile,
    loading: Loading,
    time_limit: TimeLimit = None,
    json: Json = False,
) -> None:
    """Score how well a video shows a text, per sentence and as a whole.

    A video LLM returns a probability: P(Yes) against P(No) for "Does this video entail the description?".
    Other models return a similarity, which ranks videos but is not a probability.
    Per sentence it is the cosine of the best frame; for the whole text, the mean or the model's caption score.
    The probability that the video shows a sentence at all is decided for all sentences together, as in `mova align`.

    With --pairs, the exit code is 1 if no pair could be scored.
    """
    from mova.video.limits import TIME_LIMIT

    limit = TIME_LIMIT if time_limit is None else time_limit
    if pair_file.pairs is not None:
        if video is not None:
            raise UsageError("give either a video and a text, or --pairs, not both")
        _score_file(pair_file, partial(_scorer, model, loading), limit, json)
        return
    if video is None or text is None:
        raise UsageError('give a video and a text (mova score VIDEO "TEXT"), or a file of pairs with --pairs')
    if pair_file.videos is not None or pair_file.out is not None:
        raise UsageError("--videos and --out need --pairs")
    named = argument(video)
    require_video(named)  # before a model is loaded
    scorer = _scorer(model, loading)
    with scorer.isolated(limit):
        sentences, total = scorer.score_text(named, text)
    _print_text_score(scorer, named, sentences, total, json)


def _scorer(model: str | None, loading: Loading) -> Scorer:
    from mova.models.known import DEFAULT_MODEL
    from mova.search.score import load_scorer

    return load_scorer(model or DEFAULT_MODEL, **loading.arguments())


def _print_text_score(
    scorer: Scorer, video: str | Path, sentences: list[SentenceScore], total: float, json: bool
) -> None:
    if json:
        rows = [_sentence_row(row) for row in sentences]
        scores = {"sentences": rows, "score": round(total, DIGITS), "probability": scorer.probability}
        emit({"video": str(video), "model": scorer.name, **scores})
        return
    table = Table(header_style="bold")
    table.add_column("P(yes)" if scorer.probability else "similarity", justify="right")
    decided = all(row.shown is not None for row in sentences)
    if decided:
        table.add_column("shown", justify="right")
    table.add_column("sentence")
    for row in sentences:
        shown = [f"{row.shown:.0%}"] if decided else []
        table.add_row(f"{row.score:.3f}", *shown, Text(row.text), style="dim" if row.absent else None)
    table.add_section()
    table.add_row(f"{total:.3f}", *([""] if decided else []), "whole text")
    show(table)
    for i, row in enumerate(sentences, start=1):
        for item in row.compared:
            what = f"the same {item.respect}" if item.same else f"another {item.respect}"
            say(f"sentence {i}, {what} as in sentence {i - 1}: similarity {item.similarity:.2f}")
    absent = [str(i) for i, row in enumerate(sentences, start=1) if row.absent]
    if absent:
        say(f"probably not in the video: sentence{'s' if len(absent) > 1 else ''} {', '.join(absent)}")


def _sentence_row(row: SentenceScore) -> dict[str, object]:
    values: dict[str, object] = {"text": row.text, "score": round(row.score, DIGITS)}
    if row.shown is not None:
        values |= {"shown": round(row.shown, DIGITS), "absent": row.absent}
    if row.compared:
        values["compared"] = [item.to_json() for item in row.compared]
    return values


def _score_file(pair_file: PairFile, load: Callable[[], Scorer], time_limit: float, json: bool) -> None:
    from mova.data.pair_list import read_pairs

    assert pair_file.pairs is not None
    pair_list, out = read_pairs(pair_file.pairs, pair_file.videos), pair_file.out
    from mova.search.score import score_pairs

    scorer = load()
    with file_bar("scoring", "pair") as progress, scorer.isolated(time_limit):
        report = score_pairs(scorer, pair_list, out=out, progress=progress)
    _print_pair_scores(scorer, report, len(pair_list), out, json)
    if not report.rows:
        raise typer.Exit(1)


def _print_pair_scores(scorer: Scorer, report: PairReport, count: int, out: Path | None, json: bool) -> None:
    for name, cause in (*report.broken, *report.refused):
        note(f"not scored: {one_line(name)}: {one_line(cause)}")
    counts = {"pairs": count, "scored": len(report.rows), "resumed": report.resumed}
    if json:
        rows = [row | {"score": round(row["score"], DIGITS)} for row in report.rows]
        emit(
            {
                "model": scorer.name,
                "probability": scorer.probability,
                **counts,
                "broken": [{"video": video, "cause": cause} for video, cause in report.broken],
                "refused": [{"text": text, "cause": cause} for text, cause in report.refused],
                "out": None if out is None else str(out),
                "rows": rows,
            }
        )
        return
    if out is None:
        table = Table(header_style="bold")
        for column in ("P(yes)" if scorer.probability else "similarity", "video", "text"):
            table.add_column(column, max_width=SENTENCE_WIDTH if column == "text" else None)
        for row in report.rows:
            table.add_row(f"{row['score']:.3f}", Text(one_line(row["video"])), Text(row["text"]))
        show(table)
    failures = f"{len(report.broken)} unreadable videos, {len(report.refused)} rejected texts"
    say(f"{counts['scored']} of {count} pairs scored ({report.resumed} of them earlier), {failures}")
