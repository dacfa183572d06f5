"""Texts, checked before they are encoded."""

from __future__ import annotations

from collections.abc import Iterable

from mova.errors import UsageError


def as_texts(texts: str | Iterable[str]) -> list[str]:
    """Return one or many texts as a list.

    Raises:
        UsageError: no text at all, or an item that is not a text.

    >>> as_texts("a dog"), as_texts(("a dog", "a cat"))
    (['a dog'], ['a dog', 'a cat'])
    """
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise UsageError(f"a text or a list of texts expected, not {_described(texts)}")
    batch = list(texts)
    for number, text in enumerate(batch):
        if not isinstance(text, str):
            raise UsageError(f"text {number} is {_described(text)}; every item of the list must be a text")
    if not batch:
        raise UsageError("no texts to encode")
    return batch


def _described(value: object) -> str:
    if value is None or value != value:
        return f"a missing value ({value})"
    if isinstance(value, bytes):
        return "bytes; decode them first (value.decode())"
    return f"a {type(value).__name__}"
