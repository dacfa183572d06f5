"""Reverse spatial relations in a caption: where something is, or which way it moves."""

from __future__ import annotations

from collections.abc import Iterator

from mova.data.negatives.grammar import DETERMINERS, PREPOSITIONS, head_of, noun_at, verb_at, word_set
from mova.data.negatives.tokens import TokenizedText

_SIDES = {"left": "right", "right": "left", "left-hand": "right-hand", "right-hand": "left-hand"}
_SIDE_BEFORE = word_set("""the his her its their lower upper far bottom top back front to from at""")
_SIDE_AFTER = word_set(
    """edge side hand arm leg foot corner half part of border bank lane picture end knee hind front and"""
)
_HEIGHTS = {"top": "bottom", "bottom": "top", "upper": "lower", "lower": "upper"}
_HEIGHT_AFTER = word_set("""edge side corner half part of left right border picture end row shelf""")
_OPPOSITE_PREPOSITIONS = {
    ("in", "front", "of"): ("behind", "", ""),
    ("on", "top", "of"): ("underneath", "", ""),
    ("next", "to"): ("far from", ""),
    ("close", "to"): ("far from", ""),
    ("away", "from"): ("towards", ""),
    ("out", "of"): ("into", ""),
    ("behind",): ("in front of",),
    ("above",): ("below",),
    ("below",): ("above",),
    ("under",): ("on top of",),
    ("underneath",): ("on top of",),
    ("beneath",): ("on top of",),
    ("over",): ("under",),
    ("inside",): ("outside",),
    ("outside",): ("inside",),
    ("into",): ("out of",),
    ("towards",): ("away from",),
    ("toward",): ("away from",),
}
_UNDERNEATH_POSSIBLE = frozenset({"furniture", "vehicle", "craft", "building", "bridge", "stage"})
_ENTERABLE = word_set("""room building vehicle craft vessel water land box picture frame tent furniture""")
_NOT_A_LOCATION = word_set("""sky left right end""")
_DIRECTIONS = {"up": "down", "down": "up"}
_MOTION_VERBS = word_set(
    """walk run climb crawl jump go come drive ride move look swim fly roll slide jog sprint rush bounce hop skate
    ski march step float"""
)


def relations(words: TokenizedText) -> Iterator[str]:
    """Yield captions with one relation reversed; left and right are swapped throughout the caption."""
    mirrored = {i: _SIDES[words[i]] for i in range(len(words)) if words[i] in _SIDES and _is_side(words, i)}
    if mirrored:
        yield words.replace(mirrored)
    yield from _from_to(words)
    for index in range(len(words)):
        yield from _heights(words, index)
        yield from _prepositions(words, index)
        yield from _directions(words, index)


def _is_side(words: TokenizedText, index: int) -> bool:
    """Return whether "left" or "right" names a side: not "left the room", not "right beside"."""
    if "-" in words[index]:
        return True
    before = words[index - 1] if words.joined(index) else ""
    after = words[index + 1] if words.joined(index + 1) else ""
    if before in _SIDE_BEFORE:
        return before not in ("to", "from", "at") or not after or after in PREPOSITIONS
    return after in _SIDE_AFTER - {"and"} and before in ("", *DETERMINERS, *PREPOSITIONS)


def _heights(words: TokenizedText, index: int) -> Iterator[str]:
    """Swap top and bottom, upper and lower."""
    if set(_DIRECTIONS) & {words[i] for i in words.sentence_range(index)}:
        return  # one word alone would contradict the other: "goes down to the bottom"
    word, before, after = words[index], words[index - 1], words[index + 1] if words.joined(index + 1) else ""
    if word not in _HEIGHTS or not words.joined(index):
        return
    if word in ("upper", "lower"):
        if before in DETERMINERS and after in _HEIGHT_AFTER:
            yield words.replace({index: _HEIGHTS[word]})
    elif (
        before == "the"
        and (not after or after in _HEIGHT_AFTER or after in PREPOSITIONS)
        and not _is_end_of_route(words, index)
    ):
        yield words.replace({index: _HEIGHTS[word]})


def _is_end_of_route(words: TokenizedText, index: int) -> bool:
    """Return whether a word ends a route "from the ... to the ...", which is reversed as a whole."""
    return (
        words[index - 2] == "from" or any(words[index - i] == "from" for i in range(3, 8)) or words[index - 3] == "on"
    )


def _from_to(words: TokenizedText) -> Iterator[str]:
    """Turn "from the bottom to the top" into "from the top to the bottom"."""
    for index in range(len(words) - 3):
        if words[index] != "from":
            continue
        for width in (1, 2):
            middle = index + 1 + width
            ends = [" ".join(words[i] for i in range(start, start + width)) for start in (index + 1, middle + 1)]
            joined = all(words.joined(i) for i in range(index + 1, middle + 1 + width))
            vertical = all(end.split()[-1] in _HEIGHTS for end in ends) and ends[0] != ends[1]
            if joined and words[middle] == "to" and vertical:
                new = [*ends[1].split(), "to", *ends[0].split()]
                yield words.replace({index + 1 + i: word for i, word in enumerate(new)})


def _prepositions(words: TokenizedText, index: int) -> Iterator[str]:
    """Replace a preposition before a thing by its opposite."""
    for old, new in _OPPOSITE_PREPOSITIONS.items():
        end = index + len(old)
        if tuple(words[index + i] for i in range(len(old))) != old or not all(
            words.joined(index + i) for i in range(1, len(old))
        ):
            continue
        if (
            words.joined(end)
            and _is_thing(words, end)
            and words[index - 1] not in {"from", "just", "all", "in", "on", "to"}
        ):
            if old[0] in ("into", "out") and not _is_enterable(words, end):
                continue
            if old[0] in ("under", "towards", "toward") and {words[end + 1], words[end + 2]} & _NOT_A_LOCATION:
                continue
            if old == ("over",) and not (verb_at(words, index - 1) or words[index - 1] in {"hangs", "is", "are"}):
                continue
            yield words.replace({index + i: word for i, word in enumerate(new)})
            return
    match = noun_at(words, index + 2)
    on_thing = words[index] == "on" and words[index + 1] in DETERMINERS and words.joined(index + 2)
    if on_thing and match and {match.noun.group, match.noun.lemma} & _UNDERNEATH_POSSIBLE:
        yield words.replace({index: "under"})


def _is_thing(words: TokenizedText, index: int) -> bool:
    """Return whether a determiner and a thing begin at an index, rather than a time, a number or a clause."""
    if words[index] not in DETERMINERS | {"it", "them", "him", "her"}:
        return False
    first = next((match for i in range(1, 4) if (match := noun_at(words, index + i)) is not None), None)
    return first is None or first.noun.group != "time"


def _is_enterable(words: TokenizedText, index: int) -> bool:
    """Return whether the thing that follows can be entered."""
    head = head_of(words, index)
    return head is not None and bool({head.group, head.lemma} & _ENTERABLE)


def _directions(words: TokenizedText, index: int) -> Iterator[str]:
    """Swap "up" and "down" after a verb of motion; "up and down" is skipped."""
    word, after = words[index], words[index + 1]
    if word not in _DIRECTIONS or not words.joined(index) or after in ("and", "on", "to", "from", "at", "with"):
        return
    if any(base in _MOTION_VERBS for base, _ in verb_at(words, index - 1)):
        yield words.replace({index: _DIRECTIONS[word]})
