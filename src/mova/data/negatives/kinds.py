"""The seven ways in which a hard negative differs from its caption (VideoCon, Bansal et al. 2024, arXiv 2311.10111)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from mova.errors import UsageError

Kind = Literal["action", "attribute", "count", "flip", "hallucination", "object", "relation"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CHANGES: Mapping[Kind, str] = {
    "action": "what somebody or something does",
    "attribute": "a quality of a thing or person, such as a colour, a size or a material",
    "count": "how many there are of something",
    "flip": "the order in which events happen",
    "hallucination": "something is added that was not there; nothing else is changed or left out",
    "object": "a thing or animal is another one",
    "relation": "where something is beside something else, or which way it moves",
}
"""What is changed, in words."""
_OTHER_NAMES: Mapping[str, Kind] = {
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


def kind_of(name: str) -> Kind:
    """The kind that a name stands for, in any case; VideoCon's longer names included.

    Raises:
        UsageError: none of the seven.
    """
    plain = name.strip().lower().replace("_", " ").removesuffix(" misalignment")
    found = next((kind for kind in KINDS if kind == plain), None) or _OTHER_NAMES.get(plain)
    if found is None:
        raise UsageError(f"{name!r} is no kind of misalignment; there are {', '.join(KINDS)}")
    return found
