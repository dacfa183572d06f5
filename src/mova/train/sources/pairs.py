"""Data of kind `manifest`: pairs of video and text, from any manifest and for any model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from mova.data.batch import Collator
from mova.data.columns.selection import RowFilter, open_rows, split_names, split_rows
from mova.data.columns.table import RowTable
from mova.data.dataset import PairDataset, PairSampler
from mova.data.feature_store import FeatureStore
from mova.data.granularity import LengthRule
from mova.data.granularity_batches import (
    GranularityBatchSampler,
    GranularitySettings,
    MixedPairDataset,
    read_granularities,
)
from mova.data.readers.annotations import origins
from mova.data.row_texts import require_mode
from mova.data.shards.order import TOGETHER
from mova.distributed import world_size
from mova.errors import UsageError
from mova.features.stored import feature_key
from mova.models.encoder import DualEncoder
from mova.models.families import input_adapter
from mova.train.objectives.base import ModelEncoder, PairObjective
from mova.train.sources.base import ManifestSource, RunContext
from mova.train.sources.hold_out import held_out_ids
from mova.train.trainer import PairArguments, TrainingData
from mova.train.validation import TASKS, RetrievalValidation, TaskValidation, draw_rows
from mova.types import Pixels
from mova.video.reader import FrameRule

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairSource(ManifestSource):
    """Settings of data kind `manifest`."""

    hold_out: float = 0.0
    """Share of the source videos of `split` to hold out if the manifest has no rows of split `validation`; 0: none."""
    validation_rows: int | None = None
    """Maximum number of rows to validate on, drawn once by the seed; null: all of the split."""
    captions: str = "paragraph"
    """Texts that a row is paired with, see `data/row_texts.py: CAPTIONS`; validation has one text per video."""
    template: str | None = None
    """Text of an option (captions `answer`) or a class (`action`), see `data/row_texts.py`; null: as in evaluation."""
    view: str | None = None
    """Only rows with this `meta.view`, "first" or "third" (Charades-Ego); null: all."""
    frames: int = 64
    """Number of frames per video; with `fps`, the maximum number."""
    rule: str | None = None
    """Named rule that chooses the frames, see `video/sampling.py: RULES`; exactly one of `rule` and `fps`."""
    fps: float | None = None
    """Frames per second; exactly one of `rule` and `fps`."""
    features: str | None = None
    """Folder of a feature store: frame vectors are read from it, and the model's video tower is frozen."""
    open_shards: int = TOGETHER
    """Number of shards (`.tar`) whose pairs are shuffled together, one group of shards after another; 0: all pairs."""
    granularities: Mapping[str, Mapping[str, Any]] | None = None
    """Name -> {frames, share}: every batch is of one granularity (`data/granularity_batches.py`); replaces `frames`."""

    def check(self) -> None:
        """See `ManifestSource`; captions and template must fit."""
        super().check()
        require_mode(self.captions, self.template)
        if self.validation_rows is not None and self.validation_rows < 2:
            raise UsageError(f"data.validation_rows must be at least 2, not {self.validation_rows}")
        if self.open_shards < 0:
            raise UsageError(f"data.open_shards must be 0 or more, not {self.open_shards}")

    def build(self, run: RunContext) -> TrainingData:
        """See `DataSource`. With `features`, the model's video tower is frozen.

        Raises:
            UsageError: a rule of frames that does not fit the model or the store, texts of classes that the objective
                cannot compare, or fewer pairs than a batch.
            DataError: the manifest or the store lacks the requested data.
            IndexMismatchError: the store was made by another video tower, preprocessing or sampling.
        """
        model, objective, arguments = run.model, run.objective, run.arguments
        assert isinstance(objective, PairObjective)
        if self.captions == "action" and not objective.by_matches:
            raise UsageError(
                "data.captions action: the objective cannot compare texts of classes; use vtc or clip4clip"
            )
        if isinstance(model, DualEncoder):
            model.check_rate(self.fps)
        adapter = input_adapter(model, stored=self.features is not None)
        granules = read_granularities(self.granularities)
        store = None
        if self.features is not None:
            store = stored_only(model, self.features, FrameRule(self.frames, self.rule, self.fps))
        reader = _PairReader(
            self,
            run.seed,
            granules,
            adapter.lengths,
            adapter.resize if store is None else None,
            store,
        )
        held_out_rows = self._held_out_rows()
        validate: Callable[[ModelEncoder[Any, Any]], dict[str, float]] | None = None
        dataset = reader.read(self.split, self.captions, RowFilter(self.view, without=held_out_rows))
        where = f"{self.manifest}: split {self.split!r}"
        sampler = _sampler(dataset, granules, arguments, where, run.seed, self.open_shards)
        collate = Collator(adapter, objective.units)
        if self.validation is not None and self.captions in TASKS:
            validate = self._task_validation(run, granules, held_out_rows)
        elif self.validation is not None:
            mode = self.captions if self.captions in ("paragraph", "first", "sentence") else "paragraph"
            if held_out_rows:
                held_out = reader.read(self.split, mode, RowFilter(self.view, only=held_out_rows))
            else:
                held_out = reader.read(self.validation, mode, RowFilter(self.view))
                _warn_of_leaks(dataset, held_out)
            size, workers = arguments.per_device_eval_batch_size, arguments.dataloader_num_workers
            drawn = draw_rows(held_out, self.validation_rows, run.seed)
            validate = RetrievalValidation(drawn, collate, objective, size, workers, run.broken)
        skips = granules is not None and adapter.adapt_to_granularities(
            model, {name: granule.frames for name, granule in granules.items()}
        )
        report = dataset.to_json()
        if held_out_rows:
            report["held_out"] = {"share": self.hold_out, "rows": sorted(held_out_rows)}
        return TrainingData(dataset, collate, adapter.encode, sampler, validate, report, skips)

    def _task_validation(
        self, run: RunContext, granules: Mapping[str, GranularitySettings] | None, held_out: frozenset[str]
    ) -> TaskValidation:
        """Validation by the task that evaluation measures: multiple choice, or mAP over classes."""
        if not isinstance(run.model, DualEncoder):
            raise UsageError(
                f"data.validation: {type(run.model).__name__} cannot be validated by captions {self.captions}"
            )
        frames = self.frames if granules is None else max(granule.frames for granule in granules.values())
        return TaskValidation(
            self.captions,
            self.path,
            self.split if held_out else self.validation or self.split,
            FrameRule(frames, self.rule, self.fps),
            run.broken,
            self.template,
            self.view,
            self.quarantine,
            held_out,
        )

    def _held_out_rows(self) -> frozenset[str]:
        """Return the ids of training rows held out for validation; empty if the manifest has a validation split."""
        if not self.hold_out or self.validation is None:
            return frozenset()
        rows = open_rows(self.path, self.quarantine)[0]
        if self.validation in split_names(rows, self.captions):
            return frozenset()
        where = f"{self.manifest}: split {self.split!r}"
        if isinstance(rows, RowTable):
            raise UsageError(f"{where}: data.hold_out does not read tables; hold rows out with `mova data convert`")
        return held_out_ids(split_rows(rows, self.split, self.captions, RowFilter(self.view)), self.hold_out, where)


