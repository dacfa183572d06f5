"""Run the trainer for a short, fixed number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import PrinterCallback, TrainerCallback, set_seed

from mova.train.callbacks import BrokenVideos, JsonLines
from mova.train.objectives.base import Objective
from mova.train.trainer import PairArguments, PairTrainer, TrainingData

BACKBONE_RATE, MODULE_RATE = 3e-4, 1e-3
"""Learning rates of the arms of a study."""


def fit(
    model: nn.Module,
    objective: Objective[Any, Any],
    training_data: TrainingData,
    folder: Path,
    seed: int,
    rate: float,
    backbone_rate: float | None = None,
    workers: int = 0,
    bf16: bool = True,
    constant_after: int | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> nn.Module:
    """Train once on every batch; the log is kept in the folder.

    The learning rate warms up over 10 % of the steps and falls as a cosine. With `constant_after`, it warms up over so
    many steps and then stays: the first steps of a longer run are those of a shorter one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    set_seed(seed)
    steps = len(cast(Any, training_data.dataset))
    arguments = PairArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=1,
        encoder_learning_rate=backbone_rate,
        learning_rate=rate,
        lr_scheduler_type="cosine" if constant_after is None else "constant_with_warmup",
        warmup_steps=max(1, steps // 10) if constant_after is None else constant_after,
        weight_decay=0.05,
        max_grad_norm=1.0,
        adam_beta2=0.98,
        bf16=bf16,
        use_cpu=True,
        logging_steps=25,
        save_strategy="no",
        report_to=[],
        remove_unused_columns=False,
        disable_tqdm=True,
        seed=seed,
        data_seed=seed,
        dataloader_num_workers=workers,
    )
    logs: list[Any] = [JsonLines(folder / "log.jsonl"), *callbacks]
    broken = BrokenVideos(folder / "broken.jsonl")
    trainer = PairTrainer(cast(Any, model), objective, arguments, training_data, broken, logs)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return model.eval()
