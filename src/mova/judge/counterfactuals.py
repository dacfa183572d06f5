"""Counterfactuals of a sentence: what it would say if one thing were different."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mova.data.negatives.checks import rejection_reason
from mova.data.negatives.interchange import Counterfactual, Interchangeable, interchange
from mova.data.negatives.kinds import KINDS, Kind, parse_kind
from mova.data.negatives.rules import RULES
from mova.data.negatives.tokens import TokenizedText
from mova.errors import DataError
from mova.utils.tables import read_json

REPLACING: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind not in ("flip", "hallucination"))
"""Kinds that replace something in one sentence."""
MOST = 96
"""Counterfactuals of one sentence; the kinds take turns until there are as many."""


def counterfactuals(
    sentence: str,
    words: Interchangeable | None = None,
    english: bool = True,
    renumber: Callable[[str], Iterable[Counterfactual]] | None = None,
) -> list[Counterfactual]:
    """Return distinct sentences that differ from a sentence in one respect, at most `MOST`.

    Args:
        sentence: the sentence.
        words: phrases that exclude each other.
        english: use the rules for everyday English as well.
        renumber: sentence -> sentences with another number of its subject.

    >>> [change.instead for change in counterfactuals("Two men sit.") if change.kind == "count"]
    ['three', 'four', 'five']
    """
    found = list(interchange(sentence, words)) if words else []
    found += renumber(sentence) if renumber is not None else []
    found += _by_rule(sentence) if english else []
    distinct = {change.text: change for change in reversed(found) if change.text != sentence}
    by_kind: dict[Kind, list[Counterfactual]] = {}
    for change in reversed(distinct.values()):
        by_kind.setdefault(change.kind, []).append(change)
    turns = sorted((turn, number) for number, group in enumerate(by_kind.values()) for turn in range(len(group)))
    groups = list(by_kind.values())
    chosen = sorted((number, turn) for turn, number in turns[:MOST])
    return [groups[number][turn] for number, turn in chosen]


def _by_rule(sentence: str) -> Iterator[Counterfactual]:
    tokens = TokenizedText.of(sentence)
    for kind in REPLACING:
        for text in RULES[kind](tokens):
            if rejection_reason(sentence, text, kind) is None:
                yield Counterfactual.between(kind, sentence, text)


def read_interchangeable(path: str | Path) -> Interchangeable:
    """Read phrases that exclude each other from a JSON file.

    The file is an object: kind -> list of groups -> list of values -> phrases that say the same, or one phrase.

    Raises:
        DataError: the file cannot be read or does not have this form.
        UsageError: an unknown kind.

    >>> _ = Path("words.json").write_text('{"object": [["goal", ["corner", "corner kick"]]]}', encoding="utf-8")
    >>> read_interchangeable("words.json")
    {'object': [[['goal'], ['corner', 'corner kick']]]}
    """
    document = read_json(Path(path))
    if not isinstance(document, dict):
        raise DataError(f"{path}: must be an object of kinds ({', '.join(REPLACING)}), each with lists of phrases")
    return {
        parse_kind(kind): [_group(path, kind, group) for group in _listed(path, kind, document[kind])]
        for kind in document
    }


def _group(path: str | Path, kind: str, group: Any) -> list[list[str]]:
    values = [[value] if isinstance(value, str) else value for value in _listed(path, kind, group)]
    for value in values:
        if not isinstance(value, list) or not value or not all(isinstance(p, str) and p.strip() for p in value):
            raise DataError(f"{path}: {kind}: {json.dumps(value)} is neither a phrase nor a list of phrases")
    if len(values) < 2:
        raise DataError(f"{path}: {kind}: a group needs at least two values that exclude each other")
    return values


def _listed(path: str | Path, kind: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{path}: {kind}: must be a list of groups, each a list of phrases")
    return value
