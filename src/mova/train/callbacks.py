"""Logs of a run: JSON lines, broken videos, and TensorBoard if it is installed."""

from __future__ import annotations

import importlib.util
import json
import logging
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainingArguments

from mova.data.dataset import BrokenVideo

logger = logging.getLogger(__name__)


class JsonLines(TrainerCallback):
    """Append every log to a file of JSON lines. Lines after the step that a run resumes from are dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the lines up to the step that the run starts from (none for a new run)."""
        if state.is_world_process_zero and self.path.is_file():
            lines = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _is_before(line, state)]
            self.path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def on_log(self, args: TrainingArguments, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write one line."""
        if state.is_world_process_zero:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **(logs or {})}) + "\n")


class BrokenVideos:
    """Videos that could not be read in a run. Each is logged once and written to `broken.jsonl`.

    Videos that are in the file already, from the run that is resumed, count too.
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

    def add(self, videos: tuple[BrokenVideo, ...]) -> None:
        """Log and write down the videos that are new."""
        for video in videos:
            if video.path in self._seen:
                continue
            self._seen.add(video.path)
            logger.warning("%s: %s; its pair is excluded from the batch", video.path, video.cause)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"path": video.path, "cause": video.cause}) + "\n")


def installed_trackers() -> list[str]:
    """Return `report_to` of transformers: TensorBoard, or nothing and a warning if it is not installed."""
    if importlib.util.find_spec("tensorboard") is not None:
        return ["tensorboard"]
    logger.warning("TensorBoard is not installed (pip install 'mova[train]'): logs are only in log.jsonl")
    return []


def _is_before(line: str, state: Any) -> bool:
    """Return whether a line belongs to the steps before the resumed one; a truncated line does not."""
    try:
        return bool(state.global_step) and json.loads(line)["step"] <= state.global_step
    except (ValueError, KeyError, TypeError):
        return False
