"""From a recipe to a trained model in a folder."""

from __future__ import annotations

import inspect
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
from mova.models.precision import choose_device, choose_dtype
from mova.train.callbacks import BrokenVideos, JsonLines, tensorboard_where_installed
from mova.train.objectives.base import Inputs, Objective, Vectors
from mova.train.objectives.pairs import PairObjective
from mova.train.objectives.registry import build_objective
from mova.train.objectives.synvita import Synvita
from mova.train.param_groups import freeze_bias
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
class Kind:
    """How a model kind is built for training, and what follows training."""

    build: Callable[[Mapping[str, Any]], PreTrainedModel]
    finish: Callable[[Any, Recipe, Path, int], None]
    """(model, recipe, output folder, steps): measures and saves what the Trainer has not saved."""
    finish_arguments: Callable[[], Mapping[str, Any]]
    """What the recipe's section `finish` may hold."""


@dataclass(frozen=True)
class Setting:
    """What a kind of data is built for."""

    recipe: Recipe
    model: PreTrainedModel
    objective: Objective
    arguments: PairArguments
    broken: BrokenVideos


def _worlds_tiny(settings: Mapping[str, Any]) -> PreTrainedModel:
    from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
    from mova.worlds.batches import factor_sizes, vocabulary

    known = inspect.signature(WorldsTinyConfig).parameters
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise UsageError(f"section 'model': worlds-tiny has no {', '.join(unknown)}; it has {', '.join(known)}")
    model = WorldsTiny(WorldsTinyConfig(vocabulary=vocabulary(), factors=factor_sizes(), **settings))
    model.frame_tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _finish_worlds_tiny(model: Any, recipe: Recipe, output: Path, steps: int) -> None:
    from mova.train.publish import finish_worlds_tiny

    finish_worlds_tiny(model, recipe, output, steps)


def _finish_arguments_worlds_tiny() -> Mapping[str, Any]:
    from mova.eval.tasks.worlds import evaluate_worlds

    return {k: v for k, v in inspect.signature(evaluate_worlds).parameters.items() if k != "model"}


def _two_tower(settings: Mapping[str, Any]) -> PreTrainedModel:
    from mova.models.two_tower.model import TwoTower

    options = dict(settings)
    source = options.pop("source")
    model = TwoTower.from_backbone(source, precision="fp32", device="cpu", **options)
    freeze_bias(model)
    return model


def _mova(settings: Mapping[str, Any]) -> PreTrainedModel:
    """Masks around the backbone that `source` names: a checkpoint, or the folder of an earlier stage."""
    from mova.models.mova.model import Mova
    from mova.train.warm_start import around_saved, is_saved

    options = dict(settings)
    source, preset = str(options.pop("source")), options.pop("preset", "subsets")
    length = options.pop("text_length", None)
    if is_saved(source):
        return around_saved(source, preset, length, options)
    return Mova.around(_two_tower({"source": source, "text_length": length}), preset, **options)


def _gexia(settings: Mapping[str, Any]) -> PreTrainedModel:
    """Iterative approximation around the backbone that `source` names, or an earlier stage of it."""
    from mova.models.gexia.model import Gexia
    from mova.train.warm_start import gexia_from_saved, is_saved

    options = dict(settings)
    source, freeze, scratch = str(options.pop("source")), options.pop("freeze", "none"), options.pop("scratch", False)
    length = options.pop("text_length", None)
    if is_saved(source):
        model = gexia_from_saved(source, length, options)
    else:
        model = Gexia.around(_two_tower({"source": source, "text_length": length}), **options)
    if scratch:
        model.randomise_encoders()
    return model.freeze(freeze)


def _video_llm(settings: Mapping[str, Any]) -> Any:
    """PEFT's wrapper of the video LLM that `source` names, with fresh adapters, or those of an earlier run."""
    from mova.train.sources.triplets import adapted

    return adapted(**settings)


def _nothing(model: Any, recipe: Recipe, output: Path, steps: int) -> None:
    """The Trainer has saved the model; how good it is, `mova eval` says."""


def _worlds(settings: Mapping[str, Any], setting: Setting) -> TrainingData:
    from mova.worlds.batches import WorldsBatches

    return TrainingData(WorldsBatches(seed=setting.recipe.seed, **settings), _only_item, _encode_worlds)


def _encode_worlds(model: nn.Module, batch: Inputs) -> Vectors:
    return model(**{key: batch[key] for key in WORLDS_INPUTS})


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


MODELS: dict[str, Kind] = {
    "worlds-tiny": Kind(_worlds_tiny, _finish_worlds_tiny, _finish_arguments_worlds_tiny),
    "two-tower": Kind(_two_tower, _nothing, dict),
    "mova": Kind(_mova, _nothing, dict),
    "gexia": Kind(_gexia, _nothing, dict),
    "video-llm": Kind(_video_llm, _nothing, dict),
}
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
    kind, model = _build(recipe, "model", MODELS)
    unknown = sorted(set(recipe.finish) - set(kind.finish_arguments()))
    if unknown:
        known = ", ".join(kind.finish_arguments()) or "nothing"
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
    kind.finish(model, recipe, output, trainer.state.global_step)
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


def _objective(recipe: Recipe) -> Objective:
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
    recipe: Recipe, model: PreTrainedModel, objective: Objective, output: Path, callbacks: list[TrainerCallback]
) -> PairTrainer:
    """Model, objective, data and arguments of a recipe, put together."""
    arguments = _arguments(recipe, output)
    broken = BrokenVideos(output / BROKEN)
    _, training_data = _build(recipe, "data", DATA, Setting(recipe, model, objective, arguments, broken))
    logs = JsonLines(output / "log.jsonl")
    trainer = PairTrainer(model, objective, arguments, training_data, broken, callbacks=[logs, *callbacks])
    trainer.remove_callback(PrinterCallback)
    return trainer


def _build(recipe: Recipe, section: str, table: Mapping[str, Any], *more: Any) -> tuple[Any, Any]:
    """Look the section's kind up and call its builder, with errors that name the section."""
    settings = dict(getattr(recipe, section))
    name = settings.pop("kind")
    if name not in table:
        raise UsageError(f"recipe {recipe.name}: {section}.kind {name!r} is not known; there are {', '.join(table)}")
    entry = table[name]
    build = entry.build if isinstance(entry, Kind) else entry
    try:
        return entry, build(settings, *more)
    except (TypeError, KeyError) as error:
        raise UsageError(f"recipe {recipe.name}: section '{section}': {refused_setting(error, build)}") from error


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
