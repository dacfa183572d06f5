"""Long captions into sentences: rules only, no model, no language package.

A caption is whatever a person wrote: tidy prose, lower-case annotations, one event a line, numbered lists, or
one long stretch without any punctuation. Sentences are returned in order with their own punctuation; nothing
but white space and list markers is ever removed.
"""

from __future__ import annotations

import re

from mova.errors import UsageError

WRAP_COLUMN = 60
"""A line at least this long (characters) that stops mid-sentence is taken to be wrapped, not ended."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TITLES = _words(
    """mr mrs ms mx dr prof rev fr hon pres gov gen col maj capt cmdr lt sgt cpl pvt messrs mt ft vs cf viz
    e.g i.e eg ie ca approx resp al"""
)
"""Abbreviations that are always followed by more of their sentence."""
BEFORE_NUMBER = _words("no nos fig figs eq eqs sec ch vol pp p ed art st ave rd apt ext min max")
"""Abbreviations when a number follows."""
MAYBE_LAST = _words(
    """etc inc ltd co corp bros jr sr st ave blvd rd dept est a.m p.m am pm b.c a.d ph.d jan feb mar apr
    jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri sat sun hr hrs sec secs min mins kg cm mm km lb
    lbs oz"""
)
"""Abbreviations that may end a sentence: they do unless a small letter follows."""
OPENERS = _words(
    """a an the this that these those he she it they we you i his her its their our my one two three some
    another both then next after before later finally meanwhile now when while as in on at from with there
    here but and so"""
)
"""Words that begin sentences; they settle what follows an acronym such as `U.S.`"""
LOOKAHEAD = 64
"""Characters that are looked at after a mark."""
CLOSERS = "\"'”’»)\\]}"
WIDE_CLOSERS = "」』”’）】》〉"
OPENING = "\"'“‘«([{¿¡"
_MARK = re.compile(
    rf"(?P<wide>[。！？｡．।۔؟]+)[{WIDE_CLOSERS}{CLOSERS}]*|(?P<mark>[.!?…]+)(?P<closers>[{CLOSERS}]*)(?=\s|$)"
)
_LIST_MARKER = re.compile(r"^\s*(?:[-*•‣–—]\s+|\(?\d{1,3}[.)]\s+(?=\D))")
_ACRONYM = re.compile(r"^(?:[^\W\d_]\.)+[^\W\d_]$")
_WORD = re.compile(r"[^\W_]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def split_sentences(text: str) -> list[str]:
    """Cut a caption into its sentences.

    Sentences end at `.`, `!`, `?` or `…` before white space (with closing quotes and brackets), at CJK,
    Devanagari and Arabic full stops, and at line ends. They do not end after abbreviations, initials,
    decimals, list numbers, an ellipsis that a small letter follows, or inside a quotation that the sentence
    goes on from. Text without any punctuation is one sentence.

    Args:
        text: one caption, any length.

    Returns:
        At least one sentence, each with at least one letter or digit, without surrounding white space.

    Raises:
        UsageError: the text holds no letter or digit, or what is no Unicode text.
    """
    if not is_unicode(text):
        raise UsageError(f"the caption is not valid Unicode text ({text[:80]!r}); write it in UTF-8")
    sentences: list[str] = []
    for line in _lines(text):
        for piece in _split_line(line):
            if _WORD.search(piece):
                sentences.append(piece)
            elif sentences:
                sentences[-1] += piece if piece[:1] in ".!?…" else f" {piece}"
    if not sentences:
        raise UsageError("the caption holds no words; write at least one sentence")
    return sentences


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: not where it holds bytes that were none, or half of a pair of UTF-16."""
    return _SURROGATE.search(text) is None


def has_words(text: str) -> bool:
    """Whether a text holds a letter or digit."""
    return _WORD.search(text) is not None


def ends_with_mark(sentence: str) -> bool:
    """Whether a sentence ends with a full stop or its like, closing quotes and brackets after it allowed."""
    return any(match.end() == len(sentence) for match in _MARK.finditer(sentence))


def _lines(text: str) -> list[str]:
    """Lines without list markers, with wrapped prose joined again."""
    lines: list[str] = []
    wrapped = False
    for raw in text.splitlines():
        line = _LIST_MARKER.sub("", raw).strip()
        if wrapped and line[:1].islower() and line == raw.strip():
            lines[-1] = f"{lines[-1]} {line}"
        elif line:
            lines.append(line)
        ended = not line or _MARK.search(line[-4:])
        wrapped = not ended and len(raw.rstrip()) >= WRAP_COLUMN
    return lines


def _split_line(line: str) -> list[str]:
    """Cut one line at every mark that ends a sentence."""
    pieces, start = [], 0
    for match in _MARK.finditer(line):
        after = line[match.end() : match.end() + LOOKAHEAD]
        if match["wide"] or _ends_sentence(line[start : match.start()], match["mark"], match["closers"], after):
            pieces.append(line[start : match.end()].strip())
            start = match.end()
    pieces.append(line[start:].strip())
    return [_LIST_MARKER.sub("", piece) for piece in pieces if piece]


def _ends_sentence(before: str, mark: str, closers: str, after: str) -> bool:
    """Whether a mark ends the sentence `before` when `after` follows it."""
    following = after.lstrip().lstrip(OPENING)
    if not following:
        return True
    small = following[0].islower()
    if small and (closers or mark.startswith("…") or (len(mark) > 1 and set(mark) == {"."})):
        return False
    if mark != "." or closers:
        return True
    words = before.split()
    word = words[-1].lstrip(OPENING) if words else ""
    lower, next_word = word.lower(), following.split()[0].strip(",;:").lower()
    if lower in TITLES or (len(words) == 1 and word.isdigit()):
        return False
    if following[0].isdigit() and lower in BEFORE_NUMBER:
        return False
    if _ACRONYM.match(word) and lower not in MAYBE_LAST:
        return next_word in OPENERS
    if len(word) == 1 and word.isalpha() and word.isupper() and word != "I":
        return next_word in OPENERS - {"a", "i"}
    return not (small and lower in MAYBE_LAST)
