"""From a recipe to a trained model in a folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback, set_seed

from mova.data.dataset import PairDataset
from mova.data.granularity_batches import GranularPairs
from mova.data.labelled import LabelledVideos
from mova.data.triplets import TripletVideos
from mova.errors import UsageError
from mova.models.families import FAMILIES
from mova.models.precision import choose_device, choose_dtype
from mova.train.callbacks import BrokenVideos, JsonLines, tensorboard_where_installed
from mova.train.objectives.base import Objective, Tensors
from mova.train.objectives.pairs import PairObjective
from mova.train.objectives.registry import build_objective
from mova.train.objectives.synvita import Synvita
from mova.train.publish import POST_TRAINING
from mova.train.recipe import Recipe, refused_setting
from mova.train.trainer import PairArguments, PairTrainer, TrainingData

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
WORLDS_INPUTS = ("stacks", "input_ids", "attention_mask")


@dataclass(frozen=True)
class Setting:
    """What a kind of data is built for."""

    recipe: Recipe
    model: PreTrainedModel
    objective: Objective[Any, Any]
    arguments: PairArguments
    broken: BrokenVideos


def _worlds(settings: Mapping[str, Any], setting: Setting) -> TrainingData:
    from mova.worlds.batches import WorldsBatches

    return TrainingData(WorldsBatches(seed=setting.recipe.seed, **settings), _only_item, _encode_worlds)


def _encode_worlds(model: nn.Module, batch: Tensors) -> dict[str, Any]:
    return dict(model(**{key: batch[key] for key in WORLDS_INPUTS}))


def _labels(settings: Mapping[str, Any], setting: Setting) -> TrainingData:
    from mova.train.sources.labelled import build_labels

    return build_labels(setting.model, setting.arguments, setting.broken, seed=setting.recipe.seed, **settings)


def _only_item(items: list[Any]) -> Any:
    """The data set's item is the batch."""
    (batch,) = items
    return batch


def _manifest(settings: Mapping[str, Any], setting: Setting) -> TrainingData:
    from mova.train.sources.pairs import build_pairs

    assert isinstance(setting.objective, PairObjective)
    return build_pairs(
        setting.model, setting.objective, setting.arguments, setting.broken, seed=setting.recipe.seed, **settings
    )


def _triplets(settings: Mapping[str, Any], setting: Setting) -> TrainingData:
    from mova.train.sources.triplets import build_triplets

    assert isinstance(setting.objective, Synvita)
    return build_triplets(
        setting.model, setting.objective, setting.arguments, setting.broken, seed=setting.recipe.seed, **settings
    )


DATA: dict[str, Callable[[Mapping[str, Any], Setting], TrainingData]] = {
    "worlds": _worlds,
    "manifest": _manifest,
    "labels": _labels,
    "triplets": _triplets,
}


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
    objective = _objective(recipe)
    set_seed(recipe.seed)
    model = build_model(recipe)
    step = POST_TRAINING.get(recipe.model["kind"])
    settings = () if step is None else step.settings()
    unknown = sorted(set(recipe.finish) - set(settings))
    if unknown:
        known = ", ".join(settings) or "nothing"
        raise UsageError(f"recipe {recipe.name}: section 'finish' has no {', '.join(unknown)}; it has {known}")
    checkpoint = newest_checkpoint(output) if resume else None
    if resume and checkpoint is None:
        raise UsageError(f"{output}: no checkpoint to resume from; leave --resume out to start anew")
    if not resume:
        _refuse_another_run(output)
        (output / BROKEN).unlink(missing_ok=True)  # of a run that was stopped before its first checkpoint
    trainer = _trainer(recipe, model, objective, output, callbacks or [])
    output.mkdir(parents=True, exist_ok=True)
    (output / "recipe.yaml").write_text(yaml.safe_dump(asdict(recipe), sort_keys=False), encoding="utf-8")
    began = time.perf_counter()
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    seconds = time.perf_counter() - began
    model.eval()
    trainer.save_model(str(output))
    if step is not None:
        step.run(model, recipe, output, trainer.state.global_step)
    summary = {"recipe": recipe.name, "steps": trainer.state.global_step, "seconds": round(seconds, 1)}
    if trainer.state.best_metric is not None:
        summary |= {"best_step": trainer.state.best_global_step, "best": trainer.state.best_metric}
    if isinstance(trainer.train_dataset, PairDataset | GranularPairs | TripletVideos | LabelledVideos):
        summary["data"] = trainer.train_dataset.to_json()
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


