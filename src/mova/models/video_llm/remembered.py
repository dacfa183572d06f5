"""What adapters were trained with beside their weights: frames, sampling and question, in a file next to them.

PEFT's own configuration has no place for them, and scores with other frames or another question are not those of the
trained model.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from mova.errors import ModelError
from mova.models.hub import read_json
from mova.models.video_llm.prompt import Budget, Question

logger = logging.getLogger(__name__)

SETTINGS = "mova_scoring.json"
"""Name of the file in a folder of adapters."""


class Scorer(Protocol):
    """A video LLM, as far as its scores depend on more than weights."""

    name: str
    max_frames: int | None
    question: Question
    budget: Budget


def write_settings(llm: Scorer, folder: str | Path) -> Path:
    """Write the settings of a model into a folder of adapters, and return the folder."""
    document = {"max_frames": llm.max_frames, "budget": asdict(llm.budget), "question": asdict(llm.question)}
    path = Path(folder) / SETTINGS
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return Path(folder)


def recall_settings(llm: Scorer, folder: str | Path, max_frames: int | None, question: Question | None) -> None:
    """Give a model the settings that its adapters were trained with.

    Args:
        llm: the model.
        folder: of the adapters. Without the file (another program has trained them), the model stays as it is.
        max_frames, question: what the user asks for; None: the remembered ones. A difference is logged.

    Raises:
        ModelError: the file is damaged.
    """
    path = Path(folder) / SETTINGS
    if not path.is_file():
        return
    document = read_json(path)
    try:
        words = {key: tuple(document["question"][key]) for key in ("yes_words", "no_words")}
        trained = Question(document["question"]["text"], **words)
        budget, frames = Budget(**document["budget"]), document["max_frames"]
        if not isinstance(frames, int | None):
            raise TypeError(f"max_frames {frames!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: damaged ({type(error).__name__}: {error}); save the adapters again") from error
    _warn(llm, "frames per video, at most", frames, max_frames)
    _warn(llm, "question", trained.text, None if question is None else question.text)
    llm.budget = budget
    llm.max_frames = frames if max_frames is None else max_frames
    llm.question = question or trained


def _warn(llm: Scorer, what: str, trained: Any, asked: Any) -> None:
    if asked is not None and asked != trained:
        logger.warning("%s: %s: %s now, %s in the training of its adapters", llm.name, what, asked, trained)
