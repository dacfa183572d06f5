"""Recipe overrides and training progress, for `mova train` and `mova reproduce`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mova.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress


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


def training_bar(progress: Progress) -> Any:
    """Return a Trainer callback that updates the progress bar with the step and the loss."""
    from transformers import TrainerCallback

    class Bar(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.task = progress.add_task("training", total=state.max_steps)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress.update(self.task, completed=state.global_step)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if logs and "loss" in logs:
                progress.update(self.task, description=f"loss {float(logs['loss']):.3f}")

    return Bar()
