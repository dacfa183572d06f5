"""The report of a judge as one HTML file: film strips, sentences with findings, and players beside it.

Pictures are inside the file; the videos stay where they are and are linked. Everything is readable without scripts; the
script only lets a click on a time play the video there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from mova.errors import VideoError
from mova.judge.batch import JudgeReport
from mova.judge.verdict import OrderFault, SentenceVerdict, Verdict
from mova.plots.filmstrip import NO_PICTURE, film_strip, tick_labels, tick_times
from mova.plots.page.assets import style_and_script
from mova.plots.timeline_html import data_uri, position
from mova.utils.replacing import replacing
from mova.utils.time_format import clock
from mova.video.isolated import Isolated

STRIP_RATIO, STRIP_PIXELS = 12.0, 110
WORDS = {
    "shown": "shown",
    "uncertain": "uncertain",
    "contradicted": "contradicted",
    "missing": "not shown",
}


def write_page(
    verdicts: Sequence[Verdict],
    path: str | Path,
    *,
    report: JudgeReport | None = None,
    decoder: Isolated | None = None,
) -> None:
    """Write the page.

    Args:
        verdicts: one section each; their `video` is a path.
        path: the HTML file.
        report: of many videos, for the tables of generators and of the best videos.
        decoder: decodes in a child process; None: directly.

    Raises:
        OSError: the file cannot be written.

    >>> from mova.judge.judges import load_judge
    >>> write_page([load_judge("mova-worlds-tiny").judge("film.mp4", "Two white discs shrink.")], "verdict.html")
    >>> "contradicted" in Path("verdict.html").read_text(encoding="utf-8")
    True
    """
    folder = Path(path).resolve().parent
    sections = "\n".join(_section(number, verdict, folder, decoder) for number, verdict in enumerate(verdicts, start=1))
    name = Path(verdicts[0].video).name if len(verdicts) == 1 else f"{len(verdicts)} videos"
    style, script = style_and_script(Path(__file__))
    page = _PAGE.replace("/*STYLE*/", style).replace("/*SCRIPT*/", script)
    page = page.replace("<!--TITLE-->", escape(f"Verdict on {name}"))
    page = page.replace("<!--SUMMARY-->", "" if report is None else _summary(report))
    page = page.replace("<!--SECTIONS-->", sections)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")


def _summary(report: JudgeReport) -> str:
    """Return the tables of generators, of the best videos, and of what could not be judged."""
    parts = []
    generators = sorted(report.generators().items(), key=lambda row: -row[1].value)
    if generators:
        prompts = report.prompts()
        rows = "".join(
            f"<tr><td>{escape(name)}<td>{interval.value:.0%}<td>"
            + (f"{interval.low:.0%} to {interval.high:.0%}" if prompts[name] > 1 else "one prompt")
            for name, interval in generators
        )
        parts.append(_table("Generators", ("generator", "score", "95 % interval"), rows))
    differences = "".join(
        f"<tr><td>{escape(second)} minus {escape(first)}<td>{100 * gain.value:+.1f}"
        f"<td>{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
        for (first, second), gain in report.comparisons().items()
    )
    if differences:
        parts.append(_table("Differences, same prompts", ("pair", "points", "95 % interval"), differences))
    best = "".join(
        f'<tr><td><span class=prompt title="{escape(prompt)}">{escape(prompt)}</span><td>{escape(rated.video)}'
        for prompt, rated in report.best().items()
    )
    if best:
        parts.append(_table("Best video of each prompt", ("prompt", "video"), best))
    broken = "".join(f"<tr><td>{escape(video)}<td>{escape(cause)}" for video, cause in report.broken)
    if broken:
        parts.append(_table("Not judged", ("video", "cause"), broken))
    return f'<div class="tables">{"".join(parts)}</div>' if parts else ""


def _table(title: str, columns: Sequence[str], rows: str) -> str:
    head = "".join(f"<th>{column}" for column in columns)
    return f"<section class=table><h2>{title}</h2><table><thead><tr>{head}<tbody>{rows}</table></section>"


def _section(number: int, verdict: Verdict, folder: Path, decoder: Isolated | None) -> str:
    """Return one video: player, film strip with the spans of sentences, and the sentences."""
    source = _link(verdict.video, folder)
    rows = "".join(_row(number, index, row, source) for index, row in enumerate(verdict.sentences, start=1))
    counts = [row.finding for row in verdict.sentences]
    summary = ", ".join(f"{counts.count(f)} {word}" for f, word in WORDS.items() if f in counts)
    faults = "".join(f"<li>{_order_text(fault)}" for fault in verdict.order_faults[:5])
    order = f'<div class="order"><b>Out of order</b><ul>{faults}</ul></div>' if faults else ""
    return (
        f'<article id="v{number}"><header><h2>{escape(Path(verdict.video).name)}</h2>'
        f'<p class="score" title="expected share of sentences that are true of the video">'
        f"<b>{verdict.score:.0%}</b><span>{summary}</span></p></header>"
        f'<video controls preload="metadata" src="{source}"></video>'
        f"{_timeline(number, verdict, decoder)}<ol>{rows}</ol>{order}</article>"
    )


def _order_text(fault: OrderFault) -> str:
    return f"sentence {fault.second + 1} is shown before sentence {fault.first + 1} ({fault.probability:.0%})"


def _row(number: int, index: int, row: SentenceVerdict, source: str) -> str:
    """Return a sentence with its finding, the words that are contradicted, and links to its seconds."""
    times = "".join(
        f'<a class="time" href="{source}#t={s.span.start:.2f},{s.span.end:.2f}" data-at="{s.span.start:.2f}">'
        f"{clock(s.span.start, 1)} to {clock(s.span.end, 1)}</a>"
        for s in row.spans
    )
    instead = ""
    if row.contradiction is not None:
        change = row.contradiction.change
        said = f" instead of <del>{escape(change.said)}</del>" if change.said else ""
        instead = f'<span class="instead">shows <ins>{escape(change.instead)}</ins>{said} ({change.kind})</span>'
    asked = "" if row.entailment is None else f"<span>P(yes) {row.entailment:.0%}</span>"
    return (
        f'<li id="v{number}s{index}" class="{row.finding}"><p><b>{index}</b>{escape(row.text)}</p>'
        f'<div class="facts"><strong>{WORDS[row.finding]}</strong><span>{row.holds:.0%}</span>{instead}{asked}{times}'
        "</div></li>"
    )


def _timeline(number: int, verdict: Verdict, decoder: Isolated | None) -> str:
    """Return the film strip, one line of marks per sentence that is shown, and times; nothing without a duration."""
    if not verdict.duration:
        return ""
    duration = verdict.duration
    lanes = "".join(
        f'<div class="lane {row.finding}">'
        + "".join(
            f'<a href="#v{number}s{index}" style="{position(s.span, duration)}" data-at="{s.span.start:.2f}" '
            f'title="{index}: {escape(row.text, quote=True)}"><span>{index}</span></a>'
            for s in row.spans
        )
        + "</div>"
        for index, row in enumerate(verdict.sentences, start=1)
        if row.spans
    )
    dim = "".join(f'<i style="{position(span, duration)}" title="no sentence"></i>' for span in verdict.beyond)
    ticks = tick_times(duration)
    axis = "".join(
        f'<span style="left:{100 * time / duration:.3f}%">{label}</span>'
        for time, label in zip(ticks, tick_labels(ticks), strict=True)
        if time < 0.97 * duration
    )
    return f'<div class="film">{_strip(verdict, decoder)}{dim}</div>{lanes}<div class="axis">{axis}</div>'


def _strip(verdict: Verdict, decoder: Isolated | None) -> str:
    try:
        pictures = film_strip(verdict.video, verdict.duration or 0.0, STRIP_RATIO, STRIP_PIXELS, decoder)
    except VideoError:  # the file was moved since it was judged: the verdict is still worth reading
        return f'<div class="strip"><span>{NO_PICTURE}</span></div>'
    cells = [
        f"<span>{NO_PICTURE}</span>" if p is None else f'<img alt="" src="{data_uri(Image.fromarray(p), "JPEG")}">'
        for p in pictures
    ]
    return f'<div class="strip">{"".join(cells)}</div>'


def _link(video: str, folder: Path) -> str:
    """Return the address of a video, relative to the page where that is possible."""
    target = Path(video).resolve()
    try:
        return quote(Path(os.path.relpath(target, folder)).as_posix())
    except ValueError:  # another drive
        return target.as_uri()


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title><!--TITLE--></title>
<style>/*STYLE*/</style>
</head>
<body>
<main>
<h1><!--TITLE--></h1>
<!--SUMMARY-->
<!--SECTIONS-->
</main>
<script>/*SCRIPT*/</script>
</body>
</html>
"""
