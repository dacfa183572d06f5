"""Data of kind `manifest`: pairs of video and text for any model, from any data set in the manifest's form."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from transformers import PreTrainedModel

from mova.data.dataset import PairDataset, PairSampler
from mova.data.feature_store import FeatureStore
from mova.data.frame_selection import FrameRule
from mova.data.granularity import LengthRule
from mova.data.granularity_batches import GranularPairs, GranularSampler, Granule, read_granules
from mova.data.manifest import Row, read_manifest
from mova.data.quarantine import without_quarantined
from mova.data.readers.registry import shared_videos
from mova.distributed import world_size
from mova.errors import UsageError
from mova.models.encoder import DualEncoder
from mova.models.feature_extraction import feature_key
from mova.models.gexia.model import Gexia
from mova.models.inputs import input_adapter
from mova.train.callbacks import BrokenVideos
from mova.train.collate import Collator
from mova.train.objectives.pairs import PairObjective
from mova.train.trainer import PairArguments, TrainingData
from mova.train.validation import RetrievalValidation

logger = logging.getLogger(__name__)


def build_pairs(
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
    features: str | None = None,
    quarantine: str | None = None,
    granularities: Mapping[str, Mapping[str, Any]] | None = None,
) -> TrainingData:
    """Training and validation pairs of a manifest.

    With `features` frame vectors are read from a store and the model's video tower is frozen.

    Args:
        model, objective, arguments, broken: what the pairs are for.
        seed: of order and draws.
        manifest: path of a `manifest.jsonl`.
        split, validation: names of parts; validation None chooses no checkpoint.
        captions: one of `data/dataset.py: CAPTIONS`; validation has one text a video whatever it is.
        frames, rule, fps: see `FrameRule`.
        features: folder of a feature store; None decodes the videos.
        quarantine: a list of `mova data check`, whose rows are left out of both parts.
        granularities: name -> {frames, share}: batches of one granularity each, see `data/granularity_batches.py`;
            `frames` is then theirs. None for batches of whatever comes.

    Raises:
        UsageError: a rule of frames that does not fit the model or the store, or fewer pairs than a batch.
        DataError: the manifest or the store does not hold what is asked for.
        IndexMismatchError: the store was made by another video tower, preprocessing or sampling.
    """
    if isinstance(model, DualEncoder):
        model.check_rate(fps)
    adapter, granules = input_adapter(model, stored=features is not None), read_granules(granularities)
    store = None if features is None else stored_only(model, features, FrameRule(frames, rule, fps))
    lengths = model.config.lengths if isinstance(model, Gexia) else LengthRule()
    source: dict[str, Any] = {"prepare": adapter.resize} if store is None else {"features": store}
    source |= {"seed": seed, "quarantine": quarantine}
    part = partial(_part, manifest, partial(FrameRule, rule=rule, fps=fps), frames, granules, lengths, source)
    dataset = part(split, captions)
    if isinstance(model, Gexia) and granules is not None:
        _follow(model, granules, arguments)
    sampler = _sampler(dataset, granules, arguments, f"{manifest}: split {split!r}", seed)
    collate, validate = Collator(adapter, objective.units), None
    if validation is not None:
        mode = captions if captions in ("paragraph", "first", "sentence") else "paragraph"
        held = part(validation, mode)
        _warn_of_leaks(dataset, held)
        size, workers = arguments.per_device_eval_batch_size, arguments.dataloader_num_workers
        validate = RetrievalValidation(held, collate, objective, size, workers, broken)
    return TrainingData(dataset, collate, adapter.encode, sampler, validate)


def _follow(model: Gexia, granules: Mapping[str, Granule], arguments: PairArguments) -> None:
    """Put into the model and the arguments what training by these granularities means for them."""
    model.config.follow({name: granule.frames for name, granule in granules.items()})
    arguments.expect_rounds(rounds for name in granules for rounds in model.config.rounds_of(name))
    if model.head is not None:
        model.head.requires_grad_(False)  # pairs do not pass it; processes would wait for its gradients


def _part(
    manifest: str,
    sampling: Callable[[int], FrameRule],
    frames: int,
    granules: Mapping[str, Granule] | None,
    lengths: LengthRule,
    source: Mapping[str, Any],
    split: str,
    captions: str,
) -> PairDataset | GranularPairs:
    """Pairs of a part of the manifest, by granularity where granularities are named."""

    def build(count: int, keep: Callable[[Row], bool] | None = None) -> PairDataset:
        return PairDataset(manifest, split=split, captions=captions, sampling=sampling(count), keep=keep, **source)

    if granules is None:
        return build(frames)
    rows = without_quarantined(read_manifest(manifest), source["quarantine"])[0]
    shown = [row for row in rows if row.split == split and row.captions]
    return GranularPairs.make(lambda granule, keep: build(granule.frames, keep), granules, shown, lengths)


def stored_only(model: PreTrainedModel, folder: str, sampling: FrameRule) -> FeatureStore:
    """Open a store that fits the model, and freeze the model's video tower, which will not be run.

    Raises:
        UsageError: the model does not tell its video tower apart, or reads neighbouring frames and would see only some.
    """
    if not isinstance(model, DualEncoder):
        raise UsageError(f"data.features: {type(model).__name__} gives no frame vectors that could be stored")
    store = FeatureStore(folder)
    store.require(feature_key(model, sampling))
    if model.context:
        longest = max((record.count for record in store.records.values()), default=0)
        if longest > sampling.frames:
            raise UsageError(
                f"data.frames: {model.name} reads neighbouring frames, and stored vectors have seen all of them: say "
                f"--data.frames {longest} (the longest stored clip)"
            )
    frozen = model.video_parameters()
    for weight in frozen:
        weight.requires_grad_(False)
    logger.info(
        "data.features: frames come from %s; the video tower stays as it is (%.2f M weights are not trained)",
        *(folder, sum(weight.numel() for weight in frozen) / 1e6),
    )
    return store


def _warn_of_leaks(seen: PairDataset | GranularPairs, held: PairDataset | GranularPairs) -> None:
    """Say in the log where validation shows source videos that are trained on."""
    if shared := shared_videos(seen.rows, held.rows):
        logger.warning(
            "%d source videos are in both %r and %r, such as %s", len(shared), seen.split, held.split, shared[0]
        )


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
