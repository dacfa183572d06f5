"""Write the page: one HTML file without any other, except for the videos, which are played from where they are.

Without scripts the cards are links to the videos at the right second. The page loads nothing from the network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from mova.plots.page.assets import style_and_script
from mova.plots.page.content import Card, Section
from mova.plots.page.pictures import thumbnails
from mova.remote.objects import uri_of
from mova.utils.files import is_address, surely_gone
from mova.utils.replacing import replacing
from mova.utils.time_format import clock
from mova.video.isolated import Isolated

LONG_TITLE = 90
"""Characters from which a title is a paragraph and no headline."""
SHORT = 2.0
"""Seconds below which the times on a card have a decimal."""
GONE = "file not found"
"""On the card of a video that no longer exists."""
WORDS = {"strong": "strong evidence", "weak": "weak evidence", "none": "no evidence"}


def write_page(
    path: str | Path,
    sections: Sequence[Section],
    *,
    title: str | None = None,
    searched: int | None = None,
    source: str = "",
    durations: Mapping[str, float] | None = None,
    decoder: Isolated | None = None,
) -> None:
    """Write a page of moments.

    Args:
        path: file to write; its folder must exist.
        sections: at least one.
        title: headline; None: the title of the only section.
        searched: number of videos that were searched; None: not shown.
        source: where the moments are from, such as the index and its model.
        durations: path of a video -> its length in seconds, to show where in it a moment is.
        decoder: decodes thumbnails in a child process; None: directly.

    Raises:
        OSError: the file cannot be written.

    >>> write_page("found.html", [Section("a disc", (Card("film.mp4", 3.0, 6.5),))])
    >>> Path("found.html").read_text().count('class="card"')
    1
    """
    target = Path(path)
    cards = [card for section in sections for card in section.cards]
    pictures = thumbnails(cards, decoder)
    lengths = durations or {}
    body = "\n".join(
        _section(section, title is not None, pictures, lengths, target.absolute().parent) for section in sections
    )
    headline = sections[0].title if title is None else title
    style, script = style_and_script(Path(__file__).with_name("page.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    opens = bool(cards) and not any(section.verdict for section in sections)
    values = {
        "TITLE": escape(headline),
        "LONG": ' class="long"' if len(headline) > LONG_TITLE else "",
        "SUMMARY": _counted(cards, len(sections), searched),
        "SOURCE": escape(source),
        "OPEN": "yes" if opens else "no",
        "SECTIONS": body,
        "HASH": digest,
        "STYLE": style,
        "SCRIPT": script,
    }
    pieces = _PAGE.split("{{")
    text = pieces[0] + "".join(values[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces[1:]))
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace", newline="\n")


def _counted(cards: Sequence[Card], queries: int, searched: int | None) -> str:
    """Return the line below the headline, as HTML."""
    good = [card for card in cards if card.evidence != "none"]
    if not good:
        found = "<b>No evidence</b>" if cards else "<b>No moment</b>"
        nearest = f"; {_plural(len(cards), 'nearest moment')}" if cards else ""
        return found + ("" if searched is None else f" in {_plural(searched, 'video')}") + nearest
    videos = len({card.video for card in good})
    asked = "" if queries == 1 else f"{queries} queries: "
    rest = "" if searched is None or searched < videos else f", of {searched:,} searched"
    return f"{asked}<b>{_plural(len(good), 'moment')}</b> in {_plural(videos, 'video')}{rest}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _section(
    section: Section, titled: bool, pictures: Mapping[Card, str], durations: Mapping[str, float], folder: Path
) -> str:
    head = f'<h2 dir="auto">{escape(section.title)}</h2>' if titled else ""
    if section.verdict:
        head += f'<div class="notice"><strong>{escape(section.verdict)}</strong><p>{escape(section.reason)}</p></div>'
    elif section.reason:
        head += f'<p class="reason">{escape(section.reason)}</p>'
    items = []
    mixed = not section.cards or section.cards[0].evidence == "none"
    for card in section.cards:
        if card.evidence == "none" and not mixed:
            mixed = True
            items.append('<li class="divider">Nearest, but no evidence</li>')
        items.append(f"<li>{_card(card, pictures.get(card), durations.get(card.video, 0.0), folder)}</li>")
    return f'<section>{head}<ol class="cards">{"".join(items)}</ol></section>'


def _card(card: Card, picture: str | None, duration: float, folder: Path) -> str:
    """Return one card; what the player needs is in its `data-` attributes."""
    address = address_of(card.video, folder)
    name = Path(card.video).name
    digits = 1 if card.end - card.start < SHORT else 0
    exact = f"{clock(card.start, 1)} \u2013 {clock(card.end, 1)}"
    word = WORDS.get(card.evidence or "", "")
    gone = surely_gone(card.video)
    remark = " \u00b7 ".join(part for part in (card.note, GONE if gone else "") if part)
    facts = [exact + (f" of {clock(duration)}" if duration else ""), word, remark]
    cause = "This file was not found" if gone else "Your browser cannot play this file"
    cause = "This file is on another machine" if is_address(card.video) else cause
    data = {
        "video": address,
        "path": card.video,
        "start": f"{card.start:.3f}",
        "end": f"{card.end:.3f}",
        "duration": f"{duration:.3f}" if duration else "",
        "span": exact,
        "facts": " \u00b7 ".join(part for part in facts if part),
        "example": f"{card.video}@{clock(card.start, 1)}",
        "foreign": f"{cause}: {card.video} (the moment begins at {clock(card.start, 1)})",
        "sentences": json.dumps([[s.text, clock(s.start), s.start, s.end] for s in card.sentences])
        if card.sentences
        else "",
    }
    attributes = "".join(f' data-{key}="{escape(value)}"' for key, value in data.items() if value)
    image = "" if picture is None else f'<img src="{picture}" alt="">'
    where = ""
    if duration > 0:
        left, width = 100 * card.start / duration, 100 * (card.end - card.start) / duration
        where = f'<span class="where"><i style="left:{left:.2f}%;width:{width:.2f}%"></i></span>'
    mark = f'<span class="word {escape(card.evidence or "")}">{escape(word.split()[0] if word else "")}</span>'
    mark = mark.replace(">no<", ">no evidence<") if word else ""
    label = escape(", ".join([name, f"from {clock(card.start, 1)} to {clock(card.end, 1)}", *facts[1:]]).rstrip(", "))
    times = f"{clock(card.start, digits)} \u2013 {clock(card.end, digits)}"
    return (
        f'<a class="card{" faint" if card.evidence == "none" else ""}" aria-label="{label}"'
        f' href="{escape(address)}#t={card.start:.3f},{card.end:.3f}"{attributes}>'
        f'<span class="thumb{"" if picture else " none"}">{image}{where}<span class="time">{times}</span></span>'
        f'<span class="name" title="{escape(card.video)}">{escape(name)}</span>'
        f'<span class="line">{mark}<span>{escape(remark)}</span></span></a>'
    )


def address_of(video: str, folder: Path) -> str:
    """Return how a page finds a video: below the folder of the page by a relative address, else by a file address.

    An object has its URI, and a file of another machine its name; browsers cannot play them.

    Example:
        >>> address_of("/films/a b.mp4", Path("/films")), address_of("/films/a b.mp4", Path("/pages"))
        ('a%20b.mp4', 'file:///films/a%20b.mp4')
        >>> address_of("http://one:8765/films/a b.mp4", Path("/films"))
        'http://one:8765/films/a%20b.mp4'
    """
    uri = video if is_address(video) else uri_of(video)
    if uri is not None:
        return quote(uri, safe=":/")
    path = Path(video)
    if path.is_absolute() and not path.is_relative_to(folder):
        return path.as_uri()
    relative = path.relative_to(folder) if path.is_absolute() else path
    return quote(os.fsencode(relative.as_posix()))


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; media-src 'self' file:; \
style-src 'unsafe-inline'; script-src 'sha256-{{HASH}}'; base-uri 'none'; form-action 'none'">
<meta name="referrer" content="no-referrer">
<title>{{TITLE}} · mova</title>
<style>
{{STYLE}}</style>
</head>
<body data-open="{{OPEN}}">
<header class="bar"><span class="brand"><svg width="26" height="20" viewBox="0 0 26 20" aria-hidden="true">\
<rect class="mark-1" x="0" y="12" width="4" height="8" rx="1.5"/>\
<rect class="mark-2" x="5.5" y="6" width="4" height="14" rx="1.5"/><rect x="11" y="0" width="4" height="20" rx="1.5"/>\
<rect class="mark-2" x="16.5" y="8" width="4" height="12" rx="1.5"/>\
<rect class="mark-1" x="22" y="14" width="4" height="6" rx="1.5"/></svg>mova</span>\
<span class="source">{{SOURCE}}</span>
<button type="button" class="quiet" id="keys-button" aria-haspopup="dialog" hidden>Keys <kbd>?</kbd></button></header>
<main>
<div class="head"><div><h1{{LONG}} dir="auto">{{TITLE}}</h1><p class="summary">{{SUMMARY}}</p></div></div>
<div class="split">
<section class="stage" aria-label="Player" hidden>
<div class="screen"><video controls playsinline preload="metadata" aria-label="Video"></video>\
<div class="message" role="status" hidden></div></div>
<div class="track" role="group" aria-label="Moments in this video" hidden></div>
<div class="about"><div class="what"><h2 class="title"></h2><p class="facts"></p></div>
<div class="buttons"><button type="button" class="secondary again">Play again</button>\
<button type="button" class="secondary copy" data-label="Copy path" title="FILE@TIME, as mova search --like reads it">\
Copy path</button>\
<a class="secondary open" target="_blank" rel="noreferrer">Open</a></div></div>
<ol class="sentences" hidden></ol>
</section>
<div class="found">
{{SECTIONS}}
</div>
</div>
</main>
<footer>Pictures are part of this page. Videos are played from where they were when it was written.</footer>
<dialog aria-labelledby="keys-title"><h2 id="keys-title">Keys</h2><dl>
<div><dt><kbd>j</kbd> <kbd>k</kbd></dt><dd>Next, previous moment</dd></div>
<div><dt><kbd>Enter</kbd></dt><dd>Play the moment</dd></div>
<div><dt><kbd>Space</kbd></dt><dd>Play, pause</dd></div>
<div><dt><kbd>r</kbd></dt><dd>Play the moment again</dd></div>
<div><dt><kbd>Esc</kbd></dt><dd>Close the player</dd></div>
<div><dt><kbd>?</kbd></dt><dd>These keys</dd></div></dl>
<form method="dialog"><button class="secondary">Close</button></form></dialog>
<script>{{SCRIPT}}</script>
</body>
</html>
"""
