"""Tests of a trained decoder: entailment, retrieval among near duplicates, multiple choice.

Entailment is the ROC-AUC of real videos with their captions against hard negatives of these captions. For the other
tests, a group has a base video, videos that match its negatives of `OPTIONS - 1` kinds, each rendered `LOOKS` times,
and all their captions. Retrieval ranks the videos of a group by one caption, so properties of captions cannot help;
multiple choice ranks the captions by one video.

Shape legend: N triplets, G groups, C captions per group, V = C * LOOKS videos per group, T frames, d width, L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.studies.synvita.decoder import Decoder
from benchmarks.studies.synvita.generator import faithful_video, false_caption, is_true, sample_video
from mova.data.negatives.kinds import KINDS
from mova.eval.metrics.classification import mean_average_precision, roc_auc
from mova.worlds.galleries import Short

OPTIONS = 5
"""Captions per group, as many as answers in ATP-Hard."""
LOOKS = 2
_PAIRS = 512


@dataclass(frozen=True, eq=False)
class Pairs:
    """Videos (N, T, d) and prompts (N, 2, L), the true one first, then the negative; `kinds` (N,) of the negatives."""

    frames: Tensor
    ids: Tensor
    kinds: npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Groups:
    """Near duplicates: videos (G, V, T, d), prompts (G, C, L), and whether a caption is true of a video, (G, V, C)."""

    frames: Tensor
    ids: Tensor
    truth: npt.NDArray[np.bool_]


def sample_group(rng: np.random.Generator) -> list[Short]:
    """Draw `OPTIONS` videos, base first, whose captions are true of their own video only."""
    while True:
        base = sample_video(rng, biased=False)
        kinds = rng.permutation([kind for kind in KINDS if kind != "hallucination"])
        drawn = (false_caption(base, kind, rng) for kind in kinds)
        members = [base, *(faithful_video(base, false) for false in drawn if false is not None)][:OPTIONS]
        if len(members) == OPTIONS and (truth_of(members, members) == np.eye(OPTIONS, dtype=bool)).all():
            return members


def truth_of(videos: list[Short], captions: list[Short]) -> npt.NDArray[np.bool_]:
    """Return whether each caption is true of each video, (videos, captions)."""
    return np.array([[is_true(video.events, caption.lines) for caption in captions] for video in videos])


@torch.no_grad()
def log_odds(model: Decoder, frames: Tensor, ids: Tensor) -> npt.NDArray[np.float64]:
    """Compute log odds (n, V, S) of videos (n, V, T, d) and prompts (n, S, L) in chunks of rows."""
    model.eval()
    rows = max(1, _PAIRS // (frames.shape[1] * ids.shape[1]))
    parts = [model(*chunk) for chunk in zip(frames.split(rows), ids.split(rows), strict=True)]
    return torch.cat(parts).double().numpy()


def entailment(model: Decoder, pairs: Pairs) -> dict[str, float]:
    """Return the ROC-AUC over all pairs, and by kind."""
    scores = log_odds(model, pairs.frames[:, None], pairs.ids)[:, 0]
    return {"all": _auc(scores), **{kind: _auc(scores[pairs.kinds == kind]) for kind in KINDS}}


def _auc(scores: npt.NDArray[np.float64]) -> float:
    """Compare true captions (first column) with negatives (second)."""
    return roc_auc(scores.T.ravel(), np.repeat([True, False], len(scores)))


def near_duplicates(model: Decoder, groups: Groups) -> dict[str, Any]:
    """Return the retrieval mAP of captions, and the accuracy of choosing a video's caption, both in [0, 1]."""
    scores = log_odds(model, groups.frames, groups.ids)
    queries = scores.transpose(0, 2, 1).reshape(-1, scores.shape[1])
    right = groups.truth.transpose(0, 2, 1).reshape(-1, scores.shape[1])
    chosen = np.take_along_axis(groups.truth, scores.argmax(axis=2)[..., None], axis=2)
    return {"retrieval": mean_average_precision(queries, right).expected, "choice": float(chosen.mean())}
