"""From a recipe to a trained model in a folder."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback, TrainingArguments, set_seed

from mova.errors import UsageError
from mova.train.arguments import Recipe
from mova.train.objectives import build_objective
from mova.train.trainer import Batch, JsonLines, PairTrainer

SHARED = {
    "bf16": True,
    "lr_scheduler_type": "cosine",
    "logging_steps": 50,
    "save_total_limit": 2,
    "report_to": [],
    "per_device_train_batch_size": 1,
    "num_train_epochs": 1,
    "remove_unused_columns": False,
    "disable_tqdm": True,
}
"""TrainingArguments that every recipe starts from; a recipe's `training` section goes over them."""


@dataclass(frozen=True)
class Kind:
    """How a model kind is built for training, which keys of a batch its forward takes, and what follows training."""

    build: Callable[[Mapping[str, Any]], PreTrainedModel]
    model_inputs: tuple[str, ...]
    finish: Callable[[Any, Recipe, Path, int], None]
    """(model, recipe, output folder, steps): measures and saves."""
    finish_arguments: Callable[[], Mapping[str, Any]]
    """What the recipe's section `finish` may hold."""


def _worlds_tiny(settings: Mapping[str, Any]) -> PreTrainedModel:
    from mova.data.worlds_batches import factor_sizes, vocabulary
    from mova.models.worlds_tiny import WorldsTiny, WorldsTinyConfig

    known = inspect.signature(WorldsTinyConfig).parameters
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise UsageError(f"section 'model': worlds-tiny has no {', '.join(unknown)}; it has {', '.join(known)}")
    model = WorldsTiny(WorldsTinyConfig(vocabulary=vocabulary(), factors=factor_sizes(), **settings))
    model.frame_tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _finish_worlds_tiny(model: Any, recipe: Recipe, output: Path, steps: int) -> None:
    from mova.train.finish import finish_worlds_tiny

    finish_worlds_tiny(model, recipe, output, steps)


def _finish_arguments_worlds_tiny() -> Mapping[str, Any]:
    from mova.eval.worlds import evaluate_worlds

    return {k: v for k, v in inspect.signature(evaluate_worlds).parameters.items() if k != "model"}


def _worlds(settings: Mapping[str, Any], seed: int) -> Dataset[Batch]:
    from mova.data.worlds_batches import WorldsBatches

    return WorldsBatches(seed=seed, **settings)


MODELS: dict[str, Kind] = {
    "worlds-tiny": Kind(
        _worlds_tiny,
        ("stacks", "input_ids", "attention_mask"),
        _finish_worlds_tiny,
        _finish_arguments_worlds_tiny,
    )
}
DATA: dict[str, Callable[[Mapping[str, Any], int], Dataset[Batch]]] = {"worlds": _worlds}


def train(
    recipe: Recipe, output: Path, *, resume: bool = False, callbacks: list[TrainerCallback] | None = None
) -> PreTrainedModel:
    """Run a recipe. The output folder gets the recipe, `log.jsonl`, checkpoints and at last the model itself.

    Args:
        recipe: what to do.
        output: folder; created.
        resume: go on from the newest checkpoint in `output` (the weights end as if nothing had happened).
        callbacks: of transformers' Trainer, for progress.

    Returns:
        The trained model in evaluation mode, saved in `output`.

    Raises:
        UsageError: the recipe names what does not exist, or `resume` without a checkpoint.
    """
    set_seed(recipe.seed)
    kind, model = _build(recipe, "model", MODELS)
    _, dataset = _build(recipe, "data", DATA)
    unknown = sorted(set(recipe.finish) - set(kind.finish_arguments()))
    if unknown:
        known = ", ".join(kind.finish_arguments())
        raise UsageError(f"recipe {recipe.name}: section 'finish' has no {', '.join(unknown)}; it has {known}")
    if resume and not any(output.glob("checkpoint-*")):
        raise UsageError(f"{output}: no checkpoint to resume from; leave --resume out to start anew")
    output.mkdir(parents=True, exist_ok=True)
    (output / "recipe.yaml").write_text(yaml.safe_dump(asdict(recipe), sort_keys=False), encoding="utf-8")
    trainer = PairTrainer(
        model=model,
        objective=build_objective(recipe.objective),
        model_inputs=kind.model_inputs,
        args=_arguments(recipe, output),
        train_dataset=dataset,
        callbacks=[JsonLines(output / "log.jsonl"), *(callbacks or [])],
    )
    trainer.remove_callback(PrinterCallback)
    began = time.perf_counter()
    trainer.train(resume_from_checkpoint=resume or None)
    seconds = time.perf_counter() - began
    model.eval()
    trainer.save_model(str(output))
    kind.finish(model, recipe, output, trainer.state.global_step)
    summary = {"recipe": recipe.name, "steps": trainer.state.global_step, "seconds": round(seconds, 1)}
    (output / "training.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return model


def _build(recipe: Recipe, section: str, table: Mapping[str, Any]) -> tuple[Any, Any]:
    """Look the section's kind up and call its builder, with errors that name the section."""
    settings = dict(getattr(recipe, section))
    name = settings.pop("kind")
    if name not in table:
        raise UsageError(f"recipe {recipe.name}: {section}.kind {name!r} is not known; there are {', '.join(table)}")
    entry = table[name]
    try:
        built = entry.build(settings) if isinstance(entry, Kind) else entry(settings, recipe.seed)
    except TypeError as error:
        raise UsageError(f"recipe {recipe.name}: section '{section}': {error}") from error
    return entry, built


def _arguments(recipe: Recipe, output: Path) -> TrainingArguments:
    """TrainingArguments of a recipe."""
    own = {"use_cpu": not torch.cuda.is_available(), "seed": recipe.seed, "data_seed": recipe.seed}
    settings = {**SHARED, **own, **recipe.training}
    try:
        return TrainingArguments(output_dir=str(output), **settings)
    except (TypeError, ValueError) as error:
        raise UsageError(f"recipe {recipe.name}: section 'training': {error}") from error
