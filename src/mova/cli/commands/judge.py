"""`mova judge`: say of each sentence of a prompt whether a video shows it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from mova.cli.console import clock, emit, file_bar, note, one_line, say, show, write_result
from mova.cli.options import Json, Loading, Model, TimeLimit, read_caption, require_video
from mova.cli.output_files import output_file
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.judge.batch import JudgeReport
    from mova.judge.judges import Judge
    from mova.judge.ratings import Agreement
    from mova.judge.verdict import SentenceVerdict, Verdict

WORDS = {"shown": "shown", "uncertain": "uncertain", "contradicted": "contradicted", "missing": "not shown"}
STYLES = {"shown": "green", "uncertain": "dim", "contradicted": "yellow", "missing": "red"}
MOST_FAULTS = 5


@dataclass(frozen=True)
class PromptFile:
    """Where prompts come from."""

    prompt_file: Annotated[Path | None, typer.Option(help="UTF-8 text file with the prompt.")] = None
    prompts: Annotated[
        Path | None,
        typer.Option(help="Judge many videos: CSV or JSON lines with video, prompt and, optionally, generator."),
    ] = None
    videos: Annotated[
        Path | None, typer.Option(help="Folder of the videos in --prompts (default: that of the file).")
    ] = None
    ratings: Annotated[
        Path | None,
        typer.Option(help="Ratings by people of the videos in --prompts, CSV or JSON lines with video and rating."),
    ] = None

    def read(self, given: str | None) -> str:
        """Return the prompt that was given as an argument, or that of --prompt-file."""
        if (given is None) == (self.prompt_file is None):
            raise UsageError('give the prompt (mova judge VIDEO "PROMPT") or its file (--prompt-file), not both')
        text = read_caption(self.prompt_file, "--prompt-file") if self.prompt_file is not None else given or ""
        if not text.strip():
            raise UsageError("the prompt is empty; it needs at least one sentence")
        return text


@dataclass(frozen=True)
class Results:
    """Files to write."""

    html: Annotated[Path | None, output_file("Write a page with film strips and players.")] = None
    csv: Annotated[Path | None, output_file("Write one row per sentence.")] = None


def judge(
    video: Annotated[Path | None, typer.Argument(metavar="VIDEO", help="A video file.")] = None,
    text: Annotated[str | None, typer.Argument(metavar="PROMPT", help="One or more sentences.")] = None,
    model: Model = None,
    *,
    prompt_file: PromptFile,
    llm: Annotated[str | None, typer.Option("--llm", help="A video LLM to ask about every sentence as well.")] = None,
    words: Annotated[
        Path | None,
        typer.Option(help='JSON file of phrases that exclude each other, such as {"object": [["goal", "corner"]]}.'),
    ] = None,
    results: Results,
    loading: Loading,
    time_limit: TimeLimit = None,
    json: Json = False,
) -> None:
    """Judge whether a video shows what its prompt says, sentence by sentence.

    Each sentence is "shown", "contradicted" (something else is shown, such as another color), "not shown" or
    "uncertain", with the probability that it is true of the video. Sentences that are shown in another order are
    listed. A video LLM alone knows no times and no order.

    With --prompts, the best video of each prompt is named and generators are compared; the exit code is 1 if no video
    could be judged.
    """
    from mova.judge.counterfactuals import read_interchangeable
    from mova.video.limits import TIME_LIMIT

    known = None if words is None else read_interchangeable(words)
    limit = TIME_LIMIT if time_limit is None else time_limit
    load = partial(_judge, model, llm, known, loading)
    if prompt_file.prompts is not None:
        if video is not None or prompt_file.prompt_file is not None:
            raise UsageError("give either a video and a prompt, or --prompts, not both")
        _judge_many(prompt_file, load, limit, results, json)
        return
    if video is None:
        raise UsageError('give a video and its prompt (mova judge VIDEO "PROMPT"), or many with --prompts')
    if prompt_file.videos is not None or prompt_file.ratings is not None:
        raise UsageError("--videos and --ratings need --prompts")
    prompt = prompt_file.read(text)
    require_video(video)  # before a model is loaded
    judging = load()
    with judging.isolated(limit):
        verdict = judging.judge(video, prompt)
        if json:
            emit({"model": judging.name, **verdict.to_json()})
        else:
            _print(verdict)
        _write([verdict], None, results, judging)


def _judge(model: str | None, llm: str | None, words: object, loading: Loading) -> Judge:
    from mova.judge.judges import load_judge
    from mova.models.known import DEFAULT_MODEL

    return load_judge(model or DEFAULT_MODEL, llm=llm, words=words, **loading.arguments())  # type: ignore[arg-type]


def _judge_many(files: PromptFile, load: partial[Judge], limit: float, results: Results, json: bool) -> None:
    assert files.prompts is not None
    for file in (files.prompts, files.ratings):
        if file is not None and not file.is_file():
            raise UsageError(f"{file}: no such file")
    from mova.judge.batch import judge_all, read_prompts
    from mova.judge.ratings import pair_with_ratings, read_ratings

    requests = read_prompts(files.prompts, files.videos)
    rated = None if files.ratings is None else read_ratings(files.ratings)
    if rated is not None:
        pair_with_ratings((request.video for request in requests), rated)
    judging = load()
    with judging.isolated(limit):
        with file_bar("judging", "prompt") as progress:
            report = judge_all(judging, requests, progress)
        for name, cause in report.broken:
            note(f"not judged: {one_line(name)}: {one_line(cause)}")
        found = _agreement(report, rated)
        if json:
            emit({"model": judging.name, **report.to_json(), **({"agreement": found.to_json()} if found else {})})
        else:
            _print_report(report, len(requests))
            _print_agreement(found)
        if report.verdicts:
            _write([verdict for _, verdict in report.verdicts], report, results, judging)
    if not report.verdicts:
        raise typer.Exit(1)


def _write(verdicts: list[Verdict], report: JudgeReport | None, results: Results, judging: Judge) -> None:
    from mova.judge.page import write_page
    from mova.judge.table import write_csv

    if results.csv is not None:
        write_result(partial(write_csv, verdicts), results.csv, "--csv")
    if results.html is not None:
        write_result(
            lambda path: write_page(verdicts, path, report=report, decoder=judging.decoder), results.html, "--html"
        )


def _print(verdict: Verdict) -> None:
    """Print one verdict."""
    table = Table(header_style="bold")
    for column, justify in (
        ("", "right"),
        ("finding", "left"),
        ("holds", "right"),
        ("where", "left"),
        ("sentence", "left"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for number, row in enumerate(verdict.sentences, start=1):
        spans = "\n".join(f"{clock(s.span.start)} - {clock(s.span.end)}" for s in row.spans)
        finding = Text(WORDS[row.finding], style=STYLES[row.finding])
        table.add_row(str(number), finding, f"{row.holds:.0%}", spans, Text(row.text + _instead(row)))
    show(table)
    for fault in verdict.order_faults[:MOST_FAULTS]:
        say(
            f"out of order: sentence {fault.second + 1} is shown before "
            f"sentence {fault.first + 1} ({fault.probability:.0%})"
        )
    if verdict.duration is not None:
        beyond = ", ".join(f"{clock(span.start)} - {clock(span.end)}" for span in verdict.beyond)
        say(f"not covered by any sentence: {beyond or 'none'}")
    say(f"score: {verdict.score:.0%} of the sentences are expected to be true of {one_line(verdict.video)}")


def _instead(row: SentenceVerdict) -> str:
    if row.contradiction is None:
        return ""
    change = row.contradiction.change
    said = f' instead of "{change.said}"' if change.said else ""
    return f'\n  -> shows "{change.instead}"{said} ({change.kind})'


def _agreement(report: JudgeReport, rated: dict[str, list[float]] | None) -> Agreement | None:
    """Compare scores with ratings; where they cannot be compared, say why and keep the verdicts."""
    from mova.judge.ratings import agreement

    if rated is None or not report.verdicts:
        return None
    try:
        return agreement(report.by_video(), rated)
    except UsageError as error:
        note(f"--ratings: {error}")
        return None


def _print_agreement(found: Agreement | None) -> None:
    if found is None:
        return
    for name, value in (("Spearman's rho", found.spearman), ("Kendall's tau", found.kendall)):
        interval = f"95 % interval {value.low:.2f} to {value.high:.2f}, p = {value.p:.2g}"
        say(f"{name} of score and rating: {value.value:.2f} ({interval})")
    missing = f"; {len(found.unrated)} without a rating, {len(found.unknown)} rated ones not judged"
    say(f"{found.videos} videos, {found.ratings} ratings{missing if found.unrated or found.unknown else ''}")


def _print_report(report: JudgeReport, count: int) -> None:
    """Print one row per video, the generators, and the best videos."""
    table = Table(header_style="bold")
    for column in ("score", *WORDS.values(), "out of order", "video"):
        table.add_column(column, justify="left" if column == "video" else "right")
    for request, verdict in report.verdicts:
        found = [row.finding for row in verdict.sentences]
        counts = [str(found.count(name)) for name in WORDS]  # type: ignore[arg-type]
        faults = str(len(verdict.order_faults))
        table.add_row(f"{verdict.score:.0%}", *counts, faults, Text(one_line(request.video)))
    show(table)
    prompts = report.prompts()
    for name, mean in report.generators().items():
        interval = f"95 % interval {mean.low:.1%} to {mean.high:.1%}" if prompts[name] > 1 else "one prompt"
        say(f"{one_line(name)}: {mean.value:.1%} ({interval})")
    for (first, second), gain in report.comparisons().items():
        points = f"{100 * gain.value:+.1f} points, 95 % interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
        say(f"{one_line(second)} minus {one_line(first)}, same prompts: {points}")
    for prompt, request in report.best().items():
        say(f"best video: {one_line(request.video)} of {one_line(prompt[:80])!r}")
    say(f"{len(report.verdicts)} of {count} videos judged")
