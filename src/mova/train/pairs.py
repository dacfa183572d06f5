"""Data of kind `manifest`: pairs of video and text for any model, from any data set in the manifest's form."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from transformers import PreTrainedModel

from mova.data.dataset import FrameRule, PairDataset, PairSampler
from mova.data.features import FeatureStore
from mova.data.readers import shared_videos
from mova.distributed import world_size
from mova.errors import UsageError
from mova.models.dual import DualEncoder
from mova.models.features import feature_key
from mova.train.feeding import Collator, feed_for
from mova.train.logs import BrokenVideos
from mova.train.pair_objectives import PairObjective
from mova.train.trainer import Material, PairArguments
from mova.train.validation import RetrievalValidation

logger = logging.getLogger(__name__)


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
    features: str | None = None,
    quarantine: str | None = None,
) -> Material:
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

    Raises:
        UsageError: a rule of frames that does not fit the model or the store, or fewer pairs than a batch.
        DataError: the manifest or the store does not hold what is asked for.
        IndexMismatchError: the store was made by another video tower, preprocessing or sampling.
    """
    if isinstance(model, DualEncoder) and model.fixed_frame_rate and fps is None:
        raise UsageError(f"data: {model.name} needs its own rate; say fps: {model.frame_rate:g} and leave rule out")
    if isinstance(model, DualEncoder) and fps is not None:
        model.sampling_rate(fps)
    sampling = FrameRule(frames, rule, fps)
    feed = feed_for(model, stored=features is not None)
    store = None if features is None else stored_only(model, features, sampling)
    source: dict[str, Any] = {"prepare": feed.shape} if store is None else {"features": store}
    part = partial(PairDataset, manifest, sampling=sampling, seed=seed, quarantine=quarantine, **source)
    dataset = part(split=split, captions=captions)
    batch = arguments.per_device_train_batch_size * world_size()
    if arguments.dataloader_drop_last and len(dataset) < batch:
        raise UsageError(
            f"{manifest}: split {split!r} has {len(dataset)} pairs, fewer than a batch of {batch}; "
            "set --training.per_device_train_batch_size"
        )
    collate, validate = Collator(feed, objective.units), None
    if validation is not None:
        mode = captions if captions in ("paragraph", "sentence") else "paragraph"
        size, workers = arguments.per_device_eval_batch_size, arguments.dataloader_num_workers
        held = part(split=validation, captions=mode)
        _warn_of_leaks(dataset, held)
        validate = RetrievalValidation(held, collate, objective, size, workers, broken)
    return Material(dataset, collate, feed.encode, PairSampler(len(dataset), seed), validate)


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


def _warn_of_leaks(seen: PairDataset, held: PairDataset) -> None:
    """Say in the log where validation shows source videos that are trained on."""
    if shared := shared_videos(seen.rows, held.rows):
        logger.warning(
            "%d source videos are in both %r and %r, such as %s", len(shared), seen.split, held.split, shared[0]
        )
