"""A search as plain values: what a command sends to a service, and what it gets."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mova.scoring.false_alarm import FalseAlarms
from mova.search.cold.service import ask
from mova.search.narrow.answer import Answer
from mova.types import Moment, MomentSentence

if TYPE_CHECKING:
    from mova.search.narrow.filter import Filter
    from mova.search.narrow.trim import Trim


def search_by_service(
    folder: Path, text: str, k: int, wanted: Filter, trim: Trim, **options: Any
) -> tuple[Answer, str] | None:
    """Search with the service of an index.

    Args:
        folder: a local index.
        text, k, wanted, trim: as for `Index.search`.
        options: its other arguments.

    Returns:
        The answer, equal to that of `Index.search`, and the name of the model; None if no service can give it.
    """
    request = {
        "text": text,
        "k": k,
        "filter": wanted.to_json(),
        "trim": {"pad": trim.pad, "min_length": trim.min_length},
        "start": os.getcwd(),
        **options,
    }
    reply = ask(folder, request)
    if reply is None:
        return None
    try:
        answer, model = unpacked(reply["answer"]), str(reply["model"])
        for level, line in reply["log"]:
            logging.getLogger("mova").log(level, "%s", line)
    except (KeyError, TypeError, ValueError):
        return None
    return answer, model


def packed(answer: Answer) -> dict[str, Any]:
    """Return an answer as plain values, without a loss of digits.

    Example:
        >>> answer = Answer([Moment("a.mp4", 0.1, 1 / 3, 0.7)], skip=0)
        >>> unpacked(packed(answer)) == answer
        True
    """
    return {
        "moments": [{**vars(m), "sentences": [vars(row) for row in m.sentences]} for m in answer],
        "background": None if answer.background is None else answer.background.to_json(),
        "bar": answer.bar,
        "skip": answer.skip,
        "false_alarm": answer.false_alarm,
        "evidence": answer.evidence,
    }


def unpacked(values: Mapping[str, Any]) -> Answer:
    """Return what `packed` was given.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    moments = [
        Moment(**{**row, "sentences": tuple(MomentSentence(**part) for part in row["sentences"])})
        for row in values["moments"]
    ]
    background = None if values["background"] is None else FalseAlarms.from_json(values["background"])
    answer = Answer(moments, background, values["bar"])
    answer.skip, answer.false_alarm, answer.evidence = values["skip"], values["false_alarm"], values["evidence"]
    return answer
