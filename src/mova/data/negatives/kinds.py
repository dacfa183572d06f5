"""The seven kinds of hard negatives: how each differs from its caption (VideoCon, arXiv 2311.10111).

VideoCon calls a kind a *misalignment*; so do the JSON keys and CSV columns that hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from mova.errors import UsageError

Kind = Literal["action", "attribute", "count", "flip", "hallucination", "object", "relation"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DESCRIPTIONS: Mapping[Kind, str] = {
    "action": "what somebody or something does",
    "attribute": "a quality of a thing or person, such as a colour, a size or a material",
    "count": "how many there are of something",
    "flip": "the order in which events happen",
    "hallucination": "something is added that was not there; nothing else is changed or left out",
    "object": "a thing or animal is another one",
    "relation": "where something is beside something else, or which way it moves",
}
"""Kind -> what it changes, as phrased in the prompt of a language model (`llm_writer.py`)."""
_ALIASES: Mapping[str, Kind] = {
    "counting": "count",
    "event order": "flip",
    "event order flipping": "flip",
    "flipping": "flip",
    "event flip": "flip",
    "objects": "object",
    "actions": "action",
    "attributes": "attribute",
    "relations": "relation",
    "hallucinations": "hallucination",
}


def parse_kind(name: str) -> Kind:
    """Return the kind that a name refers to, ignoring case; VideoCon's longer names are accepted.

    Raises:
        UsageError: the name refers to none of the seven kinds.

    >>> parse_kind("Event Order Flipping"), parse_kind("object misalignment")
    ('flip', 'object')
    """
    plain = name.strip().lower().replace("_", " ").removesuffix(" misalignment")
    kind = next((kind for kind in KINDS if kind == plain), None) or _ALIASES.get(plain)
    if kind is None:
        raise UsageError(f"{name!r} is not a kind of hard negative; choose from {', '.join(KINDS)}")
    return kind