@dataclass(frozen=True)
class _PairReader:
    """Reads splits of the manifest, all in the same way."""

    source: PairSource
    seed: int
    granules: Mapping[str, GranularitySettings] | None
    lengths: LengthRule
    """Assigns a granularity to rows that do not name one."""
    prepare: Callable[[Pixels], Pixels] | None
    features: FeatureStore | None

    def read(self, split: str, captions: str, keep: RowFilter) -> PairDataset | MixedPairDataset:
        """Return the pairs of a split, by granularity if granularities are named."""
        if self.granules is None:
            return self._pairs(split, captions, self.source.frames, keep)
        rows = open_rows(self.source.path, self.source.quarantine)[0]
        return MixedPairDataset.from_rows(
            lambda granule, chosen: self._pairs(split, captions, granule.frames, chosen),
            self.granules,
            split_rows(rows, split, captions, keep),
            self.lengths,
            keep,
        )

    def _pairs(self, split: str, captions: str, frames: int, keep: RowFilter) -> PairDataset:
        return PairDataset(
            self.source.path,
            split=split,
            sampling=FrameRule(frames, self.source.rule, self.source.fps),
            captions=captions,
            seed=self.seed,
            prepare=self.prepare,
            features=self.features,
            quarantine=self.source.quarantine,
            keep=keep,
            template=self.source.template if captions in TASKS else None,
        )


def stored_only(model: PreTrainedModel, folder: str, sampling: FrameRule) -> FeatureStore:
    """Open a store that fits the model, and freeze the model's video tower, which will not be run.

    Raises:
        UsageError: the model has no separate video tower, or reads neighboring frames and would see only some.
    """
    if not isinstance(model, DualEncoder):
        raise UsageError(f"data.features: {type(model).__name__} returns no frame vectors that could be stored")
    store = FeatureStore(folder)
    store.require(feature_key(model, sampling))
    if model.context:
        longest = max((record.count for record in store.records.values()), default=0)
        if longest > sampling.frames:
            raise UsageError(
                f"data.frames: {model.name} reads neighboring frames, and stored vectors were computed with all of "
                f"them; use --data.frames {longest} (the longest stored clip)"
            )
    frozen = model.video_parameters()
    for weight in frozen:
        weight.requires_grad_(False)
    logger.info(
        "data.features: frame vectors are read from %s; the video tower is frozen (%.2f M weights)",
        *(folder, sum(weight.numel() for weight in frozen) / 1e6),
    )
    return store


def _warn_of_leaks(training: PairDataset | MixedPairDataset, held_out: PairDataset | MixedPairDataset) -> None:
    """Log a warning if training and validation share source videos."""
    trained, validated = (
        data.rows if isinstance(data, MixedPairDataset) else [data.rows] for data in (training, held_out)
    )
    names = {name for rows in validated for row in rows for name in origins(row)}
    shared: set[str] = set()
    for rows in trained:
        found = rows.shared_origins(names) if isinstance(rows, RowTable) else [n for row in rows for n in origins(row)]
        shared |= names & set(found)
    if shared:
        logger.warning(
            "%d source videos are in both %r and %r, such as %s",
            *(len(shared), training.split, held_out.split, min(shared)),
        )


def _sampler(
    dataset: PairDataset | MixedPairDataset,
    granules: Mapping[str, GranularitySettings] | None,
    arguments: PairArguments,
    where: str,
    seed: int,
    together: int,
) -> PairSampler | GranularityBatchSampler:
    """Return the order of pairs: batches of one granularity each if granularities are named."""
    batch = arguments.per_device_train_batch_size * world_size()
    if arguments.dataloader_drop_last and len(dataset) < batch:
        raise UsageError(
            f"{where} has {len(dataset)} pairs, fewer than a batch of {batch}; "
            "set --training.per_device_train_batch_size"
        )
    if not isinstance(dataset, MixedPairDataset):
        return PairSampler(len(dataset), seed, dataset.shards(), together)
    assert granules is not None
    sizes = {name: len(part) for name, part in dataset.parts.items()}
    shares = {name: granules[name].share for name in sizes}
    named = {name: share for name, share in shares.items() if share is not None}
    shards = [part.shards() for part in dataset.parts.values()]
    return GranularityBatchSampler(sizes, batch, seed, named or None, shards, together)
