"""Logs of a run: JSON lines always, TensorBoard where it is installed."""

from __future__ import annotations

import importlib.util
import json
import logging
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainingArguments

from mova.data.batch import BrokenVideo

logger = logging.getLogger(__name__)


class JsonLines(TrainerCallback):
    """Append every log to a file of JSON lines; what lies beyond the step that a run goes on from is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the lines up to the step that the run starts at (none for a new run)."""
        if state.is_world_process_zero and self.path.is_file():
            lines = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _is_before(line, state)]
            self.path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def on_log(self, args: TrainingArguments, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write one line."""
        if state.is_world_process_zero:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **(logs or {})}) + "\n")


class BrokenVideos:
    """Videos that could not be read in a run, each told once and kept in `broken.jsonl`.

    Those that stand in the file already, of the run that this one goes on with, count too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        if lines and not lines[-1].endswith("\n"):  # cut off by a kill
            path.write_text("".join(lines[:-1]), encoding="utf-8")
            del lines[-1]
        self._seen: set[str] = {json.loads(line)["path"] for line in lines}

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, found: tuple[BrokenVideo, ...]) -> None:
        """Warn of new ones and write them down."""
        for video in found:
            if video.path in self._seen:
                continue
            self._seen.add(video.path)
            logger.warning("%s: %s; its pair is left out of the batch", video.path, video.cause)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"path": video.path, "cause": video.cause}) + "\n")


def tensorboard_where_installed() -> list[str]:
    """What `report_to` of transformers is; says so if TensorBoard is missing."""
    if importlib.util.find_spec("tensorboard") is not None:
        return ["tensorboard"]
    logger.warning("TensorBoard is not installed (pip install 'mova[train]'): logs are in log.jsonl alone")
    return []


def _is_before(line: str, state: Any) -> bool:
    """Whether a line was written before the step that a run goes on from; a line cut off by a kill was not."""
    try:
        return bool(state.global_step) and json.loads(line)["step"] <= state.global_step
    except ValueError:
        return False
