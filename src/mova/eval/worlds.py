"""What a model knows of Worlds, measured on videos of seeds that training never draws.

A model that knows colour and count alone localises well among random distractors, so every factor is reported by
itself, and galleries of minimal pairs stand beside the easy ones.

Shape legend: Q queries, C clips, V videos, T frames, S sentences, d width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor
from torch.nn.functional import normalize

from mova.data.worlds import World, render_world, sample_world
from mova.data.worlds_batches import holds, label_matrix
from mova.data.worlds_captions import negative, tell
from mova.data.worlds_factors import FACTORS, Event, labels, mutate, sample_event
from mova.data.worlds_render import HELD_OUT_STYLE, TRAIN_STYLES, render_event, sample_nuisance
from mova.eval.ranking import retrieval_metrics
from mova.models.dual import DualEncoder
from mova.models.similarity import late_interaction, relevance
from mova.types import Frames

HELD_OUT = 700_000
"""Seeds of evaluation lie from here on; recipes train on small seeds."""
CLIP_SECONDS = 4.0
"""Length of the clips in factor tests and clip galleries."""


@dataclass(frozen=True, eq=False)
class SeenWorld:
    """A held-out world after the frame tower: unit frame vectors (T, d) and times (T,) seconds."""

    world: World
    frames: Tensor
    times: npt.NDArray[np.float64]
