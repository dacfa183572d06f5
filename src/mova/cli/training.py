"""Recipe overrides, the help page of a recipe, and training progress, for `mova train` and `mova reproduce`."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.cli.console import Bar
    from mova.train.recipe import Recipe
    from mova.utils.settings import SettingHelp


def parse_overrides(arguments: list[str]) -> dict[str, str]:
    """Parse recipe overrides: the `--key value` and `--key=value` arguments that are not options of the command.

    Raises:
        UsageError: an argument is not of that form.

    Example:
        >>> parse_overrides(["--training.max_steps", "10", "--seed=3"])
        {'training.max_steps': '10', 'seed': '3'}
    """
    pairs: dict[str, str] = {}
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if not word.startswith("--"):
            raise UsageError(f"{word!r}: overrides have the form --section.key value")
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not queue:
                raise UsageError(f"--{key}: the value is missing")
            value = queue.pop(0)
        pairs[key] = value
    return pairs


def require_reproducible(
    name: str, data: Path | None, overrides: Mapping[str, str], *, one_step: bool, zero_shot: bool, figure: str
) -> bool:
    """Find wrong input of `mova reproduce` before anything heavy is imported.

    Returns:
        Whether the recipe's tables have several tests (a suite).

    Raises:
        UsageError: no such recipe, one without a published result, `data` together with `one_step`, or a missing run of
            an earlier stage.
        DataError: the data are missing.
    """
    from mova.data.readers.publishers import publisher_folders
    from mova.data.readers.registry import DATA_SETS
    from mova.train.recipe_files import read_document, require_stage, require_target

    path, document = read_document(name, overrides)
    title, target = document.get("name", path.stem), document.get("reproduce")
    require_target(title, target)
    suite = isinstance(target, dict) and "suite" in target
    if suite and one_step:
        raise UsageError(
            f"{name} has no --one-step; `mova train {name} --estimate` tries the first steps of its training"
        )
    if suite:
        from mova.reproduce.suite_files import require_suite_files

        strategy = (document.get("objective") or {}).get("strategy")
        synthetic = "none" not in (strategy, figure)
        require_suite_files(title, data, trained=not zero_shot, synthetic=synthetic)
    elif not one_step and isinstance(target, dict) and target.get("data_set") in DATA_SETS:
        publisher_folders(name, target["data_set"], data)
    if not one_step and isinstance(target, dict):
        of_figure = (target.get("variants") or {}).get(figure, {})
        source = (document.get("model") or {}).get("source")
        require_stage(title, source if "model.source" in overrides else of_figure.get("model.source", source))
    return suite


def describe_recipe(recipe: Recipe) -> str:
    """Return a help page: every setting of the recipe's sections with its type, value and meaning."""
    from mova.train.recipe import settings_class
    from mova.train.trainer import PairArguments
    from mova.utils.settings import describe_settings

    lines = [f"{recipe.name}: {recipe.description}", ""]
    for section in ("model", "data", "objective", "finish", "training"):
        values = getattr(recipe, section)
        settings = describe_settings(settings_class(recipe, section))
        if section == "training":
            settings = [s for s in settings if s.name in {*values, *PairArguments.__annotations__}]
        if settings:
            kind = f" (kind {values['kind']})" if "kind" in values else ""
            lines += [f"section {section}{kind}", *_rows(section, settings, values), ""]
    lines.append("section training also takes any other field of transformers.TrainingArguments")
    return "\n".join(lines)


def _rows(section: str, settings: list[SettingHelp], values: Mapping[str, Any]) -> Iterator[str]:
    width = min(shutil.get_terminal_size().columns, 120)
    for setting in settings:
        value = values.get(setting.name, setting.default)
        origin = "now" if setting.name in values else "default"
        state = "must be set" if value is MISSING else f"{origin} {json.dumps(value, ensure_ascii=False, default=str)}"
        yield f"  --{section}.{setting.name}  {setting.type}, {state}"
        yield from textwrap.wrap(setting.text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)


def training_bar(progress: Bar) -> Any:
    """Return a Trainer callback that updates the progress bar with the step and the loss."""
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        loss = ""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.task = progress.add_task("training", total=state.max_steps)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            line = f"training: step {state.global_step} of {state.max_steps}{self.loss and f', {self.loss}'}"
            progress.update(self.task, completed=state.global_step, line=line)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            """Keep the loss for the next line."""
            if logs and "loss" in logs:
                self.loss = f"loss {float(logs['loss']):.3f}"
                if "clips_per_second" in logs:
                    self.loss += f", {logs['clips_per_second']:.1f} clips/s"
                progress.update(self.task, description=self.loss)

    return Steps()
