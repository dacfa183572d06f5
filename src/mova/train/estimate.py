"""What a run will need, measured with its first steps in a temporary folder."""

from __future__ import annotations

import math
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from mova.train.recipe import Recipe
from mova.train.run import SHARED, train

MEASURED = 4
"""Least number of steps; the first one, which starts the readers, does not count for time."""
MOST_MEASURED, SETTLED, GROWTH = 24, 4, 1.02
"""On processors memory grows with every new shape of a batch: steps go on until the peak has grown by less than this
factor in the last `SETTLED` steps, and at most until `MOST_MEASURED`."""
QUIET = {
    "eval_strategy": "no",
    "load_best_model_at_end": False,
    "save_strategy": "no",
    "logging_steps": 1,
    "report_to": [],
}


@dataclass(frozen=True)
class Estimate:
    """What a run will need.

    Attributes:
        steps: of the whole run.
        clips: per step, over all processes and accumulated batches.
        seconds_per_step: without validation and saving; NaN if the run has one step only.
        waiting: share of this time in which the loop waits for data.
        memory: peak bytes of this process, on its GPU if it has one.
        worker_memory: peak bytes of the largest child, with what it shares with this process; 0 without children.
        checkpoint, model: bytes of one checkpoint, and of the model at the end.
        checkpoints: the most that are on disk at a time.
        on_gpu: whether `memory` is that of a GPU.
        measured: number of steps that were measured.

    >>> sizes = dict(checkpoint=3 << 30, model=1 << 30, checkpoints=3)
    >>> run = Estimate(1000, 64, 2.0, 0.1, 8 << 30, 0, **sizes, on_gpu=True, measured=4)
    >>> run.seconds, run.clips_per_second, run.disk >> 30
    (2000.0, 32.0, 10)
    """

    steps: int
    clips: int
    seconds_per_step: float
    waiting: float
    memory: int
    worker_memory: int
    checkpoint: int
    model: int
    checkpoints: int
    on_gpu: bool
    measured: int

    @property
    def seconds(self) -> float:
        """The whole run, without validation and saving."""
        return self.steps * self.seconds_per_step

    @property
    def clips_per_second(self) -> float:
        """Clips per second, over all processes."""
        return self.clips / self.seconds_per_step

    @property
    def disk(self) -> int:
        """The most bytes on disk at a time."""
        return self.checkpoints * self.checkpoint + self.model


def estimate(recipe: Recipe) -> Estimate:
    """Train the first steps of a recipe, with its model and data, and measure them. Nothing is kept.

    Raises:
        UsageError, DataError: as `mova.train.run.train`.
    """
    on_gpu = torch.cuda.is_available() and not recipe.training.get("use_cpu")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    measure = _Measure(on_gpu)
    short = replace(recipe, training={**recipe.training, **QUIET}, finish={})
    with tempfile.TemporaryDirectory(prefix="mova-estimate-") as folder:
        train(short, Path(folder), callbacks=[measure])
        checkpoint = sum(_size(path) for path in Path(folder).glob("checkpoint-*"))
        model = _size(Path(folder))
    times = [after - before for before, after in zip(measure.times, measure.times[1:], strict=False)]
    own, workers = _peak_memory()
    return Estimate(
        steps=measure.steps,
        clips=measure.clips,
        seconds_per_step=sum(times) / len(times) if times else math.nan,
        waiting=sum(measure.waiting[1:]) / len(times) if times else math.nan,
        memory=torch.cuda.max_memory_reserved() if on_gpu else own,
        worker_memory=workers,
        checkpoint=checkpoint,
        model=model,
        checkpoints=_kept(recipe, measure.steps),
        on_gpu=on_gpu,
        measured=len(measure.peaks),
    )


class _Measure(TrainerCallback):
    """Times of the first steps, after which the run is saved and stopped."""

    def __init__(self, on_gpu: bool) -> None:
        self.on_gpu = on_gpu
        self.steps = self.clips = 0
        self.times: list[float] = []
        self.waiting: list[float] = []
        self.peaks: list[int] = []
        self.alone = True

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the size of the run."""
        self.steps, self.alone = state.max_steps, args.world_size == 1
        self.clips = args.per_device_train_batch_size * args.world_size * args.gradient_accumulation_steps

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the time; save and stop after the last measured step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        self.peaks.append(_peak_memory()[0])
        if state.global_step >= state.max_steps or self._settled():
            control.should_save = control.should_training_stop = True

    def _settled(self) -> bool:
        """Return whether enough steps are measured; several processes must agree, so they do not look at peaks."""
        done = len(self.peaks)
        if self.on_gpu:
            return done >= MEASURED
        if done >= MOST_MEASURED or done < max(MEASURED, SETTLED + 1):
            return done >= MOST_MEASURED
        return self.alone and self.peaks[-1] < GROWTH * self.peaks[-1 - SETTLED]

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Note the share of time without data."""
        if logs and "waiting" in logs:
            self.waiting.append(logs["waiting"])


def _kept(recipe: Recipe, steps: int) -> int:
    """Return the most checkpoints on disk at a time: a new one is written before the oldest is deleted."""
    settings = {"save_steps": 500, **SHARED, **recipe.training}
    every = settings["save_steps"] if settings["save_steps"] >= 1 else steps * settings["save_steps"]
    written = max(1, math.ceil(steps / max(every, 1)))
    limit = settings["save_total_limit"]
    return written if limit is None else min(written, limit + 1)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _peak_memory() -> tuple[int, int]:
    """Return the peak memory in bytes of this process, and of its workers (0 on Windows, which does not tell)."""
    try:
        import resource
    except ImportError:
        import psutil

        return int(psutil.Process().memory_info().peak_wset), 0
    unit = 1 if sys.platform == "darwin" else 1024
    own, workers = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own * unit, workers * unit
