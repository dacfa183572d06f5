"""Shared parts of data sources: the run that they are built for, and the settings of those that read a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from transformers import PreTrainedModel

from mova.errors import UsageError
from mova.train.callbacks import BrokenVideos
from mova.train.objectives.base import Objective
from mova.train.trainer import PairArguments, TrainingData


@dataclass(frozen=True)
class RunContext:
    """The run that a data source is built for."""

    model: PreTrainedModel
    objective: Objective[Any, Any]
    arguments: PairArguments
    """Batch sizes and workers; a source does not change them."""
    broken: BrokenVideos
    """Collects videos that cannot be read."""
    seed: int
    """Of the order of items and of all draws."""


class DataSource(Protocol):
    """Settings of section `data` of a recipe, as a frozen dataclass with one field per setting."""

    def check(self) -> None:
        """Raise for anything that can be found wrong before a model is loaded.

        Raises:
            UsageError: a setting that cannot work.
        """
        ...

    def build(self, run: RunContext) -> TrainingData:
        """Build data sets, collation, encoding and validation for one run.

        Raises:
            UsageError: a setting does not fit the model or the objective.
            DataError: the requested data are missing.
        """
        ...


@dataclass(frozen=True)
class ManifestSource:
    """Settings of all sources that read a manifest."""

    manifest: str | None = None
    """Path of a `manifest.jsonl` (`mova data convert` writes one)."""
    split: str = "train"
    """Split to train on."""
    validation: str | None = None
    """Split that chooses the best checkpoint; null keeps the last one."""
    quarantine: str | None = None
    """A list of `mova data check`, whose rows are excluded from both splits."""

    def check(self) -> None:
        """Raise unless the manifest exists.

        Raises:
            UsageError: it is not named, or does not exist.
        """
        if not Path(self.manifest or "").is_file():
            problem = f"{self.manifest} is not a file" if self.manifest else "needs your copy of the data"
            raise UsageError(f"{problem}; pass --data.manifest PATH/manifest.jsonl")

    @property
    def path(self) -> str:
        """The manifest's path, which `check` has found to exist."""
        assert self.manifest is not None
        return self.manifest
