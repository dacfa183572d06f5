"""Environment variables that a configuration file stands for, and which of the two a value comes from."""

from __future__ import annotations

import os

_FROM_FILE: dict[str, tuple[str, str]] = {}


def set_from_file(variable: str, value: str, file: str) -> None:
    """Set an environment variable to the value that a configuration file has for it."""
    os.environ[variable] = value
    _FROM_FILE[variable] = value, file


def source_of(variable: str) -> str:
    """Return where the present value of a variable comes from, in words for a message.

    >>> source_of("MOVA_DEVICE")
    'set by the environment variable MOVA_DEVICE'
    """
    value, file = _FROM_FILE.get(variable, (None, ""))
    if value is not None and os.environ.get(variable) == value:
        return f"set in {file}; `mova config` changes it"
    return f"set by the environment variable {variable}"
