"""Concepts by name, and the sentences that express their values.

A model that was trained for relations has sentences of its own, and knows no other concepts by name. All others read
the general table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mova.errors import UsageError

Values = Sequence[Sequence[str]]
"""The values of a concept; each is one or several sentences that say the same."""

ALIASES = {
    "color": ("colour", "colors", "colours"),
    "place": ("places", "location", "setting", "scene", "background"),
    "shape": ("shapes", "form"),
    "motion": ("motions", "movement", "action"),
    "animal": ("animals",),
    "vehicle": ("vehicles",),
    "time of day": ("time", "light", "daytime"),
    "weather": (),
    "season": ("seasons",),
    "size": ("sizes",),
    "count": ("number",),
    "relation": ("position", "arrangement"),
}
"""Names of concepts, each with others that mean the same."""
GENERAL: dict[str, tuple[str, ...]] = {
    "color": tuple(
        f"{color} things"
        for color in ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray")
    ),
    "place": (
        "a beach by the sea",
        "a forest",
        "snowy mountains",
        "a desert",
        "a city street",
        "a living room",
        "a kitchen",
        "an office",
        "a field of grass",
        "a lake or a river",
        "a stadium",
        "a shop",
    ),
    "animal": ("a dog", "a cat", "a bird", "a horse", "a cow", "a fish", "a bear", "an elephant", "an insect"),
    "vehicle": ("a car", "a truck", "a bus", "a bicycle", "a motorcycle", "a train", "an airplane", "a boat"),
    "time of day": ("a bright day", "a sunrise", "a sunset", "a dark night"),
    "weather": ("a sunny sky", "rain", "snow", "fog", "a storm with dark clouds"),
    "season": ("spring blossoms", "a summer meadow", "autumn leaves", "a winter landscape"),
}
"""Values of general concepts, as noun phrases."""
TEMPLATES = ("{}", "a photo of {}", "a video that shows {}", "here we can see {}")


def general_values(concept: str) -> Values:
    """Return the sentences of a general concept's values.

    Example:
        >>> general_values("weather")[1]
        ('rain', 'a photo of rain', 'a video that shows rain', 'here we can see rain')
    """
    return [tuple(template.format(phrase) for template in TEMPLATES) for phrase in GENERAL[concept]]


def known_names(known: Mapping[str, Values] | None = None) -> list[str]:
    """Return the names of the concepts of a model, or of the general ones, in alphabetical order.

    Example:
        >>> known_names()[:3]
        ['animal', 'color', 'place']
    """
    return sorted(GENERAL if known is None else known)


def concept_name(text: str) -> str:
    """Return the common name of a concept: without article, and one for all that mean the same.

    Example:
        >>> concept_name("the same Colour"), concept_name("its place"), concept_name("hat")
        ('color', 'place', 'hat')
    """
    plain = re.sub(r"^((the|same|in|its|their|by|a|an)\s+)+", "", text.strip().lower())
    return next((name for name, others in ALIASES.items() if plain in others), plain)


def values_of(by: str | Sequence[str], known: Mapping[str, Values] | None = None) -> tuple[str | None, Values]:
    """Return the name of a concept (None: a list) and the sentences of its values.

    Args:
        by: the name of a concept, or its values: a list of words or sentences, or one text with commas between them.
        known: concepts of a model, by name; they replace the general ones.

    Example:
        >>> values_of("a dog, a cat")
        (None, [('a dog',), ('a cat',)])

    Raises:
        UsageError: an unknown concept, or fewer than two values.
    """
    if isinstance(by, str) and "," not in by:
        name = concept_name(by)
        if known is not None and name in known:
            return name, known[name]
        if known is None and name in GENERAL:
            return name, general_values(name)
        names = ", ".join(known_names(known))
        raise UsageError(f"by {by!r}: not a known concept ({names}); or list its values, as in 'a dog, a cat, a bird'")
    parts = by.split(",") if isinstance(by, str) else by
    values = [(part.strip(),) for part in dict.fromkeys(parts) if part.strip()]
    if len(values) < 2:
        raise UsageError(f"by {by!r}: a concept needs at least two different values, as in 'a dog, a cat, a bird'")
    return None, values
