"""Train a model from a recipe."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback, set_seed

from mova.errors import UsageError
from mova.models.precision import choose_device, choose_dtype
from mova.train.callbacks import BrokenVideos, JsonLines, tensorboard_where_installed
from mova.train.objectives.base import Objective
from mova.train.recipe import Recipe
from mova.train.sections import data_settings, finish_settings, model_settings, read_objective, training_settings
from mova.train.sources.base import DataSource, RunContext
from mova.train.trainer import PairArguments, PairTrainer

SUMMARY = "training.json"
"""What a run did; it is written last."""
BROKEN = "broken.jsonl"
"""Videos that could not be read."""
SHARED = {
    "lr_scheduler_type": "cosine",
    "logging_steps": 50,
    "save_total_limit": 2,
    "per_device_train_batch_size": 1,
    "num_train_epochs": 1,
    "remove_unused_columns": False,
    "disable_tqdm": True,
    "ddp_find_unused_parameters": False,
}
"""TrainingArguments that every recipe starts from; a recipe's `training` section goes over them."""
CHOOSING = {
    "eval_strategy": "steps",
    "load_best_model_at_end": True,
    "metric_for_best_model": "R@1",
    "greater_is_better": True,
}
"""What validation data add: the best checkpoint is kept, and it is what the run ends with."""


def train(
    recipe: Recipe, output: Path, *, resume: bool = False, callbacks: list[TrainerCallback] | None = None
) -> PreTrainedModel:
    """Run a recipe. The output folder gets the recipe, `log.jsonl`, checkpoints and at last the model itself.

    Args:
        recipe: what to do.
        output: folder; created.
        resume: go on from the newest complete checkpoint in `output` (the weights end as if nothing had happened).
        callbacks: of transformers' Trainer, for progress.

    Returns:
        The trained model in evaluation mode, saved in `output`: that of the best validation where there is one.

    Raises:
        UsageError: the recipe names what does not exist, `resume` without a checkpoint, or a new run where one lies.
    """
    settings, source, objective = model_settings(recipe), data_settings(recipe), read_objective(recipe)
    finish = finish_settings(recipe)
    set_seed(recipe.seed)
    model = cast(PreTrainedModel, settings.build())
    checkpoint = newest_checkpoint(output) if resume else None
    if resume and checkpoint is None:
        raise UsageError(f"{output}: no checkpoint to resume from; leave --resume out to start anew")
    if not resume:
        _refuse_another_run(output)
        (output / BROKEN).unlink(missing_ok=True)  # of a run that was stopped before its first checkpoint
    trainer = _trainer(recipe, model, objective, source, output, callbacks or [])
    output.mkdir(parents=True, exist_ok=True)
    (output / "recipe.yaml").write_text(yaml.safe_dump(asdict(recipe), sort_keys=False), encoding="utf-8")
    began = time.perf_counter()
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    seconds = time.perf_counter() - began
    model.eval()
    trainer.save_model(str(output))
    if finish is not None:
        finish.run(model, recipe, output, trainer.state.global_step)
    summary = {"recipe": recipe.name, "steps": trainer.state.global_step, "seconds": round(seconds, 1)}
    if trainer.state.best_metric is not None:
        summary |= {"best_step": trainer.state.best_global_step, "best": trainer.state.best_metric}
    if trainer.training_data.report is not None:
        summary["data"] = dict(trainer.training_data.report)
    if len(trainer.broken):
        summary["broken"] = len(trainer.broken)
    (output / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return model


def _refuse_another_run(output: Path) -> None:
    """A new run beside an earlier one's checkpoints would overwrite its model, and `--resume` could mix them up.

    Raises:
        UsageError: the folder holds a finished run, or a checkpoint of one.
    """
    checkpoint = newest_checkpoint(output)
    if checkpoint is not None:
        raise UsageError(
            f"{output}: holds a run ({checkpoint.name}); --resume goes on with it, another --out begins a new one"
        )
    if (output / SUMMARY).is_file():
        raise UsageError(f"{output}: holds a finished run; name another --out")


def newest_checkpoint(output: Path) -> Path | None:
    """The checkpoint of the most steps that was written to its end: a run killed while saving leaves one that was not.

    transformers writes `trainer_state.json` last.
    """
    found = []
    for folder in output.glob("checkpoint-*"):
        try:
            found.append((json.loads((folder / "trainer_state.json").read_text("utf-8"))["global_step"], folder))
        except (OSError, ValueError, KeyError):
            continue
    return max(found, default=(0, None))[1]


def _trainer(
    recipe: Recipe,
    model: PreTrainedModel,
    objective: Objective[Any, Any],
    source: DataSource,
    output: Path,
    callbacks: list[TrainerCallback],
) -> PairTrainer:
    """Model, objective, data and arguments of a recipe, put together."""
    arguments = _arguments(recipe, output)
    broken = BrokenVideos(output / BROKEN)
    training_data = source.build(RunContext(model, objective, arguments, broken, recipe.seed))
    if training_data.skips_weights:
        arguments.ddp_find_unused_parameters = True
    logs = JsonLines(output / "log.jsonl")
    trainer = PairTrainer(model, objective, arguments, training_data, broken, callbacks=[logs, *callbacks])
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(recipe: Recipe, output: Path) -> PairArguments:
    """Arguments of a recipe; mixed precision is bf16 where the device multiplies it natively."""
    of_run = {
        "use_cpu": not torch.cuda.is_available(),
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "bf16": choose_dtype("auto", choose_device(None)) == torch.bfloat16,
    }
    choosing = CHOOSING if recipe.data.get("validation") else {}
    settings = {**SHARED, **of_run, **choosing, **training_settings(recipe)}
    if "report_to" not in settings:
        settings["report_to"] = tensorboard_where_installed()
    if choosing:
        settings.setdefault("eval_steps", settings.get("save_steps", 500))
    if not settings.get("dataloader_num_workers"):
        settings.pop("dataloader_prefetch_factor", None)  # nothing is fetched ahead without workers
    newer = "activation_checkpointing"  # transformers' new name, which the old one is about to give way to
    if newer in {f.name for f in fields(PairArguments)} and "gradient_checkpointing" in settings:
        settings[newer] = settings.pop("gradient_checkpointing")
    try:
        return PairArguments(output_dir=str(output), **settings)
    except ValueError as error:
        raise UsageError(f"recipe {recipe.name}: section 'training': {error}") from error
