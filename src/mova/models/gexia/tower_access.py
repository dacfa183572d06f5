"""Access to a GEXIA: its backbone's image tower, and how it makes one vector of a whole video."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from mova.models.gexia.model import Gexia
from mova.models.tower_access import FrameFusion, TowerAccess
from mova.models.tower_access import open_tower as open_backbone


def open_tower(model: Gexia) -> TowerAccess:
    """Return access to the backbone's image tower and to the approximation above it."""
    fusion = FrameFusion(model.dense_video, model.dense_of, partial(_fuse, model))
    return replace(open_backbone(model.backbone), fusion=fusion)


def _fuse(model: Gexia, dense: Tensor, rounds: int) -> Tensor:
    """Return the vectors (K, d) of K whole videos from their dense features (K, F, P, D)."""
    real = torch.ones(dense.shape[:2], dtype=torch.bool, device=dense.device)
    return model.video_vectors(dense.flatten(0, 1), real, torch.full((len(dense),), rounds)).float()
