"""Split captions into sentences by rules, without a model or language-specific packages.

Captions come in many forms: clean prose, lower-case annotations, one event per line, numbered lists, or long text
without any punctuation. Sentences keep their order and punctuation; only white space and list markers are removed.
"""

from __future__ import annotations

import re

from mova.errors import UsageError

WRAP_COLUMN = 60
"""Characters. A line at least this long that stops in the middle of a sentence counts as wrapped, not as ended."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TITLES = _words(
    """mr mrs ms mx dr prof rev fr hon pres gov gen col maj capt cmdr lt sgt cpl pvt messrs mt ft vs cf viz
    e.g i.e eg ie ca approx resp al"""
)
"""Abbreviations that never end a sentence."""
BEFORE_NUMBER = _words("no nos fig figs eq eqs sec ch vol pp p ed art st ave rd apt ext min max")
"""Abbreviations that do not end a sentence if a number follows."""
MAYBE_LAST = _words(
    """etc inc ltd co corp bros jr sr st ave blvd rd dept est a.m p.m am pm b.c a.d ph.d jan feb mar apr
    jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri sat sun hr hrs sec secs min mins kg cm mm km lb
    lbs oz"""
)
"""Abbreviations that end a sentence unless a lower-case letter follows."""
OPENERS = _words(
    """a an the this that these those he she it they we you i his her its their our my one two three some
    another both then next after before later finally meanwhile now when while as in on at from with there
    here but and so"""
)
"""Words that begin sentences. They decide whether an acronym such as `U.S.` ends one."""
LOOKAHEAD = 64
"""Characters to examine after a punctuation mark."""
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
    """Split a caption into sentences.

    Sentences end at `.`, `!`, `?` or `…` before white space (with closing quotes and brackets), at CJK,
    Devanagari and Arabic full stops, and at line ends. They do not end after abbreviations, initials,
    decimals, list numbers, an ellipsis followed by a lower-case letter, or a quotation inside the sentence.
    Text without any punctuation is one sentence.

    Args:
        text: one caption of any length.

    Returns:
        At least one sentence, each with at least one letter or digit, without surrounding white space.

    Raises:
        UsageError: the text has no letter or digit, or is not valid Unicode.

    Example:
        >>> split_sentences("Dr. Smith pours 1.5 l of tea. Then she sits down")
        ['Dr. Smith pours 1.5 l of tea.', 'Then she sits down']
    """
    if not is_unicode(text):
        raise UsageError(f"the text is not valid Unicode ({text[:80]!r}); write it in UTF-8")
    sentences: list[str] = []
    for line in _lines(text):
        for piece in _split_line(line):
            if _WORD.search(piece):
                sentences.append(piece)
            elif sentences:
                sentences[-1] += piece if piece[:1] in ".!?…" else f" {piece}"
    if not sentences:
        raise UsageError("the text has no words; write at least one sentence")
    return sentences


def is_unicode(text: str) -> bool:
    """Return whether a text can be encoded as UTF-8, which lone surrogates cannot.

    Example:
        >>> is_unicode("tea"), is_unicode("\\ud83d")
        (True, False)
    """
    return _SURROGATE.search(text) is None


def has_words(text: str) -> bool:
    """Return whether a text contains a letter or digit.

    Example:
        >>> has_words("tea"), has_words("...")
        (True, False)
    """
    return _WORD.search(text) is not None


def ends_with_mark(sentence: str) -> bool:
    """Return whether a sentence ends with a punctuation mark, optionally followed by closing quotes or brackets.

    Example:
        >>> ends_with_mark('He says "Stop!"'), ends_with_mark("a man walks")
        (True, False)
    """
    return any(match.end() == len(sentence) for match in _MARK.finditer(sentence))


def _lines(text: str) -> list[str]:
    """Return the lines without list markers, and join wrapped prose."""
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
    """Split a line after every mark that ends a sentence."""
    pieces, start = [], 0
    for match in _MARK.finditer(line):
        after = line[match.end() : match.end() + LOOKAHEAD]
        if match["wide"] or _ends_sentence(line[start : match.start()], match["mark"], match["closers"], after):
            pieces.append(line[start : match.end()].strip())
            start = match.end()
    pieces.append(line[start:].strip())
    return [_LIST_MARKER.sub("", piece) for piece in pieces if piece]


def _ends_sentence(before: str, mark: str, closers: str, after: str) -> bool:
    """Return whether a mark between `before` and `after` ends a sentence."""
    following = after.lstrip().lstrip(OPENING)
    if not following:
        return True
    lower_case = following[0].islower()
    if lower_case and (closers or mark.startswith("…") or (len(mark) > 1 and set(mark) == {"."})):
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
    return not (lower_case and lower in MAYBE_LAST)
