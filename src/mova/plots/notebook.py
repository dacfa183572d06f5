"""Results in notebooks: tables in HTML, in which every text is escaped, and pictures that show themselves.

The styles are written into the elements, so that several tables on a page do not change each other, and follow the
colors of the page, light or dark.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from mova.displayed import Displayed
from mova.errors import UsageError, needs_packages
from mova.plots.timeline_rows import CERTAIN, PictureRow, picture_rows, span_text
from mova.types import Moment, ScoredSpan, Timeline
from mova.utils.replacing import replacing
from mova.utils.time_format import clock

MOST_ROWS = 60
"""Rows of a table; the others are counted."""
BAR = 260
"""Pixels of the time axis in a table of a timeline."""

_TABLE = "color:inherit;border-collapse:collapse;font:13px/1.45 system-ui,sans-serif;font-variant-numeric:tabular-nums"
_CELL = "padding:4px 12px 4px 0;text-align:left;vertical-align:top;border-top:1px solid rgba(128,128,128,.3)"
_HEAD = "padding:0 12px 4px 0;text-align:left;font-weight:600;opacity:.65;background:none"
_TITLE = "text-align:left;font-weight:600;padding:0 0 6px;caption-side:top;color:inherit"
_NOTE = "font:12px/1.4 system-ui,sans-serif;opacity:.65;margin-top:6px"


@dataclass(frozen=True)
class Picture:
    """A picture that notebooks show.

    Attributes:
        png: the file's content.

    >>> import mova
    >>> picture = mova.load("mova-worlds-tiny").align("film.mp4", "Two black discs shrink.").plot()
    >>> picture.png[1:4]
    b'PNG'
    >>> picture.save("film.png").name
    'film.png'
    """

    png: bytes = field(repr=False)

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: str | Path) -> Path:
        """Write it to a `.png` file.

        Raises:
            UsageError: another extension.
        """
        if Path(path).suffix.lower() != ".png":
            raise UsageError(f"{path}: the picture is a PNG, so the extension must be .png")
        with replacing(path) as temporary:
            temporary.write_bytes(self.png)
        return Path(path)

    def show(self) -> None:
        """Open it in the picture viewer of the system."""
        from PIL import Image

        Image.open(io.BytesIO(self.png)).show()


def picture(value: Displayed, path: str | Path | None = None) -> Picture:
    """Draw a timeline, moments, or a report; see `mova.displayed.Displayed.plot`.

    >>> picture(Moment("film.mp4", 2.5, 6.0, score=0.75)).png[1:4]
    b'PNG'
    """
    if path is not None:
        _draw(value, Path(path))
        if Path(path).suffix.lower() == ".png":
            return Picture(Path(path).read_bytes())
    with tempfile.TemporaryDirectory(prefix="mova-") as folder:
        target = Path(folder) / "picture.png"
        _draw(value, target)
        return Picture(target.read_bytes())


def to_html(value: Displayed) -> str:
    """Return a timeline, moments, or a report as an HTML table.

    >>> "&lt;b&gt;.mp4" in to_html(Moment("<b>.mp4", 2.5, 6.0, score=0.75))
    True
    """
    if isinstance(value, Timeline):
        return _timeline(value)
    if isinstance(value, Moment):
        return _moments([value], "")
    if isinstance(value, list):
        return _moments(value, _verdict(getattr(value, "evidence", None), len(value)))
    return _figures(value)


def _draw(value: Displayed, path: Path) -> None:
    with needs_packages():
        if isinstance(value, Timeline):
            from mova.plots.timeline import draw

            draw(value, path)
        elif isinstance(value, Moment | list):
            from mova.plots.moments import draw_moments

            draw_moments([("", value if isinstance(value, list) else [value])], path)
        else:
            from mova.plots.figures import draw_figures

            draw_figures(value.rows(), path)


def _timeline(timeline: Timeline) -> str:
    rows = [
        (_badge(view), _text(view.timeline.text), _spans(view), _bar(view, timeline))
        for view in picture_rows(timeline)[:MOST_ROWS]
    ]
    title = f"{Path(timeline.video).name or 'frames'} ({clock(timeline.duration)})"
    uncovered = ", ".join(f"{clock(span.start, 1)} to {clock(span.end, 1)}" for span in timeline.irrelevant)
    notes = [f"Not covered by any sentence: {uncovered or 'none'}."]
    if timeline.order is not None and len(timeline.sentences) > 1:
        words = {"ordered": "in temporal order", "partly": "partly in temporal order"}
        notes.append(f"The sentences are {words.get(timeline.order.choice, 'not in temporal order')}.")
    heads = ("", "sentence", "spans", f"0:00 to {clock(timeline.duration)}")
    return _table(title, heads, rows, " ".join(notes), len(timeline.sentences))


def _moments(moments: Sequence[Moment], note: str) -> str:
    judged = any(moment.evidence is not None for moment in moments)
    rows = []
    for number, moment in enumerate(moments[:MOST_ROWS], start=1):
        name = f'<span title="{_text(moment.video)}">{_text(Path(moment.video).name)}</span>'
        times = f"{clock(moment.start, 1)} to {clock(moment.end, 1)}"
        inside = "".join(
            f'<div style="opacity:.75">{_text(row.text)} ({clock(row.start, 1)} to {clock(row.end, 1)})</div>'
            for row in moment.sentences
        )
        rows.append((str(number), name + inside, times, f"{moment.score:.3f}", *([moment.evidence or ""] * judged)))
    heads = ("", "video", "moment", "score", *(["evidence"] * judged))
    return _table("", heads, rows, note, len(moments))


def _figures(report: Displayed) -> str:
    rows = []
    for row in report.rows()[:MOST_ROWS]:
        bounds = "" if row["low"] is None else f"[{row['low']:.2f}, {row['high']:.2f}]"
        rows.append((_text(row["part"]), _text(row["metric"]), f"{row['value']:.2f}", bounds))
    head: Any = getattr(report, "head", None)
    title, note = "", ""
    if head is not None:
        model = "" if head.evaluated is None else f"{head.evaluated.name}, "
        title = f"{model}{head.protocol}"
        note = f"{head.queries} queries, fingerprint {head.fingerprint}."
    return _table(title, ("part", "metric", "value", "95 % interval"), rows, note, len(report.rows()))


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], note: str, count: int) -> str:
    """Return a table; titles and notes are texts, cells are HTML already."""
    caption = f'<caption style="{_TITLE}">{_text(title)}</caption>' if title else ""
    head = "".join(f'<th style="{_HEAD}">{_text(cell)}</th>' for cell in heads)
    body = "".join(
        f'<tr style="background:none">{"".join(f"<td style={_CELL!r}>{cell}</td>" for cell in row)}</tr>'
        for row in rows
    )
    more = f" {count - MOST_ROWS} more rows are not shown." if count > MOST_ROWS else ""
    below = f'<div style="{_NOTE}">{_text((note + more).strip())}</div>' if note or more else ""
    content = f"{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div><table style="{_TABLE}">{content}</table>{below}</div>'


def _verdict(evidence: str | None, count: int) -> str:
    if not count:
        return "No moments."
    return "Nothing here shows that: these moments are only the nearest." if evidence == "none" else ""


def _badge(view: PictureRow) -> str:
    color = "#8a8f9c" if view.absent else view.color
    style = f"background:{color};color:#fff;border-radius:4px;padding:1px 6px;font-weight:600;font-size:11px"
    return f'<span style="{style}">{view.number}</span>'


def _spans(view: PictureRow) -> str:
    lines = [_text(span_text(scored)) for scored in view.spans]
    return "<br>".join(lines) or f'<span style="opacity:.65">{_text(view.status)}</span>'


def _bar(view: PictureRow, timeline: Timeline) -> str:
    """Return the time axis of a sentence as SVG; spans that are uncertain are pale."""
    length = max(timeline.duration, 1e-9)

    def rectangle(scored: ScoredSpan) -> str:
        """Return the mark of a span."""
        left = BAR * min(scored.span.start / length, 1.0)
        width = max(2.0, BAR * min(scored.span.end / length, 1.0) - left)
        sure = scored.posterior is None or scored.posterior >= CERTAIN
        return (
            f'<rect x="{left:.1f}" width="{width:.1f}" height="14" rx="2" fill="{view.color}" '
            f'opacity="{1 if sure else 0.35}"><title>{_text(span_text(scored))}</title></rect>'
        )

    drawn = "".join(rectangle(scored) for scored in (*view.uncertain, *view.spans))
    track = f'<rect width="{BAR}" height="14" rx="3" fill="currentColor" opacity="0.08"/>'
    return f'<svg width="{BAR}" height="14" role="img" style="display:block;margin-top:3px">{track}{drawn}</svg>'


def _text(text: str) -> str:
    """Return a text for HTML; bytes of a file name that are no text become "?"."""
    return escape(text.encode(errors="replace").decode())
