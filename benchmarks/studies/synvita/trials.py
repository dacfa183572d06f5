"""What a trained decoder is asked: entailment, retrieval among near duplicates, multiple choice.

Entailment is the ROC-AUC of real videos with their captions against hard negatives of them. For the others a group is a
base video, videos that its negatives of `OPTIONS - 1` kinds are true of, each filmed `LOOKS` times, and all their
captions. Retrieval ranks the group's videos by one caption, so what a caption looks like does not count; multiple
choice ranks the captions by one video.

Shape legend: N triplets, G groups, C captions a group, V = C * LOOKS videos a group, T frames, d width, L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.studies.synvita.decoder import Decoder
from benchmarks.studies.synvita.generator import false_caption, sample_video, shown_faithfully, tells
from mova.data.negatives.kinds import KINDS
from mova.eval.metrics.classification import mean_average_precision, roc_auc
from mova.worlds.galleries import Short

OPTIONS = 5
"""Captions a group: as many as ATP-Hard's answers."""
LOOKS = 2
_PAIRS = 512


@dataclass(frozen=True, eq=False)
class Pairs:
    """Videos (N, T, d) and prompts (N, 2, L): the true one first, then the negative; `kinds` (N,) of the latter."""

    frames: Tensor
    ids: Tensor
    kinds: npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Groups:
    """Near duplicates: videos (G, V, T, d), prompts (G, C, L), and which caption is true of which video, (G, V, C)."""

    frames: Tensor
    ids: Tensor
    truth: npt.NDArray[np.bool_]


def sample_group(rng: np.random.Generator) -> list[Short]:
    """`OPTIONS` videos with captions, each of which is true of its own video and no other: base first."""
    while True:
        base = sample_video(rng, biased=False)
        kinds = rng.permutation([kind for kind in KINDS if kind != "hallucination"])
        drawn = (false_caption(base, kind, rng) for kind in kinds)
        members = [base, *(shown_faithfully(base, false) for false in drawn if false is not None)][:OPTIONS]
        if len(members) == OPTIONS and (truth_of(members, members) == np.eye(OPTIONS, dtype=bool)).all():
            return members


def truth_of(videos: list[Short], captions: list[Short]) -> npt.NDArray[np.bool_]:
    """(videos, captions): whether each caption is true of each video."""
    return np.array([[tells(video.events, caption.lines) for caption in captions] for video in videos])


@torch.no_grad()
def log_odds(model: Decoder, frames: Tensor, ids: Tensor) -> npt.NDArray[np.float64]:
    """(n, V, S) of videos (n, V, T, d) and prompts (n, S, L), some rows at a time."""
    model.eval()
    rows = max(1, _PAIRS // (frames.shape[1] * ids.shape[1]))
    parts = [model(*chunk) for chunk in zip(frames.split(rows), ids.split(rows), strict=True)]
    return torch.cat(parts).double().numpy()


def entailment(model: Decoder, pairs: Pairs) -> dict[str, float]:
    """ROC-AUC over all, and by kind under its name."""
    found = log_odds(model, pairs.frames[:, None], pairs.ids)[:, 0]
    return {"all": _auc(found), **{kind: _auc(found[pairs.kinds == kind]) for kind in KINDS}}


def _auc(found: npt.NDArray[np.float64]) -> float:
    """Of true captions (first column) against negatives (second)."""
    return roc_auc(found.T.ravel(), np.repeat([True, False], len(found)))


def near_duplicates(model: Decoder, groups: Groups) -> dict[str, Any]:
    """Retrieval mAP of captions, accuracy of choosing a video's caption; both in [0, 1]."""
    found = log_odds(model, groups.frames, groups.ids)
    queries = found.transpose(0, 2, 1).reshape(-1, found.shape[1])
    right = groups.truth.transpose(0, 2, 1).reshape(-1, found.shape[1])
    chosen = np.take_along_axis(groups.truth, found.argmax(axis=2)[..., None], axis=2)
    return {"retrieval": mean_average_precision(queries, right).expected, "choice": float(chosen.mean())}
