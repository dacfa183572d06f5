"""transformers.Trainer for pairs of video and text.

The model turns a batch into vectors, an objective turns vectors into a loss and its named parts. The Trainer provides
the rest: optimizer, schedule, mixed precision, checkpoints, resuming, logs. This subclass adds separate learning rates
for encoders and new modules, large contrastive batches in chunks (`train/grad_cache.py`), and a `validate` function
that chooses checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from mova.data.batch import PairBatch, TensorRecord
from mova.data.dataset import BrokenVideo
from mova.distributed import average_gradients
from mova.errors import DataError, UsageError
from mova.train.callbacks import BrokenVideos
from mova.train.grad_cache import batch_size, cached_backward, refuse_batch_statistics, split_backward
from mova.train.objectives.base import ModelEncoder, Objective
from mova.train.param_groups import parameter_groups
from mova.train.sharding import give_scalars_a_dimension, in_mixed_precision, refuse_unsharded, take_dimension
from mova.train.throughput import Throughput

GIVE_UP = 5
"""Number of consecutive empty batches (all their videos are broken) that stops a run."""
BATCH = "batch"
"""Key of the batch among the inputs of transformers' Trainer."""


@dataclass
class PairArguments(TrainingArguments):
    """`TrainingArguments`, and those of `PairTrainer`."""

    encoder_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of the pretrained encoders (default: learning_rate)."}
    )
    cache_chunk: int = field(
        default=0, metadata={"help": "Items encoded at a time (gradient caching); 0 encodes the whole batch at once."}
    )
    global_batch: int | None = field(
        default=None,
        metadata={
            "help": "Items per step over all processes and accumulated batches; replaces per_device_train_batch_size."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cache_chunk < 0:
            raise ValueError(f"cache_chunk must be 0 or more, not {self.cache_chunk}")
        if self.global_batch is not None:
            parts = self.world_size * self.gradient_accumulation_steps
            if self.global_batch < 1 or self.global_batch % parts:
                raise ValueError(
                    f"global_batch {self.global_batch} is not a multiple of {parts} ({self.world_size} processes, "
                    f"{self.gradient_accumulation_steps} accumulated batches)"
                )
            self.per_device_train_batch_size = self.global_batch // parts


@dataclass(frozen=True)
class TrainingData:
    """Everything that the trainer needs from one data source."""

    dataset: Dataset[Any]
    """Items, or whole batches with a batch size of 1."""
    collate: Callable[[list[Any]], Any]
    """Items -> batch: a `TensorRecord`, or a dictionary. Its `broken` may list videos that could not be read."""
    encode: Callable[[nn.Module, Any], Any]
    """(model, batch) -> vectors."""
    sampler: Sampler[Any] | None = None
    """Order of the items, with `set_epoch`; None for the default of transformers."""
    validate: Callable[[ModelEncoder[Any, Any]], dict[str, float]] | None = None
    """Model -> metrics, one of which chooses the checkpoint; None without validation data."""
    report: Mapping[str, Any] | None = None
    """Description of the data for the summary of the run; None for rendered data."""
    skips_weights: bool = False
    """Whether some batches do not use some of the trained weights: processes must not wait for their gradients."""
    save: Callable[[Path], Any] | None = None
    """Writes what belongs to a saved model beside its weights, into the folder of each checkpoint and of the run."""


@dataclass(frozen=True)
class _Boxed:
    """Put a batch into a mapping of one entry, the only form of a batch that transformers' Trainer accepts.

    Data loaders pin and move its entries: a `TensorRecord` by its own methods, a dictionary entry by entry.
    """

    collate: Callable[[list[Any]], Any]

    def __call__(self, items: list[Any]) -> dict[str, Any]:
        return {BATCH: self.collate(items)}


class PairTrainer(Trainer):
    """Trainer whose loss is an objective on the model's vectors.

    Args:
        model: the model that `training_data.encode` calls.
        objective: see `train/objectives/base.py`.
        args: `cache_chunk` excludes batch normalization and fp16.
        training_data: the data, and how the model reads them.
        broken: collects videos that could not be read.
        callbacks: as in transformers.

    Raises:
        UsageError: the model does not support `cache_chunk` or checkpointing, one process has several GPUs, or `fsdp`
            cannot be used.
    """

    args: PairArguments
    optimizer: Any
    control: Any

    def __init__(
        self,
        model: PreTrainedModel,
        objective: Objective[Any, Any],
        args: PairArguments,
        training_data: TrainingData,
        broken: BrokenVideos,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        if args.n_gpu > 1:
            raise UsageError(
                f"{args.n_gpu} GPUs in one process would each see part of the negatives; start one process per GPU "
                "(torchrun --nproc-per-node N -m mova train ...), or name one in CUDA_VISIBLE_DEVICES"
            )
        if args.cache_chunk:
            refuse_batch_statistics(model)
        if args.fp16 and (args.cache_chunk or objective.separable):
            raise UsageError(
                "training in chunks (cache_chunk) does not support the gradient scaling of fp16; train in bf16"
            )
        if args.gradient_checkpointing and not model.supports_gradient_checkpointing:
            raise UsageError(f"training.gradient_checkpointing: {type(model).__name__} does not support it; omit it")
        self._scalars: frozenset[str] = frozenset()
        if args.fsdp:
            refuse_unsharded(args, objective)
            self._scalars = give_scalars_a_dimension(model)
        self.objective, self.training_data, self.broken = objective, training_data, broken
        self._parts: dict[str, list[Tensor]] = {}
        self._empty = 0
        self._throughput = Throughput()
        super().__init__(
            model=model,
            args=args,
            train_dataset=training_data.dataset,
            eval_dataset=[] if training_data.validate else None,
            data_collator=_Boxed(training_data.collate),
            callbacks=[*(callbacks or []), _Epochs(training_data.sampler)],
        )
        if args.fsdp and not self.is_fsdp_enabled:
            raise UsageError("training.fsdp: accelerate divides models among GPUs only; this run is on processors")
        if args.fsdp:
            self.accelerator.state.fsdp_plugin.mixed_precision_policy = None  # see `in_mixed_precision`

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """See `Trainer`; the throughput of the first log counts from here."""
        self._throughput = Throughput()
        return super().train(*args, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Create the optimizer that the arguments name, over `parameter_groups`."""
        if self.optimizer is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            rates = (self.args.learning_rate, self.args.encoder_learning_rate)
            self.optimizer = kind(parameter_groups(self.model, *rates, self.args.weight_decay), **options)
        return self.optimizer

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Run one batch forward and backward, in chunks if `cache_chunk` says so."""
        batch = inputs[BATCH]
        self._check_broken(batch.broken if isinstance(batch, PairBatch) else tuple(batch.pop("broken", ())), batch)
        self._throughput.clips += batch_size(batch)
        if not (self.args.cache_chunk or self.objective.separable):
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        batch = self._on_device(self._prepare_inputs(inputs))
        scale = 1.0 / self.current_gradient_accumulation_steps
        sharded = bool(self.args.fsdp)
        backward = split_backward if self.objective.separable else partial(cached_backward, together=sharded)
        with nullcontext() if sharded else self.accelerator.no_sync(model):
            loss, parts = backward(self.objective, batch, self._encoder(model), self.args.cache_chunk, scale)
        if self.accelerator.sync_gradients and not sharded:
            average_gradients(self.model.parameters())
        self._record(parts)
        return loss * scale

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Apply the objective to the model's vectors; its parts are averaged into the log."""
        loss, parts = self.objective.forward(self._on_device(inputs), self._encoder(model))
        self._record(parts)
        return (loss, parts) if return_outputs else loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """See `Trainer`, which looks for the model's main input by name."""
        batch = inputs[BATCH]
        return super().floating_point_ops(batch.tensors() if isinstance(batch, TensorRecord) else batch)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """See `Trainer`, which reads the batches of a step here."""
        with self._throughput.waiting():
            return super().get_batch_samples(*args, **kwargs)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with self._throughput.paused():
            super()._save_checkpoint(*args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """See `Trainer`, which calls this in the process that saves."""
        super()._save(output_dir, None if state_dict is None else take_dimension(state_dict, self._scalars))
        if self.training_data.save is not None:
            self.training_data.save(Path(output_dir or str(self.args.output_dir)))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Return the metrics of the `validate` function, under `eval_` names.

        Raises:
            UsageError: no validation data.
        """
        if self.training_data.validate is None:
            raise UsageError("no validation data; name its split in the recipe (data.validation)")
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad(), self._throughput.paused():
            values = self.training_data.validate(self._encoder(self.model))
        self.model.train(was_training)
        metrics = {f"eval_{key}": float(value) for key, value in values.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the objective's means and the throughput since the last log, and the number of broken videos if any."""
        if "loss" in logs:
            logs.update(self._throughput.take(self.args.world_size))
            logs.update({key: round(float(torch.stack(values).mean()), 5) for key, values in self._parts.items()})
            self._parts.clear()
            if len(self.broken):
                logs["broken"] = len(self.broken)
        super().log(logs, *args, **kwargs)

    def _encoder(self, model: nn.Module) -> ModelEncoder[Any, Any]:
        sharded = self.args.fsdp and self.args.bf16
        run = in_mixed_precision(model, self.args.device) if sharded else model
        return ModelEncoder(run, self.model, self.training_data.encode)

    def _on_device(self, inputs: dict[str, Any]) -> Any:
        """Move a batch to the trainer's device. Trainer itself moves dictionaries, but no other types."""
        batch = inputs[BATCH]
        return batch.to(self.args.device) if isinstance(batch, TensorRecord) else batch

    def _check_broken(self, broken: tuple[BrokenVideo, ...], batch: Any) -> None:
        """Report broken videos.

        Raises:
            DataError: several batches in a row are empty.
        """
        self.broken.add(broken)
        self._empty = 0 if not broken or batch_size(batch) else self._empty + 1
        if self._empty >= GIVE_UP:
            raise DataError(
                f"no video of {self._empty} batches in a row can be read; the last: {broken[-1].path}: "
                f"{broken[-1].cause}. Are the files where the manifest says?"
            )

    def _record(self, parts: dict[str, Tensor]) -> None:
        """Keep scalars on their device: reading them would make every step wait for it."""
        for key, value in parts.items():
            self._parts.setdefault(key, []).append(value.detach().float())

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[Any] | None:
        return self.training_data.sampler or super()._get_train_sampler(train_dataset)


class _Epochs(TrainerCallback):
    """Set the epoch of the sampler, also if a run is resumed within one."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(int(state.epoch or 0))
