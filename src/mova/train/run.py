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

from mova.errors import DataError, UsageError
from mova.models.encoder import DualEncoder
from mova.models.precision import choose_device, choose_dtype
from mova.train.callbacks import BrokenVideos, JsonLines, installed_trackers
from mova.train.objectives.base import Objective, PairObjective
from mova.train.recipe import Recipe, data_settings, finish_settings, model_settings, read_objective, training_settings
from mova.train.sources.base import DataSource, RunContext
from mova.train.trainer import PairArguments, PairTrainer
from mova.utils.tables import read_json

SUMMARY = "training.json"
"""Name of the summary of a run; it is written last."""
BROKEN = "broken.jsonl"
"""Name of the list of videos that could not be read."""
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
"""Default TrainingArguments; the section `training` of a recipe overrides them."""
CHOOSING = {
    "eval_strategy": "steps",
    "load_best_model_at_end": True,
    "metric_for_best_model": "R@1",
    "greater_is_better": True,
}
"""TrainingArguments that validation data add: the run ends with the best checkpoint."""


def train(
    recipe: Recipe, output: Path, *, resume: bool = False, callbacks: list[TrainerCallback] | None = None
) -> PreTrainedModel:
    """Train a model from a recipe.

    The output folder receives the recipe written out in full, `log.jsonl`, checkpoints, and at the end the model.

    Args:
        recipe: the run.
        output: folder of the run; created if missing.
        resume: continue from the newest complete checkpoint in `output`, with the weights of an unbroken run.
        callbacks: additional callbacks for transformers' Trainer.

    Returns:
        The trained model in evaluation mode, as saved in `output`: the best by validation if there is any.

    Raises:
        UsageError: a wrong setting, `resume` without a checkpoint, or a new run in a folder that holds one.

    >>> from mova.models.tiny_checkpoint import write_tiny_clip
    >>> from mova.train.recipe import load_recipe
    >>> model = str(write_tiny_clip("tiny-clip", ["a dog"]))  # random weights
    >>> settings = {"model.source": model, "data.manifest": "films/manifest.jsonl", "training.num_train_epochs": "1"}
    >>> model = train(load_recipe("own", settings), Path("run"))
    >>> (Path("run") / "model.safetensors").exists()
    True
    """
    settings, source, objective = model_settings(recipe), data_settings(recipe), read_objective(recipe)
    finish = finish_settings(recipe)
    set_seed(recipe.seed)
    model = cast(PreTrainedModel, settings.build())
    if isinstance(model, DualEncoder) and isinstance(objective, PairObjective) and objective.scoring_form:
        model.scoring_form = objective.scoring_form  # evaluation scores as training did
    checkpoint = newest_checkpoint(output) if resume else None
    if resume and checkpoint is None:
        raise UsageError(f"{output}: no checkpoint to resume from; omit --resume to start a new run")
    if not resume:
        _refuse_another_run(output)
        (output / BROKEN).unlink(missing_ok=True)  # of a run that was stopped before its first checkpoint
    trainer = _trainer(recipe, model, objective, source, output, callbacks or [])
    output.mkdir(parents=True, exist_ok=True)
    if trainer.is_world_process_zero():
        (output / "recipe.yaml").write_text(yaml.safe_dump(asdict(recipe), sort_keys=False), encoding="utf-8")
    began = time.perf_counter()
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    seconds = time.perf_counter() - began
    model.eval()
    trainer.save_model(str(output))
    if finish is not None:
        finish.run(model, recipe, output, trainer.state.global_step)
    if trainer.is_world_process_zero():
        summary = {"recipe": recipe.name, **_summary(trainer), "seconds": round(seconds, 1)}
        (output / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return model


def _summary(trainer: PairTrainer) -> dict[str, Any]:
    """Return what a finished run did, for its file."""
    state = trainer.state
    summary: dict[str, Any] = {"steps": state.global_step}
    if state.best_metric is not None:
        metric = trainer.args.metric_for_best_model
        summary |= {"metric": metric, "best_step": state.best_global_step, "best": state.best_metric}
    if trainer.training_data.report is not None:
        summary["data"] = dict(trainer.training_data.report)
    if len(trainer.broken):
        summary["broken"] = len(trainer.broken)
    return summary


def _refuse_another_run(output: Path) -> None:
    """Raise if the folder holds a run: a new one would overwrite its model, and `--resume` could mix them up.

    Raises:
        UsageError: the folder holds a finished run, or a checkpoint of one.
    """
    checkpoint = newest_checkpoint(output)
    if checkpoint is not None:
        raise UsageError(
            f"{output}: contains a run ({checkpoint.name}); continue it with --resume, or choose another --out"
        )
    if (output / SUMMARY).is_file():
        raise UsageError(f"{output}: contains a finished run; choose another --out")


def newest_checkpoint(output: Path) -> Path | None:
    """Return the newest complete checkpoint. A run that was killed while saving leaves an incomplete one.

    transformers writes `trainer_state.json` last.
    """
    complete = []
    for folder in output.glob("checkpoint-*"):
        try:
            complete.append((int(read_json(folder / "trainer_state.json")["global_step"]), folder))
        except (DataError, ValueError, LookupError, TypeError, OverflowError):
            continue
    return max(complete, default=(0, None))[1]


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
    """Build the trainer's arguments from a recipe; mixed precision is bf16 if the device supports it natively."""
    of_run = {
        "use_cpu": not torch.cuda.is_available(),
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "bf16": choose_dtype("auto", choose_device(None)) == torch.bfloat16,
    }
    choosing = CHOOSING if recipe.data.get("validation") else {}
    settings = {**SHARED, **of_run, **choosing, **training_settings(recipe)}
    if "report_to" not in settings:
        settings["report_to"] = installed_trackers()
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