def _objective(recipe: Recipe) -> Objective[Any, Any]:
    """The objective of a recipe, and what can be seen to be wrong before a model is fetched."""
    objective, kind = build_objective(recipe.objective), recipe.data["kind"]
    if kind in DATA and objective.data != kind:
        name = recipe.objective["kind"]
        raise UsageError(f"recipe {recipe.name}: objective {name} reads data of kind {objective.data}, not {kind}")
    if kind in ("manifest", "labels", "triplets") and not Path(recipe.data.get("manifest") or "").is_file():
        named = recipe.data.get("manifest")
        what = f"{named} is no file" if named else "needs your copy of the data"
        raise UsageError(f"recipe {recipe.name}: {what}; say --data.manifest PATH/manifest.jsonl")
    return objective


def _trainer(
    recipe: Recipe,
    model: PreTrainedModel,
    objective: Objective[Any, Any],
    output: Path,
    callbacks: list[TrainerCallback],
) -> PairTrainer:
    """Model, objective, data and arguments of a recipe, put together."""
    arguments = _arguments(recipe, output)
    broken = BrokenVideos(output / BROKEN)
    training_data = _build_data(recipe, Setting(recipe, model, objective, arguments, broken))
    logs = JsonLines(output / "log.jsonl")
    trainer = PairTrainer(model, objective, arguments, training_data, broken, callbacks=[logs, *callbacks])
    trainer.remove_callback(PrinterCallback)
    return trainer


def build_model(recipe: Recipe) -> PreTrainedModel:
    """Build the model that a recipe names.

    Raises:
        UsageError: the kind or a setting is unknown, or a setting does not fit.
        ModelError: the model's source cannot be found or loaded.
    """
    settings = dict(recipe.model)
    name = settings.pop("kind")
    if name not in FAMILIES:
        raise UsageError(f"recipe {recipe.name}: model.kind {name!r} is not known; there are {', '.join(FAMILIES)}")
    try:
        build = FAMILIES[name].settings(settings)
    except UsageError as error:
        raise UsageError(f"recipe {recipe.name}: section 'model': {error}") from error
    return build.build()


def _build_data(recipe: Recipe, setting: Setting) -> TrainingData:
    """Look the kind of data up and call its builder, with errors that name the section."""
    settings = dict(recipe.data)
    name = settings.pop("kind")
    if name not in DATA:
        raise UsageError(f"recipe {recipe.name}: data.kind {name!r} is not known; there are {', '.join(DATA)}")
    try:
        return DATA[name](settings, setting)
    except (TypeError, KeyError) as error:
        raise UsageError(f"recipe {recipe.name}: section 'data': {refused_setting(error, DATA[name])}") from error


def _arguments(recipe: Recipe, output: Path) -> PairArguments:
    """Arguments of a recipe; mixed precision is bf16 where the device multiplies it natively."""
    own = {
        "use_cpu": not torch.cuda.is_available(),
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "bf16": choose_dtype("auto", choose_device(None)) == torch.bfloat16,
    }
    choosing = CHOOSING if recipe.data.get("validation") else {}
    settings = {**SHARED, **own, **choosing, **recipe.training}
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
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"recipe {recipe.name}: section 'training': {refused_setting(error, PairArguments)}"
        ) from error
