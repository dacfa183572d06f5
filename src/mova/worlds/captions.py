"""Sentences about Worlds events in many wordings, with a record of the factors each one mentions.

A sentence always mentions the shape and the count; any other factor is mentioned with probability
`MENTION_PROBABILITY`. The claim of a sentence is therefore known exactly: `holds` decides whether it is true of an
event.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from mova.worlds.factors import FACTORS, Event, facts, sample_event

MENTION_PROBABILITY = 0.75
"""Default probability that a factor is mentioned."""

NOUNS = {  # singular, plural
    "circle": (("circle", "circles"), ("disc", "discs"), ("ball", "balls")),
    "square": (("square", "squares"), ("box", "boxes")),
    "triangle": (("triangle", "triangles"),),
    "star": (("star", "stars"),),
    "heart": (("heart", "hearts"),),
    "cross": (("cross", "crosses"), ("plus", "pluses")),
    "ring": (("ring", "rings"), ("hoop", "hoops")),
    "crescent": (("crescent", "crescents"), ("moon", "moons")),
}
COLOUR_WORDS = {
    "red": ("red", "red", "crimson"),
    "orange": ("orange",),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green", "green", "emerald"),
    "blue": ("blue", "blue", "azure"),
    "purple": ("purple", "purple", "violet"),
    "black": ("black",),
    "white": ("white",),
}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
MOTION_PHRASES = {  # singular, plural, participle
    "left_to_right": (
        ("moves from left to right", "move from left to right", "moving from left to right"),
        ("slides to the right", "slide to the right", "sliding to the right"),
        ("drifts to the right", "drift to the right", "drifting to the right"),
        ("travels rightward", "travel rightward", "traveling rightward"),
    ),
    "right_to_left": (
        ("moves from right to left", "move from right to left", "moving from right to left"),
        ("slides to the left", "slide to the left", "sliding to the left"),
        ("drifts to the left", "drift to the left", "drifting to the left"),
        ("travels leftward", "travel leftward", "traveling leftward"),
    ),
    "rising": (
        ("rises", "rise", "rising"),
        ("moves up", "move up", "moving up"),
        ("climbs upward", "climb upward", "climbing upward"),
        ("floats up", "float up", "floating up"),
    ),
    "falling": (
        ("falls", "fall", "falling"),
        ("moves down", "move down", "moving down"),
        ("sinks", "sink", "sinking"),
        ("drops downward", "drop downward", "dropping downward"),
    ),
    "bouncing": (
        ("bounces", "bounce", "bouncing"),
        ("hops up and down", "hop up and down", "hopping up and down"),
        ("jumps up and down", "jump up and down", "jumping up and down"),
    ),
    "spinning": (
        ("spins", "spin", "spinning"),
        ("rotates", "rotate", "rotating"),
        ("turns on the spot", "turn on the spot", "turning on the spot"),
    ),
    "circling": (
        ("moves in a circle", "move in a circle", "moving in a circle"),
        ("goes around in circles", "go around in circles", "going around in circles"),
        ("travels along a round path", "travel along a round path", "traveling along a round path"),
    ),
    "growing": (
        ("grows", "grow", "growing"),
        ("gets bigger", "get bigger", "getting bigger"),
        ("becomes larger", "become larger", "becoming larger"),
    ),
    "shrinking": (
        ("shrinks", "shrink", "shrinking"),
        ("gets smaller", "get smaller", "getting smaller"),
        ("becomes smaller", "become smaller", "becoming smaller"),
    ),
    "blinking": (
        ("blinks", "blink", "blinking"),
        ("flashes", "flash", "flashing"),
        ("flickers on and off", "flicker on and off", "flickering on and off"),
    ),
}
PLACE_PHRASES = {
    "beach": ("on the beach", "at the beach", "on the sandy shore"),
    "night": ("at night", "in the night sky", "in the dark of night"),
    "forest": ("in the forest", "in the woods", "among the trees"),
    "snow": ("in the snow", "in the snowy mountains", "in a winter landscape"),
    "desert": ("in the desert", "among the dunes", "in front of desert dunes"),
    "sea": ("at sea", "on the open sea", "in the waves"),
    "city": ("in the city", "in front of tall buildings", "in the street"),
    "room": ("in a room", "indoors", "inside the house"),
}
RELATION_PHRASES = {
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
    "left_of": ("to the left of", "left of"),
    "right_of": ("to the right of", "right of"),
}
_ARTICLES = {1: ("a", "a", "a", "a", "one", "a single"), 2: ("two",), 3: ("three",)}

_TEMPLATES = (  # S subject, V finite verb, I participle, R relation, P place; be, s agree with the subject
    ("S V R P", "V"),
    ("P , S V R", "PV"),
    ("there be S I R P", ""),
    ("we see S I R P", ""),
    ("P , we see S I R", "P"),
    ("S be I R P", "V"),
    ("P , S be I R", "PV"),
    ("S can be seen I R P", ""),
    ("S be shown I R P", ""),
    ("S be seen I R P", ""),
    ("the video shows S I R P", ""),
    ("this scene shows S I R P", ""),
    ("P , the camera shows S I R", "P"),
    ("S R V P", "RV"),
    ("S R be seen I P", "R"),
    ("P , there be S I R", "P"),
    ("P , S can be seen I R", "P"),
    ("here we can see S I R P", ""),
    ("S be R P", "R-"),
    ("S appear R P", "-"),
)
"""Templates and what each requires: P a place, V a motion, R a relation, - no motion."""

OPENINGS = {
    "first": ("first", "at first", "to begin with", "at the start"),
    "middle": ("then", "next", "after that", "later", "a moment later", "afterwards"),
    "last": ("finally", "in the end", "lastly", "at the end"),
}
"""Temporal connectives by the position of the sentence in its paragraph."""


BACKGROUND_SEED, BACKGROUND_SENTENCES = 5, 128
DETAILED_SEED, DETAILED_SENTENCES = 6, 512
DETAILS = ("shape", "colour", "motion", "place")
"""Facts that detailed sentences always mention."""


class Description(NamedTuple):
    """A sentence and the names of the factors it mentions, in the order of `FACTORS`."""

    text: str
    mentioned: tuple[str, ...]


@dataclass(frozen=True)
class Claim:
    """The content of a sentence: the mentioned factors of an event."""

    event: Event
    mentioned: tuple[str, ...]


def describe(
    event: Event,
    rng: np.random.Generator,
    mention: Collection[str] | None = None,
    *,
    must: Collection[str] = (),
) -> Description:
    """Write one sentence about an event.

    Args:
        event: the event to describe.
        rng: draws the wording and, if `mention` is None, the factors to mention.
        mention: mention exactly these factors, plus those they imply: shape and count always, and the second object's
            shape together with the relation.
        must: factors to mention in any case, if they apply.

    Example:
        >>> event = Event("star", "red", "small", "rising", "room")
        >>> describe(event, np.random.default_rng(0), mention=("colour",))
        Description(text='There is a red star.', mentioned=('shape', 'colour', 'count'))
    """
    truth = facts(event)
    if mention is None:
        chance = rng.random(len(FACTORS))
        drawn = (name for name, luck in zip(FACTORS, chance.tolist(), strict=True) if luck < MENTION_PROBABILITY)
        factors = {name for name in drawn if name != "shape2"}
    else:
        factors = set(mention)
    factors |= {"shape", "count", *must}
    if "shape2" in factors or "colour2" in must:
        factors.add("relation")
    if "relation" in factors:
        factors.add("shape2")
    else:
        factors.discard("colour2")
    mentioned = tuple(name for name in FACTORS if name in factors and truth[name] is not None)
    return Description(_sentence(event, mentioned, rng), mentioned)


@cache
def background_sentences() -> tuple[str, ...]:
    """Return sentences about random events, which fit no video in particular."""
    rng = np.random.default_rng(BACKGROUND_SEED)
    return tuple(describe(sample_event(rng), rng).text for _ in range(BACKGROUND_SENTENCES))


@cache
def detailed_sentences() -> tuple[str, ...]:
    """Return sentences that say much about random events, so that hardly any video shows one of them."""
    rng = np.random.default_rng(DETAILED_SEED)
    events = (sample_event(rng) for _ in range(DETAILED_SENTENCES))
    return tuple(describe(event, rng, must=DETAILS).text for event in events)


def connect(text: str, position: str, rng: np.random.Generator) -> str:
    """Open a sentence with a random temporal connective; `position` is a key of `OPENINGS`."""
    return open_with(text, _pick(OPENINGS[position], rng))


def open_with(text: str, opening: str) -> str:
    """Open a sentence with `opening`.

    Example:
        >>> open_with("A star rises.", "then")
        'Then, a star rises.'
    """
    return f"{opening[0].upper()}{opening[1:]}, {text[0].lower()}{text[1:]}"


def holds(event: Event, claim: Claim) -> bool:
    """Return whether a claim is true of a clip of this event.

    A clip with a second object also shows that object, which does not move, and the inverse relation. Its size is not
    defined, so any claim about its size holds.

    Example:
        >>> event = Event("star", "red", "small", "rising", "room")
        >>> claim = Claim(Event("star", "blue", "small", "rising", "room"), ("shape", "motion"))
        >>> holds(event, claim), holds(event, Claim(claim.event, ("shape", "colour")))
        (True, False)
    """
    claimed, real = facts(claim.event), facts(event)
    if all(claimed[name] == real[name] for name in claim.mentioned):
        return True
    if event.relation is None or "motion" in claim.mentioned:
        return False
    relation, shape2, colour2 = event.relation
    seen = {
        "shape": shape2,
        "colour": colour2,
        "size": claim.event.size,
        "place": event.place,
        "count": "1",
        "relation": INVERSE[relation],
        "shape2": event.shape,
        "colour2": event.colour,
    }
    return all(claimed[name] == seen[name] for name in claim.mentioned)


INVERSE = {"above": "below", "below": "above", "left_of": "right_of", "right_of": "left_of"}


def words(text: str) -> list[str]:
    """Split into lower-case words; anything that is not a letter separates.

    Example:
        >>> words("Then, a red star rises.")
        ['then', 'a', 'red', 'star', 'rises']
    """
    return re.findall("[a-z]+", text.lower())


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.random() * len(options))]


def _noun_phrase(
    count: int,
    size: str | None,
    colour: str | None,
    shape: str,
    rng: np.random.Generator,
    plain: bool = False,
) -> str:
    article = "a" if plain else _pick(_ARTICLES[count], rng)
    nouns = NOUNS[shape]
    noun = nouns[int(rng.random() * len(nouns))][count > 1]
    adjectives = [_pick(SIZE_WORDS[size], rng)] if size else []
    adjectives += [_pick(COLOUR_WORDS[colour], rng)] if colour else []
    phrase = " ".join((*adjectives, noun))
    if article == "a" and phrase[0] in "aeiou":
        article = "an"
    return f"{article} {phrase}"


def _sentence(event: Event, mentioned: tuple[str, ...], rng: np.random.Generator) -> str:
    plural = event.count > 1
    size = event.size if "size" in mentioned else None
    colour = event.colour if "colour" in mentioned else None
    parts = {
        "S": _noun_phrase(event.count, size, colour, event.shape, rng),
        "P": _pick(PLACE_PHRASES[event.place], rng) if "place" in mentioned else "",
        "V": "",
        "I": "",
        "R": "",
        "be": "are" if plural else "is",
        "appear": "appear" if plural else "appears",
    }
    if "motion" in mentioned:
        verbs = MOTION_PHRASES[event.motion]
        forms = verbs[int(rng.random() * len(verbs))]
        parts["V"], parts["I"] = forms[plural], forms[2]
    if "relation" in mentioned and event.relation is not None:
        relation, shape2, colour2 = event.relation
        second = _noun_phrase(1, None, colour2 if "colour2" in mentioned else None, shape2, rng, plain=True)
        parts["R"] = f"{_pick(RELATION_PHRASES[relation], rng)} {second}"
    usable = _USABLE[bool(parts["P"]), bool(parts["V"]), bool(parts["R"])]
    filled: list[str] = []
    for token in usable[int(rng.random() * len(usable))]:
        # "can be seen" keeps its infinitive
        filled.append("be" if token == "be" and filled and filled[-1] == "can" else parts.get(token, token))
    text = " ".join(part for part in filled if part).replace(" ,", ",")
    return f"{text[0].upper()}{text[1:]}."


def _usable(place: bool, motion: bool, relation: bool) -> tuple[tuple[str, ...], ...]:
    """Return the token lists of the templates whose requirements are met."""
    has = {"P": place, "V": motion, "R": relation, "-": not motion}
    return tuple(tuple(text.split()) for text, needs in _TEMPLATES if all(has[need] for need in needs))


_USABLE = {(p, v, r): _usable(p, v, r) for p in (False, True) for v in (False, True) for r in (False, True)}


def _all_words() -> tuple[str, ...]:
    texts: list[str] = ["an", "are", "is", "appears"]
    texts += [re.sub("[SVIRP]", "", text) for text, _ in _TEMPLATES]
    for table in (COLOUR_WORDS, SIZE_WORDS, PLACE_PHRASES, RELATION_PHRASES, OPENINGS):
        texts += [option for options in table.values() for option in options]
    for forms in (*NOUNS.values(), *MOTION_PHRASES.values()):
        texts += [form for options in forms for form in options]
    texts += [option for options in _ARTICLES.values() for option in options]
    return tuple(sorted({word for text in texts for word in words(text)}))


VOCABULARY: tuple[str, ...] = _all_words()
"""Every word that a sentence or a paragraph can hold, lower case, sorted."""
