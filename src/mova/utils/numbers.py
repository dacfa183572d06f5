"""Check numbers that a caller gives, so that a wrong one is one message at once."""

from __future__ import annotations

import math
from operator import index

from mova.errors import UsageError


def require_whole(name: str, value: object, least: int) -> None:
    """Raise unless a value is a whole number (of Python or NumPy) that is not below `least`.

    Args:
        name: of the value, for the message.
        value: what was given.
        least: smallest allowed number.

    Raises:
        UsageError: it is something else.

    >>> require_whole("k", 3, 1)
    >>> require_whole("k", 2.5, 1)
    Traceback (most recent call last):
        ...
    mova.errors.UsageError: k must be a whole number, not 2.5
    """
    try:
        number = index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise UsageError(f"{name} must be a whole number, not {value!r}") from error
    if number < least:
        raise UsageError(f"{name} must be {f'at least {least}' if least else '0 or more'}, not {number}")


def is_number(value: object) -> bool:
    """Return whether a value is a finite number, of Python, NumPy or PyTorch.

    >>> is_number(0.5), is_number(float("nan")), is_number("0.5"), is_number(None)
    (True, False, False, False)
    """
    if value is None or isinstance(value, str | bytes):
        return False
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False


def require_number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise unless a value is a finite number from `low` to `high`.

    Args:
        name: of the value, for the message.
        value: what was given.
        low: smallest allowed number.
        high: largest allowed number.

    Raises:
        UsageError: it is something else.

    >>> require_number("the weight", 0.5, 0, 1)
    >>> require_number("the weight", float("nan"), 0, 1)
    Traceback (most recent call last):
        ...
    mova.errors.UsageError: the weight must be a number from 0 to 1, not nan
    """
    if not is_number(value) or not low <= value <= high:  # type: ignore[operator]
        limits = "" if math.isinf(low) else f" from {low:g} to {high:g}"
        raise UsageError(f"{name} must be a{' finite' if not limits else ''} number{limits}, not {value!r}")
