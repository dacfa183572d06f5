"""Data of kind `manifest`: pairs of video and text for any model, from any data set in the manifest's form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from transformers import PreTrainedModel

from mova.data.dataset import FrameRule, PairDataset, PairSampler
from mova.data.granular import GranularPairs, GranularSampler, Granule, read_granules
from mova.data.granularity import LengthRule
from mova.data.manifest import Row, read_manifest
from mova.distributed import world_size
from mova.errors import UsageError
from mova.models.dual import DualEncoder
from mova.models.gexia import Gexia
from mova.train.feeding import Collator, feed_for
from mova.train.logs import BrokenVideos
from mova.train.pair_objectives import PairObjective
from mova.train.trainer import Material, PairArguments
from mova.train.validation import RetrievalValidation


def pair_material(
    model: PreTrainedModel,
    objective: PairObjective,
    arguments: PairArguments,
    broken: BrokenVideos,
    *,
    seed: int,
    manifest: str,
    split: str = "train",
    validation: str | None = None,
    captions: str = "paragraph",
    frames: int = 64,
    rule: str | None = None,
    fps: float | None = None,
    granularities: Mapping[str, Mapping[str, Any]] | None = None,
) -> Material:
    """Training and validation pairs of a manifest.

    Args:
        model, objective, arguments, broken: what the pairs are for.
        seed: of order and draws.
        manifest: path of a `manifest.jsonl`.
        split, validation: names of parts; validation None chooses no checkpoint.
        captions: one of `data/dataset.py: CAPTIONS`; validation has one text a video whatever it is.
        frames, rule, fps: see `FrameRule`.
        granularities: name -> {frames, share}: batches of one granularity each, see `data/granular.py`; `frames` is
            then theirs. None for batches of whatever comes.

    Raises:
        UsageError: a rule of frames that does not fit the model, or fewer pairs than a batch.
        DataError: the manifest does not hold what is asked for.
    """
    if isinstance(model, DualEncoder):
        model.check_rate(fps)
    feed, granules = feed_for(model), None if granularities is None else read_granules(granularities)
    lengths = model.config.lengths if isinstance(model, Gexia) else LengthRule()

    def part(name: str, mode: str) -> PairDataset | GranularPairs:
        def build(frames: int, keep: Callable[[Row], bool] | None = None) -> PairDataset:
            options: dict[str, Any] = {"sampling": FrameRule(frames, rule, fps), "prepare": feed.shape, "keep": keep}
            return PairDataset(manifest, split=name, captions=mode, seed=seed, **options)

        if granules is None:
            return build(frames)
        rows = [row for row in read_manifest(manifest) if row.split == name and row.captions]
        return GranularPairs.make(lambda granule, keep: build(granule.frames, keep), granules, rows, lengths)

    dataset = part(split, captions)
    sampler = _sampler(dataset, granules, arguments, f"{manifest}: split {split!r}", seed)
    collate = Collator(feed, objective.units)
    validate = None
    if validation is not None:
        mode = captions if captions in ("paragraph", "sentence") else "paragraph"
        size, workers = arguments.per_device_eval_batch_size, arguments.dataloader_num_workers
        validate = RetrievalValidation(part(validation, mode), collate, objective, size, workers, broken)
    return Material(dataset, collate, feed.encode, sampler, validate)


def _sampler(
    dataset: PairDataset | GranularPairs,
    granules: Mapping[str, Granule] | None,
    arguments: PairArguments,
    where: str,
    seed: int,
) -> PairSampler | GranularSampler:
    """The order of pairs: batches of one granularity where granularities are named."""
    batch = arguments.per_device_train_batch_size * world_size()
    if arguments.dataloader_drop_last and len(dataset) < batch:
        raise UsageError(
            f"{where} has {len(dataset)} pairs, fewer than a batch of {batch}; "
            "set --training.per_device_train_batch_size"
        )
    if not isinstance(dataset, GranularPairs):
        return PairSampler(len(dataset), seed)
    assert granules is not None
    sizes = {name: len(part) for name, part in dataset.parts.items()}
    shares = {name: granules[name].share for name in sizes}
    given = {name: share for name, share in shares.items() if share is not None}
    return GranularSampler(sizes, batch, seed, given or None)
