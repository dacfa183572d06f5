"""Data of kind `triplets`: real and synthetic videos with true and false captions, for a video LLM with adapters.

Shape legend: n triplets, L tokens of a description.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from mova.data.dataset import BrokenVideo, PairSampler
from mova.data.synthetic import Synthetic
from mova.data.synthetic_weights import Scores, Strategy, compute_weights
from mova.data.triplets import SyntheticChoice, TripletItem, TripletVideos, WeightFunction, maker
from mova.errors import DataError, UsageError
from mova.eval.metrics.classification import roc_auc
from mova.eval.tasks.entailment import claims_of, score_texts
from mova.eval.tasks.video_llm import open_llm_split
from mova.models.entailment import EntailmentModel
from mova.models.video_llm.build import SCORER
from mova.models.video_llm.explanation import explained_tail
from mova.models.video_llm.prompt import Tail, Visual
from mova.text.common_subsequence import common_subsequence_mask
from mova.train.callbacks import BrokenVideos
from mova.train.objectives.base import ModelEncoder
from mova.train.objectives.synvita import Synvita, encode_triplets
from mova.train.sources.base import ManifestSource, RunContext
from mova.train.trainer import TrainingData

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TripletCollator:
    """Triplets -> a batch of `train/objectives/synvita.py`; its key `broken` lists videos that could not be read.

    A single triplet whose real video cannot be read gives an empty batch.

    Attributes:
        llm: tokenizes the captions.
        masked: whether the shared part of both captions is masked (Eq. 6).
        compat: how the shared part is found, see `text/common_subsequence.py`.
        explained: whether explanations are tokenized; `llm` must be a `VideoLLM` then.
    """

    llm: EntailmentModel
    masked: bool
    compat: bool
    explained: bool = False

    def __call__(self, items: Sequence[TripletItem | BrokenVideo]) -> dict[str, Any]:
        """Tokenize the captions of the triplets that could be read.

        Raises:
            DataError: there are several real videos, and none can be read.
        """
        triplets = [item for item in items if isinstance(item, TripletItem)]
        broken = [item for item in items if isinstance(item, BrokenVideo)]
        if not triplets and len(broken) > 1:
            raise DataError(
                f"none of the {len(broken)} real videos of a batch can be read; the first: {broken[0].path}: "
                f"{broken[0].cause}. Are the files where the manifest says?"
            )
        tails = [self.llm.tails([item.positive, item.negative]) for item in triplets]
        answers = {"explained": [explanation_of(self.llm, item) for item in triplets]} if self.explained else {}
        return {
            "real": [item.real for item in triplets],
            "synthetic": [item.synthetic for item in triplets],
            "tails": tails,
            "keep": [shared_part(first, second, self.compat) if self.masked else None for first, second in tails],
            "weights": torch.tensor([item.weight for item in triplets], dtype=torch.float32),
            "shares": torch.tensor([item.real_share for item in triplets], dtype=torch.float32),
            **answers,
            "broken": (*broken, *(video for item in triplets for video in item.broken)),
        }


def explanation_of(llm: Any, triplet: TripletItem) -> Tail | None:
    """Return the prompt and the explanation of what the negative caption gets wrong; None without an explanation."""
    return None if triplet.explanation is None else explained_tail(llm, triplet.negative, triplet.explanation)


def shared_part(first: Tail, second: Tail, compat: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Return masks of the tokens of two descriptions, bool (L,) each: true for tokens that both have."""
    first_ids, second_ids = (tail.ids[tail.description].numpy() for tail in (first, second))
    first_mask, second_mask = common_subsequence_mask(first_ids, second_ids, compat=compat)
    return torch.from_numpy(first_mask), torch.from_numpy(second_mask)


@dataclass(frozen=True)
class EntailmentValidation:
    """Captions against false captions of the real videos of a validation split.

    Attributes:
        llm: the model, as it is trained.
        manifest, split: the data.
        broken: collects videos that cannot be read.
        quarantine: a list of `mova data check`, whose rows are excluded.
    """

    llm: EntailmentModel
    manifest: str
    split: str
    broken: BrokenVideos
    quarantine: str | None = None

    def __call__(self, model: ModelEncoder[Any, Any]) -> dict[str, float]:
        """Return the AUC, and as accuracy how often a caption scores above a false one of its video; both in percent.

        No fingerprint is computed: it would hash all weights.
        """
        test = open_llm_split(self.llm, self.manifest, self.split, quarantine=self.quarantine)
        rows = test.keep(lambda row: bool(row.captions and row.meta.get("negatives")), "it has no negatives")
        rows = [row for row in rows if row.id not in test.quarantined]
        claims = [claims_of(row) for row in rows]
        scored = score_texts(test, {claim.row.id: (*claim.true, *claim.false) for claim in claims})
        self.broken.add(
            tuple(BrokenVideo(c.row.video, test.excluded[c.row.id]) for c in claims if c.row.id not in scored)
        )
        kept = [(scored[claim.row.id], claim) for claim in claims if claim.row.id in scored]
        true = [np.array([scores[text] for text in claim.true]) for scores, claim in kept]
        false = [np.array([scores[text] for text in claim.false]) for scores, claim in kept]
        truth = [*(np.ones(len(row), dtype=bool) for row in true), *(np.zeros(len(row), dtype=bool) for row in false)]
        above = [np.sign(first[:, None] - other).mean() for first, other in zip(true, false, strict=True)]
        return {
            "AUC": 100 * roc_auc(np.concatenate([*true, *false]), np.concatenate(truth)),
            "accuracy": 50 * (1 + float(np.mean(above))),
        }


