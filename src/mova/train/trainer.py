"""transformers.Trainer for pairs of video and text.

A data set here yields whole batches (what is a good batch is the data's business: minimal pairs, groups, negatives),
the model turns a batch into vectors, and an objective turns vectors into a loss and its named parts. The Trainer
brings the rest: optimiser, schedule, mixed precision, checkpoints, resuming, logs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

Batch = Mapping[str, Tensor]
Objective = Callable[[Mapping[str, Any], Batch], tuple[Tensor, dict[str, Tensor]]]
"""(model outputs, batch) -> loss, named parts for the log."""


class PairTrainer(Trainer):
    """Trainer whose loss is an objective on the model's vectors.

    Args:
        model: takes the keyword arguments that `model_inputs` names.
        objective: see `Objective`.
        model_inputs: keys of the batch that the model's forward takes; all keys go to the objective.
        args, train_dataset: as in transformers; each item of the data set is one whole batch.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        objective: Objective,
        model_inputs: tuple[str, ...],
        args: TrainingArguments,
        train_dataset: Dataset[Batch],
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            data_collator=_only_item,
            callbacks=callbacks,
        )
        self.objective = objective
        self.model_inputs = model_inputs
        self._parts: dict[str, list[float]] = {}

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective on the model's vectors; its parts are averaged into the log."""
        outputs = model(**{key: inputs[key] for key in self.model_inputs})
        loss, parts = self.objective(outputs, inputs)
        for key, value in parts.items():
            self._parts.setdefault(key, []).append(float(value.detach()))
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the means of the objective's parts since the last log."""
        if "loss" in logs:
            logs.update({key: round(sum(values) / len(values), 5) for key, values in self._parts.items()})
            self._parts.clear()
        super().log(logs, *args, **kwargs)


class JsonLines(TrainerCallback):
    """Append every log to `log.jsonl` in the output folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_log(self, args: TrainingArguments, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write one line."""
        if state.is_world_process_zero:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **(logs or {})}) + "\n")


def _only_item(items: list[Batch]) -> Batch:
    """The data set's item is the batch."""
    (batch,) = items
    return batch
