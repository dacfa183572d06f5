"""Checks of single values of a manifest; each raises a `DataError` that names the value."""

from __future__ import annotations

from typing import Any

from mova.errors import DataError
from mova.text.sentences import is_unicode
from mova.utils.text_files import brief

TOLERANCE = 0.5
"""Seconds by which a span may exceed the end of its video, because annotations and containers round differently."""
LARGEST = 1e12
"""Largest number of seconds; a larger number is an error of the file."""


def is_number(value: Any) -> bool:
    """Return whether a value is a number of seconds, and not true or false."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def require_text(value: Any, what: str) -> None:
    """Refuse anything but a text with more than white space."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{what} must be a non-empty string, not {brief(value)}")
    if not is_unicode(value):
        raise DataError(f"{what} is not valid Unicode (a lone surrogate or bytes that are not UTF-8): {brief(value)}")


def require_span(start: Any, end: Any, duration: float | None, what: str) -> None:
    """Refuse a span that is reversed, half-known, or ends after its video; both ends may be None."""
    if start is None and end is None:
        return
    if not (is_number(start) and is_number(end) and 0 <= start < end):
        raise DataError(f"{what} needs 0 <= start < end in seconds, or both null, not [{brief(start)}, {brief(end)})")
    if duration is not None and end > duration + TOLERANCE:
        raise DataError(f"{what} ends at {end} s, after the end of the video ({duration} s)")


def require_keys(value: Any, required: set[str], optional: set[str], what: str) -> None:
    """Refuse an object with missing or unknown keys."""
    if not isinstance(value, dict):
        raise DataError(f"{what} must be an object, not {type(value).__name__}")
    if missing := required - value.keys():
        raise DataError(f"{what} lacks {', '.join(sorted(map(repr, missing)))}")
    if unknown := value.keys() - required - optional:
        raise DataError(f"{what} has unknown keys {', '.join(sorted(map(repr, unknown)))}; move them to 'meta'")


def require_list(value: Any, what: str) -> list[Any]:
    """Return the value if it is a list."""
    if not isinstance(value, list):
        raise DataError(f"{what} must be a list, not {type(value).__name__}")
    return value