@dataclass(frozen=True)
class TripletSource(ManifestSource):
    """Settings of data kind `triplets`; rows need negatives, and may have synthetic videos."""

    kinds: Sequence[str] | None = None
    """Kinds of misalignment whose synthetic videos are used (Table 2), such as [action]; null: all."""
    generators: Sequence[str] | None = None
    """Models whose synthetic videos are used, as the manifest names them; null: all."""
    every_video: bool = False
    """Whether all synthetic videos of a caption are used in each epoch (Table 5, ALL), not one that is drawn."""

    def check(self) -> None:
        """See `ManifestSource`; the kinds must exist."""
        super().check()
        self._choice()

    def _choice(self) -> SyntheticChoice:
        kinds, generators = (None if names is None else tuple(names) for names in (self.kinds, self.generators))
        return SyntheticChoice(kinds, generators, self.every_video)

    def build(self, run: RunContext) -> TrainingData:
        """See `DataSource`. The model is PEFT's wrapper, as model kind `video-llm` builds it.

        Raises:
            UsageError: a model that cannot answer questions, or fewer triplets than a batch.
            DataError: the manifest lacks the requested data.
        """
        objective, arguments = run.objective, run.arguments
        assert isinstance(objective, Synvita)
        llm = getattr(run.model, SCORER, None)
        if not isinstance(llm, EntailmentModel):
            raise UsageError("data of kind triplets train a video LLM; set model.kind to video-llm")

        def see(path: Path, start: float, end: float | None) -> Visual:
            return llm.prepare(llm.sample(path, start, end))

        weigh = None if objective.strategy == "none" else partial(weigh_by, strategy=objective.strategy)
        dataset = TripletVideos(
            self.path,
            split=self.split,
            read_clip=see,
            weigh=cast(WeightFunction | None, weigh),
            seed=run.seed,
            quarantine=self.quarantine,
            choice=self._choice(),
        )
        _check_texts(llm, dataset, objective.explanation > 0)
        if arguments.dataloader_drop_last and len(dataset) < arguments.per_device_train_batch_size:
            raise UsageError(f"{self.manifest}: split {self.split!r} has {len(dataset)} items, fewer than a batch")
        report = dataset.to_json()
        _log_weights(report)
        validate = None
        if self.validation is not None:
            validate = EntailmentValidation(llm, self.path, self.validation, run.broken, self.quarantine)
        collate = TripletCollator(llm, objective.consistency_weight > 0, objective.compat, objective.explanation > 0)
        sampler = PairSampler(len(dataset), run.seed)
        remember = getattr(llm, "save_settings", None)
        return TrainingData(dataset, collate, partial(encode_triplets, llm), sampler, validate, report, save=remember)


def _log_weights(report: Mapping[str, Any]) -> None:
    logger.info(
        "%d triplets, %d without a synthetic video (Eq. 2 alone); %d synthetic ones, %d of weight 0, mean weight %.3f",
        *(report[key] for key in ("triplets", "without_synthetic", "synthetic", "of_weight_0", "mean_weight")),
    )


def weigh_by(videos: Sequence[Synthetic], strategy: Strategy) -> Scores:
    """Return weights of synthetic videos from the scores of the ensemble in their rows; `fixed` needs no scores.

    Videos that could not be read when they were scored have weight 0; the log reports their number.

    Raises:
        DataError: other videos without scores.
    """
    if strategy == "fixed":
        return np.ones(len(videos))
    scored = np.array([{"own", "other"} <= video.weighing.keys() for video in videos], dtype=bool)
    unreadable = np.array(["broken" in video.weighing for video in videos], dtype=bool)
    unscored = [videos[i] for i in np.flatnonzero(~(scored | unreadable)).tolist()]
    if unscored:
        makers = Counter(maker(video) for video in unscored)
        raise DataError(
            f"{len(unscored)} of {len(videos)} synthetic videos have no scores to weight them by, such as "
            f"{unscored[0].video} (by {', '.join(makers)}); run `mova data weights`, or use --objective.strategy fixed"
        )
    if unreadable.any():
        logger.warning(
            "%d synthetic videos could not be read when they were weighted; their weight is 0", unreadable.sum()
        )
    kept = [videos[i].weighing for i in np.flatnonzero(scored).tolist()]
    own, other = ([float(scores[key]) for scores in kept] for key in ("own", "other"))
    weights = np.zeros(len(videos))
    weights[scored] = compute_weights(own, other, strategy)
    return weights


def _check_texts(llm: EntailmentModel, dataset: TripletVideos, explained: bool) -> None:
    """Raise for captions and explanations that the prompt cannot hold now, not hours into a run.

    Raises:
        DataError: such a text, or no triplet has the explanations that are trained.
    """
    if explained and not any(triplet.negative.explanation for triplet in dataset.triplets):
        raise DataError(
            f"{dataset.manifest}: no negative of split {dataset.split!r} has an explanation, which "
            "objective.explanation trains; `mova data convert videocon-llm` reads those of videocon_llm_feedback.csv"
        )
    for triplet in dataset.triplets:
        try:
            llm.tails([triplet.positive, triplet.negative.text])
            if explained and triplet.negative.explanation is not None:
                explained_tail(cast(Any, llm), triplet.negative.text, triplet.negative.explanation)
        except UsageError as error:
            raise DataError(f"{dataset.manifest}: row {triplet.row.id!r}: {error}") from error
