"""Relations of a caption turned round: where something is, or which way it moves."""

from __future__ import annotations

from collections.abc import Iterator

from mova.data.negatives.grammar import DETERMINERS, PREPOSITIONS, head_of, noun_at, verb_at, word_set
from mova.data.negatives.tokens import Words

_SIDES = {"left": "right", "right": "left", "left-hand": "right-hand", "right-hand": "left-hand"}
_SIDE_BEFORE = word_set("""the his her its their lower upper far bottom top back front to from at""")
_SIDE_AFTER = word_set(
    """edge side hand arm leg foot corner half part of border bank lane picture end knee hind front and"""
)
_HEIGHTS = {"top": "bottom", "bottom": "top", "upper": "lower", "lower": "upper"}
_HEIGHT_AFTER = word_set("""edge side corner half part of left right border picture end row shelf""")
_PLACES = {
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
_STAND_ON = frozenset({"furniture", "vehicle", "craft", "building", "bridge", "stage"})
_GO_INTO = word_set("""room building vehicle craft vessel water land box picture frame tent furniture""")
_NO_PLACE = word_set("""sky left right end""")
_WAYS = {"up": "down", "down": "up"}
_GOING = word_set(
    """walk run climb crawl jump go come drive ride move look swim fly roll slide jog sprint rush bounce hop skate
    ski march step float"""
)


def relations(words: Words) -> Iterator[str]:
    """All captions with one relation turned round; left and right are exchanged throughout."""
    mirrored = {i: _SIDES[words[i]] for i in range(len(words)) if words[i] in _SIDES and _side(words, i)}
    if mirrored:
        yield words.exchange(mirrored)
    yield from _from_to(words)
    for place in range(len(words)):
        yield from _heights(words, place)
        yield from _places(words, place)
        yield from _ways(words, place)


def _side(words: Words, place: int) -> bool:
    """Whether left or right is a side here: not "left the room", not "right beside"."""
    if "-" in words[place]:
        return True
    before = words[place - 1] if words.joined(place) else ""
    after = words[place + 1] if words.joined(place + 1) else ""
    if before in _SIDE_BEFORE:
        return before not in ("to", "from", "at") or not after or after in PREPOSITIONS
    return after in _SIDE_AFTER - {"and"} and before in ("", *DETERMINERS, *PREPOSITIONS)


def _heights(words: Words, place: int) -> Iterator[str]:
    """Top and bottom, upper and lower, of what has both."""
    if set(_WAYS) & {words[at] for at in words.sentence(place)}:
        return  # "goes down to the bottom" says it twice
    word, before, after = words[place], words[place - 1], words[place + 1] if words.joined(place + 1) else ""
    if word not in _HEIGHTS or not words.joined(place):
        return
    if word in ("upper", "lower"):
        if before in DETERMINERS and after in _HEIGHT_AFTER:
            yield words.exchange({place: _HEIGHTS[word]})
    elif (
        before == "the" and (not after or after in _HEIGHT_AFTER or after in PREPOSITIONS) and not _route(words, place)
    ):
        yield words.exchange({place: _HEIGHTS[word]})


def _route(words: Words, place: int) -> bool:
    """Whether a word is an end of a way "from the ... to the ...", which is turned round as a whole."""
    return (
        words[place - 2] == "from" or any(words[place - i] == "from" for i in range(3, 8)) or words[place - 3] == "on"
    )


def _from_to(words: Words) -> Iterator[str]:
    """ "from the bottom to the top" -> "from the top to the bottom"."""
    for place in range(len(words) - 3):
        if words[place] != "from":
            continue
        for width in (1, 2):
            middle = place + 1 + width
            ends = [" ".join(words[i] for i in range(at, at + width)) for at in (place + 1, middle + 1)]
            joined = all(words.joined(i) for i in range(place + 1, middle + 1 + width))
            ways = all(end.split()[-1] in _HEIGHTS for end in ends) and ends[0] != ends[1]
            if joined and words[middle] == "to" and ways:
                new = [*ends[1].split(), "to", *ends[0].split()]
                yield words.exchange({place + 1 + i: word for i, word in enumerate(new)})


def _places(words: Words, place: int) -> Iterator[str]:
    """Prepositions before a thing."""
    for old, new in _PLACES.items():
        end = place + len(old)
        if tuple(words[place + i] for i in range(len(old))) != old or not all(
            words.joined(place + i) for i in range(1, len(old))
        ):
            continue
        if (
            words.joined(end)
            and _thing(words, end)
            and words[place - 1] not in {"from", "just", "all", "in", "on", "to"}
        ):
            if old[0] in ("into", "out") and not _within(words, end):
                continue
            if old[0] in ("under", "towards", "toward") and {words[end + 1], words[end + 2]} & _NO_PLACE:
                continue
            if old == ("over",) and not (verb_at(words, place - 1) or words[place - 1] in {"hangs", "is", "are"}):
                continue
            yield words.exchange({place + i: word for i, word in enumerate(new)})
            return
    found = noun_at(words, place + 2)
    stands = words[place] == "on" and words[place + 1] in DETERMINERS and words.joined(place + 2)
    if stands and found and {found[0].group, found[0].lemma} & _STAND_ON:
        yield words.exchange({place: "under"})


def _thing(words: Words, place: int) -> bool:
    """Whether a thing with its determiner follows, and no time, number or clause."""
    if words[place] not in DETERMINERS | {"it", "them", "him", "her"}:
        return False
    found = next((each for i in range(1, 4) if (each := noun_at(words, place + i)) is not None), None)
    return found is None or found[0].group != "time"


def _within(words: Words, place: int) -> bool:
    """Whether one can go into the thing that follows."""
    found = head_of(words, place)
    return found is not None and bool({found.group, found.lemma} & _GO_INTO)


def _ways(words: Words, place: int) -> Iterator[str]:
    """Up and down after a verb of motion, and not both of them."""
    word, after = words[place], words[place + 1]
    if word not in _WAYS or not words.joined(place) or after in ("and", "on", "to", "from", "at", "with"):
        return
    if any(base in _GOING for base, _ in verb_at(words, place - 1)):
        yield words.exchange({place: _WAYS[word]})
